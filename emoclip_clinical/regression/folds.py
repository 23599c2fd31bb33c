"""Splits of subjects: random and blind to the ratings, or made anew for each rating vector.

Folds that were balanced on the outcome and kept while the ratings are permuted would make the
permutation test reject too often. Schemes that see ratings (`sees_ratings`) are therefore drawn
again for every permuted vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.config import RegressionConfig, Scheme

OUTER, INNER = 1, 2
PARTNER = 7


@dataclass(frozen=True)
class Folds:
    """The outer splits of one rating vector.

    Attributes
    ----------
    number : ndarray of int, shape (n_repeats, n_visits)
        Fold in which each row is held out, from 0.
    dropped : ndarray of int, shape (n_repeats, n_folds), or None
        Subject that is left out of training too in each fold, so that the mean rating of the
        training subjects does not tell who is held out; None where nobody is.
    """

    number: np.ndarray
    dropped: np.ndarray | None = None

    def splits(
        self, repeat: int, *, subjects: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield training and test rows of each fold of a repeat; see `splits`."""
        for fold, (train, test) in enumerate(splits(self.number[repeat], subjects=subjects)):
            if self.dropped is not None:
                train = train[subjects[train] != self.dropped[repeat, fold]]
            yield train, test


def sees_ratings(scheme: Scheme) -> bool:
    """Say whether a scheme's folds depend on the ratings, so that permutations need their own."""
    return scheme in {"balanced_kfold", "rebalanced_leave_one_subject_out"}


def blind_folds(
    subjects: np.ndarray,
    *,
    config: RegressionConfig,
    seed: int,
    y: np.ndarray,
    sites: Sequence[str] | None = None,
) -> np.ndarray:
    """Return the outer folds of a config, or random ones where its own follow the ratings.

    For comparisons whose ratings are permuted on folds that stay; see `draw_folds`.

    Returns
    -------
    ndarray of int, shape (n_repeats, n_visits)
    """
    if sees_ratings(config.cv):
        return outer_folds(
            subjects, folds=config.folds, repeats=config.repeats, seed=seed, strata=sites
        )
    return draw_folds(subjects, config=config, seed=seed, y=y, sites=sites).number


def draw_folds(
    subjects: np.ndarray,
    *,
    config: RegressionConfig,
    seed: int,
    y: np.ndarray,
    sites: Sequence[str] | None = None,
) -> Folds:
    """Draw the outer folds that a config asks for.

    Parameters
    ----------
    subjects : ndarray of int, shape (n_visits,)
        Numbered from 0.
    config : RegressionConfig
        `cv`, `folds` and `repeats` are used.
    seed : int
    y : ndarray of shape (n_visits,)
        Ratings; looked at only where `sees_ratings`.
    sites : sequence of str, length n_visits, optional
        Site of each row: balanced over folds, or left out one at a time.

    Raises
    ------
    InputError
        If there are fewer subjects than folds, or sites can not be left out; see
        `leave_one_site_out`.
    """
    if config.cv == "leave_one_subject_out":
        return Folds(leave_one_subject_out(subjects))
    if config.cv == "leave_one_site_out":
        if sites is None:
            raise InputError("leave_one_site_out needs a rating column with the site")
        return Folds(leave_one_site_out(subjects, sites=sites))
    if config.cv == "rebalanced_leave_one_subject_out":
        partner = balancing_subjects(subjects, y=y, seed=seed)
        return Folds(leave_one_subject_out(subjects), partner[np.newaxis])
    if config.cv == "balanced_kfold":
        return Folds(
            balanced_folds(subjects, y=y, folds=config.folds, repeats=config.repeats, seed=seed)
        )
    return Folds(
        outer_folds(subjects, folds=config.folds, repeats=config.repeats, seed=seed, strata=sites)
    )


def fold_of_subjects(n_subjects: int, *, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal subjects at random into folds whose sizes differ by at most one.

    Returns
    -------
    ndarray of int, shape (n_subjects,)
        Fold of each subject, from 0.

    Raises
    ------
    InputError
        If there are fewer subjects than folds.
    """
    if n_subjects < folds:
        raise InputError(f"{folds} folds need at least {folds} subjects, got {n_subjects}")
    fold = np.empty(n_subjects, dtype=np.int64)
    fold[rng.permutation(n_subjects)] = np.arange(n_subjects) % folds
    return fold


def outer_folds(
    subjects: np.ndarray,
    *,
    folds: int,
    repeats: int,
    seed: int,
    strata: Sequence[str] | None = None,
) -> np.ndarray:
    """Return the fold of each row for repeated grouped K-fold cross-validation.

    Parameters
    ----------
    subjects : ndarray of int, shape (n_visits,)
        Subject of each row, numbered from 0.
    folds, repeats : int
        Number of folds and of repetitions with new random folds.
    seed : int
        Seed; each repeat has a stream of its own, so more repeats keep the first ones.
    strata : sequence of str, length n_visits, optional
        Site of each row: the subjects of each site are spread over the folds as evenly as they
        can be. A subject who was seen at several sites belongs to that set of sites.

    Returns
    -------
    ndarray of int, shape (repeats, n_visits)
    """
    n_subjects = int(subjects.max()) + 1
    if strata is None:
        dealt = [
            fold_of_subjects(n_subjects, folds=folds, rng=_stream(seed, OUTER, repeat))
            for repeat in range(repeats)
        ]
        return np.stack(dealt)[:, subjects]
    places = _places(subjects, strata)
    of_subject = [" ".join(sorted(places[s])) for s in range(n_subjects)]
    number = np.unique(np.array(of_subject), return_inverse=True)[1]
    return np.stack(
        [_dealt(number, folds, _stream(seed, OUTER, repeat))[subjects] for repeat in range(repeats)]
    )


def balanced_folds(
    subjects: np.ndarray, *, y: np.ndarray, folds: int, repeats: int, seed: int
) -> np.ndarray:
    """Return folds whose subjects have alike mean ratings: each run of K ranks is dealt out.

    Parameters
    ----------
    y : ndarray of shape (n_visits,)
        Ratings. These folds belong to them alone and are drawn again for permuted ones.

    Returns
    -------
    ndarray of int, shape (repeats, n_visits)
    """
    mean = np.bincount(subjects, weights=y) / np.bincount(subjects)
    if len(mean) < folds:
        raise InputError(f"{folds} folds need at least {folds} subjects, got {len(mean)}")
    drawn = []
    for repeat in range(repeats):
        rng = _stream(seed, OUTER, repeat)
        order = np.lexsort((rng.random(len(mean)), mean))
        fold = np.empty(len(mean), dtype=np.int64)
        for start in range(0, len(mean), folds):
            block = order[start : start + folds]
            fold[block] = rng.permutation(folds)[: len(block)]
        drawn.append(fold[subjects])
    return np.stack(drawn)


def balancing_subjects(subjects: np.ndarray, *, y: np.ndarray, seed: int) -> np.ndarray:
    """Return whom to drop beside each held-out subject, so that the training mean stays put.

    In leave-one-out the mean of the training subjects is low where the held-out rating is high
    (Austin, Pe'er & Korem 2025, "distributional bias"). The remedy leaves out of training, too,
    the subject whose mean rating lies nearest to the mirror image of the held-out one.

    Parameters
    ----------
    y : ndarray of shape (n_visits,)
        Ratings.
    seed : int
        Seed of the choice among equals.

    Returns
    -------
    ndarray of int, shape (n_subjects,)
    """
    mean = np.bincount(subjects, weights=y) / np.bincount(subjects)
    tie = _stream(seed, PARTNER).random(len(mean))
    distance = np.abs(mean - (2 * mean.mean() - mean)[:, np.newaxis])
    np.fill_diagonal(distance, np.inf)
    distance = np.round(distance, 9)
    nearest = distance == distance.min(axis=1, keepdims=True)
    return np.asarray(np.argmin(np.where(nearest, tie, np.inf), axis=1))


def leave_one_site_out(subjects: np.ndarray, *, sites: Sequence[str]) -> np.ndarray:
    """Return the fold of each row where every site is a fold; shape (1, n_visits).

    Raises
    ------
    InputError
        With every fault: one site only, sites with one subject, subjects seen at several sites.
    """
    names = sorted(set(sites))
    places = _places(subjects, sites)
    count = {name: sum(name in found for found in places) for name in names}
    faults = []
    if len(names) < 2:
        faults.append(f"leave_one_site_out needs two sites, got {len(names)} ({', '.join(names)})")
    faults += [
        f"leave_one_site_out: site {name!r} has one subject, on whom nothing can be judged"
        for name in names
        if count[name] == 1
    ]
    straying = sum(len(found) > 1 for found in places)
    if straying:
        faults.append(
            f"leave_one_site_out: {straying} subjects were seen at several sites and would stand "
            "in training and test"
        )
    if faults:
        raise InputError(faults)
    return np.searchsorted(np.array(names), np.array(list(sites)))[np.newaxis]


def leave_one_subject_out(subjects: np.ndarray) -> np.ndarray:
    """Return the fold of each row where every subject is a fold; shape (1, n_visits)."""
    return subjects[np.newaxis, :].copy()


def inner_folds(
    subjects: np.ndarray, *, folds: int, seed: int, repeat: int, fold: int
) -> np.ndarray:
    """Return the inner fold of each training row of one outer fold.

    Parameters
    ----------
    subjects : ndarray of int, shape (n_training_visits,)
        Subject of each training row.
    folds : int
        Number of inner folds.
    seed, repeat, fold : int
        Which outer training set it is; each has a stream of its own.

    Returns
    -------
    ndarray of int, shape (n_training_visits,)
    """
    dense = np.unique(subjects, return_inverse=True)[1]
    n_subjects = int(dense.max()) + 1
    return deal_inner(n_subjects, folds=folds, seed=seed, repeat=repeat, fold=fold)[dense]


def deal_inner(n_subjects: int, *, folds: int, seed: int, repeat: int, fold: int) -> np.ndarray:
    """Return the inner fold of each training subject in order; see `inner_folds`."""
    return fold_of_subjects(n_subjects, folds=folds, rng=_stream(seed, INNER, repeat, fold))


def splits(fold: np.ndarray, *, subjects: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield training and test rows of each fold, in the order of the folds.

    Parameters
    ----------
    fold : ndarray of int, shape (n_visits,)
        Fold of each row, from 0.
    subjects : ndarray of int, shape (n_visits,)
        Subject of each row.

    Raises
    ------
    ValueError
        If a subject would stand on both sides of a split.
    """
    for number in range(int(fold.max()) + 1):
        test = fold == number
        straddling = np.intersect1d(subjects[test], subjects[~test])
        if straddling.size:
            raise ValueError(f"subject {straddling[0]} stands in training and test of a fold")
        yield np.flatnonzero(~test), np.flatnonzero(test)


def _places(subjects: np.ndarray, sites: Sequence[str]) -> list[set[str]]:
    places: list[set[str]] = [set() for _ in range(int(subjects.max()) + 1)]
    for subject, site in zip(subjects.tolist(), sites, strict=True):
        places[subject].add(str(site))
    return places


def _dealt(stratum: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal subjects stratum by stratum, going on where the last one stopped."""
    if len(stratum) < folds:
        raise InputError(f"{folds} folds need at least {folds} subjects, got {len(stratum)}")
    order = np.lexsort((rng.random(len(stratum)), stratum))
    fold = np.empty(len(stratum), dtype=np.int64)
    fold[order] = rng.permutation(folds)[np.arange(len(stratum)) % folds]
    return fold


def _stream(seed: int, *path: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=path))
