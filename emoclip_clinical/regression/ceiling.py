"""The human ceiling: how well raters agree, beside how well the model agrees with them.

A model can not be asked to follow a rater more closely than a second rater does. The correlation
with the rating is also given corrected for the rater's noise (attenuation), under that name: it
estimates the correlation with what raters would agree on, and is no performance of the model.

The rating that the model is judged by may be the mean of several raters, one rater's, or each
rater's in a row of its own. What of its variance raters share follows from who went into it: the
noise of the mean of k is 1/k of one rater's, and raters of different level who rate different rows
add the variance of their levels.

Agreement is that of the raters who have the most subjects in common; a rater who did a few visits
takes none from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from emoclip_clinical.records import KEY_COLUMNS, CrossValidation, InputError
from emoclip_clinical.regression.agreement import IntraclassCorrelation, intraclass_correlations
from emoclip_clinical.regression.longitudinal import one_row_a_visit
from emoclip_clinical.regression.metrics import Measure, icc_a1, icc_c1, over_repeats, pearson_r
from emoclip_clinical.regression.resampling import (
    Interval,
    no_interval,
    percentile_interval,
    subject_counts,
)
from emoclip_clinical.regression.subject_sums import (
    by_repeat,
    pearson,
    subject_numbers,
    subject_sums,
)

MINIMUM_SUBJECTS = 10
"""Fewer subjects in common to two raters than this give no ceiling."""


@dataclass(frozen=True)
class HumanCeiling:
    """Agreement of raters with each other and with the model.

    Attributes
    ----------
    n_subjects, n_visits : int
        Rated by every one of the `n_raters`.
    n_raters : int
        Those with the most subjects in common; of several such sets the one with the most visits,
        then the most raters, then the first names.
    rater_absolute, rater_consistency : IntraclassCorrelation
        ICC(A,1) and ICC(C,1) of the raters.
    model_absolute, model_consistency : float or None
        Mean over raters and repeats of ICC(A,1) and ICC(C,1) of model and one rater, on the same
        visits: comparable with the raters' own.
    reliability : float or None
        Of the rating that the model was judged by: shared variance c over
        c + (v - c) / k + s, where v is a rater's variance and s that of the raters' levels over
        the rows. Where one rater, or the same k raters, rated every row, s is 0 and this is
        ICC(C,1), or by Spearman-Brown ICC(C,k). The level of a rater who is left out of the
        agreement is taken to be the mean of the others'.
    ratings_averaged : float
        The k of that mean, the harmonic mean over rows; 1 for single ratings.
    r : float or None
        Pooled r of the model with that rating, all rows.
    corrected_r : float or None
        Attenuation-corrected r: r / √reliability (Spearman 1904); may pass 1 by chance.
    corrected_interval : Interval
        Bootstrap of subjects, r and reliability drawn together.
    warnings : tuple of str
    """

    n_subjects: int
    n_visits: int
    n_raters: int
    rater_absolute: IntraclassCorrelation
    rater_consistency: IntraclassCorrelation
    model_absolute: float | None
    model_consistency: float | None
    reliability: float | None
    ratings_averaged: float
    r: float | None
    corrected_r: float | None
    corrected_interval: Interval
    warnings: tuple[str, ...]


def human_ceiling(
    cv: CrossValidation,
    *,
    raters: np.ndarray,
    shares: np.ndarray,
    resamples: int,
    confidence: float,
    seed: int,
    names: Sequence[str] | None = None,
) -> HumanCeiling | None:
    """Compare a model's agreement with raters to that of the raters.

    Parameters
    ----------
    raters : ndarray of shape (n_rows, n_raters)
        Each rater's rating of the visit of each row of the cross-validation, NaN where there is
        none; the same in all rows of a visit.
    shares : ndarray of shape (n_rows, n_raters)
        Share of each rater in the row's observed rating: 1/k for each of the k whose mean it is,
        1 for the one whose rating it is. Each row sums to 1.
    resamples : int
        Bootstrap samples of subjects; 0 for no interval.
    confidence : float
        Level of the intervals, in (0, 1).
    seed : int
    names : sequence of str, length n_raters, or None
        What a warning calls the raters; by default their numbers from 1.

    Returns
    -------
    HumanCeiling or None
        None if no two raters have `MINIMUM_SUBJECTS` subjects in common.

    Raises
    ------
    InputError
        If the raters' table or the shares do not belong to the rows.
    """
    _check(cv, raters, shares)
    # Where raters are rows of their own, a visit counts once in their agreement all the same.
    visits = one_row_a_visit(cv)
    subjects = subject_numbers(visits)
    raters = raters[_first_rows(cv)]
    kept = _most_in_common(np.isfinite(raters), subjects)
    left_out = [name for k, name in enumerate(names or _numbers(raters)) if k not in kept]
    raters = raters[:, kept]
    rows = np.isfinite(raters).all(axis=1)
    n_subjects = len(np.unique(subjects[rows]))
    if raters.shape[1] < 2 or n_subjects < MINIMUM_SUBJECTS:
        return None
    values, weight = raters[rows], visits.weight[rows]
    absolute, consistency = intraclass_correlations(values, weight=weight, confidence=confidence)
    made_of = _made_of(shares, cv.weight, kept=kept)
    everyone = np.ones((1, int(subjects.max()) + 1))
    reliability = float(_reliability_of(everyone, values, weight, subjects[rows], made_of)[0])
    r = over_repeats(pearson_r, cv)
    found = [*absolute.warnings, *consistency.warnings, *_left_out_warning(left_out)]
    corrected, interval = None, no_interval("the corrected r is not defined")
    if r is None or not reliability > 0:
        found.append("attenuation-corrected r is not defined: no reliability above 0, or no r")
    else:
        corrected = r / float(np.sqrt(reliability))
        interval = no_interval("no bootstrap was asked for")
        if resamples:
            counts = subject_counts(everyone.shape[1], resamples=resamples, seed=seed)
            drawn = _reliability_of(counts, values, weight, subjects[rows], made_of)
            interval = _interval(cv, counts, drawn, confidence)
    if not rows.all():
        found.append(
            f"human ceiling: {int((~rows).sum())} of {len(rows)} visits lack a rater and do not "
            "count in the agreement of raters"
        )
    return HumanCeiling(
        n_subjects=n_subjects,
        n_visits=int(rows.sum()),
        n_raters=raters.shape[1],
        rater_absolute=absolute,
        rater_consistency=consistency,
        model_absolute=_with_model(icc_a1, visits, values, rows),
        model_consistency=_with_model(icc_c1, visits, values, rows),
        reliability=reliability if np.isfinite(reliability) else None,
        ratings_averaged=made_of.averaged,
        r=r,
        corrected_r=corrected,
        corrected_interval=interval,
        warnings=tuple(found),
    )


def _check(cv: CrossValidation, raters: np.ndarray, shares: np.ndarray) -> None:
    faults = []
    if raters.ndim != 2 or len(raters) != len(cv.observed):
        faults.append(
            f"raters: an array of {len(cv.observed)} rows by raters is wanted, "
            f"got shape {raters.shape}"
        )
    elif shares.shape != raters.shape or (shares < 0).any():
        faults.append(
            f"shares: {raters.shape[1]} numbers of 0 or more are wanted for each of "
            f"{len(raters)} rows, got shape {shares.shape}"
        )
    elif not np.allclose(shares.sum(axis=1), 1.0):
        worst = float(shares.sum(axis=1)[np.argmax(np.abs(shares.sum(axis=1) - 1.0))])
        faults.append(f"shares: those of a row must sum to 1, got {worst:g}")
    if faults:
        raise InputError(faults)


def _first_rows(cv: CrossValidation) -> np.ndarray:
    visit = cv.keys.groupby(list(KEY_COLUMNS), sort=False, dropna=False).ngroup().to_numpy()
    return np.unique(visit, return_index=True)[1]


@dataclass(frozen=True)
class _MadeOf:
    """Which raters the observed ratings are made of.

    Attributes
    ----------
    averaged : float
        How many raters a rating is the mean of: the harmonic mean, since the mean of k keeps 1/k
        of one rater's noise.
    spread : ndarray of shape (n_raters, n_raters)
        Covariance of the shares over rows, for the raters whose agreement is known; m' spread m is
        the variance that raters of mean m add.
    """

    averaged: float
    spread: np.ndarray


def _most_in_common(there: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Return which raters agreement is of, in their order; see `HumanCeiling.n_raters`.

    Of all sets of raters a pair has the most in common, and others who rated all of the pair's
    visits take nothing from it.

    Parameters
    ----------
    there : ndarray of bool, shape (n_visits, n_raters)
        Who rated which visit.
    subjects : ndarray of int, shape (n_visits,)
    """
    pairs = [np.array(pair) for pair in combinations(range(there.shape[1]), 2)]
    if not pairs:
        return np.arange(there.shape[1])
    both = [there[:, pair].all(axis=1) for pair in pairs]
    in_common = [(len(np.unique(subjects[rows])), int(rows.sum())) for rows in both]
    most = max(in_common)
    sets = [
        np.flatnonzero(there[rows].all(axis=0))
        for rows, count in zip(both, in_common, strict=True)
        if count == most
    ]
    return max(sets, key=len)


def _numbers(raters: np.ndarray) -> list[str]:
    return [f"{k + 1} of {raters.shape[1]}" for k in range(raters.shape[1])]


def _left_out_warning(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    are = f"rater {names[0]} is" if len(names) == 1 else f"raters {', '.join(names)} are"
    return (
        f"human ceiling: {are} left out of the agreement of raters, which is of those with the "
        "most subjects in common",
    )


def _made_of(shares: np.ndarray, weight: np.ndarray, *, kept: np.ndarray | None = None) -> _MadeOf:
    share = weight / weight.sum()
    noise = float(share @ (shares**2).sum(axis=1))
    if kept is not None and len(kept) < shares.shape[1]:
        # The levels of the others are not known: they are taken to be the mean of those kept.
        of_kept = shares[:, kept]
        shares = of_kept + (1.0 - of_kept.sum(axis=1, keepdims=True)) / len(kept)
    centred = shares - share @ shares
    return _MadeOf(1.0 / noise, (centred * share[:, np.newaxis]).T @ centred)


def _with_model(
    measure: Measure, cv: CrossValidation, values: np.ndarray, rows: np.ndarray
) -> float | None:
    found = [
        measure(rater, predicted[rows], cv.weight[rows])
        for predicted in cv.predicted
        for rater in values.T
    ]
    known = [v for v in found if v is not None]
    return float(np.mean(known)) if len(known) == len(found) else None


def _interval(
    cv: CrossValidation, counts: np.ndarray, reliability: np.ndarray, confidence: float
) -> Interval:
    r = by_repeat(pearson, subject_sums(cv), counts).mean(axis=0)
    known = np.where(reliability > 0, reliability, np.nan)
    return percentile_interval(r / np.sqrt(known), confidence=confidence, name="the corrected r")


def _reliability_of(
    counts: np.ndarray,
    values: np.ndarray,
    weight: np.ndarray,
    subjects: np.ndarray,
    made_of: _MadeOf,
) -> np.ndarray:
    """Return the reliability of the observed rating in each resample; see `HumanCeiling`."""
    mean, covariance = _moments_of(counts, values, weight, subjects)
    n_raters = values.shape[1]
    variance = np.einsum("bii->b", covariance) / n_raters
    shared = (covariance.sum(axis=(1, 2)) / n_raters - variance) / (n_raters - 1)
    levels = np.einsum("bi,ij,bj->b", mean, made_of.spread, mean)
    total = shared + (variance - shared) / made_of.averaged + levels
    smallest = 1e-14 * max(float(((values - values.mean(axis=0)) ** 2).max()), 1e-300)
    out = np.full(len(counts), np.nan)
    np.divide(shared, total, out=out, where=(variance > smallest) & (total > 0))
    return out


def _moments_of(
    counts: np.ndarray, values: np.ndarray, weight: np.ndarray, subjects: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return means and covariances of the raters in each resample of subjects."""
    n_raters = values.shape[1]
    middle = values.mean(axis=0)
    centred = values - middle
    products = np.einsum("ni,nj->nij", centred, centred).reshape(len(values), -1)
    columns = np.column_stack([np.ones(len(values)), centred, products]) * weight[:, np.newaxis]
    by_subject = np.zeros((counts.shape[1], columns.shape[1]))
    np.add.at(by_subject, subjects, columns)
    totals = counts @ by_subject
    n = totals[:, :1]
    n_known = np.where(n > 0, n, np.nan)
    mean = totals[:, 1 : 1 + n_raters] / n_known
    second = (totals[:, 1 + n_raters :] / n_known).reshape(-1, n_raters, n_raters)
    covariance = second - np.einsum("bi,bj->bij", mean, mean)
    return mean + (middle - middle.mean()), covariance
