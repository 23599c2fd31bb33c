"""How sure one may be of a cross-validated correlation: interval, permutation test, family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from emoclip_clinical.records import CrossValidation
from emoclip_clinical.regression.resampling import BOOTSTRAP as BOOTSTRAP
from emoclip_clinical.regression.resampling import Interval as Interval
from emoclip_clinical.regression.resampling import no_interval, subject_counts, subject_interval
from emoclip_clinical.regression.subject_sums import over_repeats_of, pearson, subject_sums

MINIMUM_EXCHANGEABLE = 20
"""Fewer exchangeable subjects than this give no p value."""
PERMUTATION = 3
ROUNDING = 1e-9
"""Null values this little below the observed one are equal to it: ratings that changed places with
equal ones are the same vector, but its statistic may be summed in another order."""


def bootstrap_interval(
    cv: CrossValidation, *, resamples: int, confidence: float, seed: int
) -> Interval:
    """Return an interval of the mean-over-repeats pooled r by resampling whole subjects.

    BCa (Efron 1987), percentile as the fallback. The fitted models are kept, so the interval is
    conditional on them and says nothing about the spread over training sets.

    Parameters
    ----------
    resamples : int
        Number of bootstrap samples of subjects.
    confidence : float
        Level, in (0, 1).
    """
    sums = subject_sums(cv)
    if sums.constant:
        return no_interval("a correlation is not defined")
    counts = subject_counts(sums.n_subjects, resamples=resamples, seed=seed)
    statistic = over_repeats_of(pearson, sums)
    return subject_interval(statistic, counts=counts, confidence=confidence)


@dataclass(frozen=True)
class Exchange:
    """Which subjects may swap their rating vectors.

    Attributes
    ----------
    groups : tuple of ndarray of int, each of shape (n_subjects_in_group, n_visits_of_each)
        Rows of the subjects that have the same set of visits, a line a subject, in the order of
        their sessions. Subjects alone with their set stay fixed and stand in no group.
    n_exchangeable : int
        Number of subjects in `groups`.
    """

    groups: tuple[np.ndarray, ...]
    n_exchangeable: int


def exchange(
    subjects: np.ndarray, sessions: Sequence[str], *, strata: Sequence[str] | None = None
) -> Exchange:
    """Group the subjects that have the same set of visits, and belong to the same stratum.

    Parameters
    ----------
    subjects : ndarray of int, shape (n_visits,)
    sessions : sequence of str, length n_visits
        No subject has a session twice.
    strata : sequence of str, length n_visits, optional
        Stratum of each row, for example its site: ratings swap places within a stratum only, and
        a subject seen in several strata only with subjects seen in the same ones.
    """
    by_visits: dict[tuple[tuple[str, str], ...], list[list[int]]] = {}
    stratum = [""] * len(sessions) if strata is None else [str(s) for s in strata]
    for subject in range(int(subjects.max()) + 1):
        rows = sorted(np.flatnonzero(subjects == subject).tolist(), key=lambda i: sessions[i])
        by_visits.setdefault(tuple((sessions[i], stratum[i]) for i in rows), []).append(rows)
    groups = tuple(np.array(rows) for _, rows in sorted(by_visits.items()) if len(rows) > 1)
    return Exchange(groups, sum(len(group) for group in groups))


def exchange_words(*, within_sites: bool) -> str:
    """Say what is permuted under the null.

    >>> exchange_words(within_sites=True)
    'whole rating vectors permuted among participants with the same visits, within sites'
    """
    return "whole rating vectors permuted among participants with the same visits" + (
        ", within sites" if within_sites else ""
    )


def can_change(y: np.ndarray, *, exchange: Exchange) -> bool:
    """Say whether any exchange of subjects gives other ratings than the given ones.

    Parameters
    ----------
    y : ndarray of shape (n_visits,)
    exchange : Exchange
    """
    return any(bool((y[rows] != y[rows[0]]).any()) for rows in exchange.groups)


def permuted_ratings(y: np.ndarray, *, exchange: Exchange, n: int, seed: int) -> np.ndarray:
    """Return n copies of the ratings in which exchangeable subjects swapped their whole vectors.

    Parameters
    ----------
    y : ndarray of shape (n_visits,) or (n_visits, n_outputs)
        Several ratings of a visit stay together.

    Returns
    -------
    ndarray of shape (n_visits, n) or (n_visits, n, n_outputs)
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(PERMUTATION,)))
    permuted = np.repeat(y[:, np.newaxis], n, axis=1)
    for column in range(n):
        for rows in exchange.groups:
            permuted[rows, column] = y[rows[rng.permutation(len(rows))]]
    return permuted


def permutation_p(observed: float, null: np.ndarray) -> float:
    """Return the one-sided p value (b + 1)/(B + 1), b the null values not below the observed.

    A null value that is not defined (NaN), or below by rounding only, counts as not below, which
    can only make p larger.
    """
    at_least = int(np.sum(~(null < observed - ROUNDING)))
    return (at_least + 1) / (len(null) + 1)


def adjust_p(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust the p values of a family of targets by Benjamini and Hochberg (1995).

    Targets without a p value stay None and do not count in the family.
    """
    known = [p for p in p_values if p is not None]
    adjusted = iter(stats.false_discovery_control(known).tolist() if known else [])
    return [None if p is None else float(next(adjusted)) for p in p_values]
