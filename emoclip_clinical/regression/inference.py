"""How sure one may be of a cross-validated correlation: interval, permutation test, family."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from emoclip_clinical.records import CrossValidation
from emoclip_clinical.regression.metrics import is_constant

MINIMUM_EXCHANGEABLE = 20
"""Fewer exchangeable subjects than this give no p value."""
MINIMUM_DEFINED_SHARE = 0.95
"""Smaller shares of resamples with a defined correlation give no interval."""
PERMUTATION, BOOTSTRAP = 3, 4


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval of the pooled correlation.

    Attributes
    ----------
    low, high : float or None
        Ends; None where no interval can be given.
    method : str
        ``BCa``, ``percentile`` or ``none``.
    warnings : tuple of str
        Why the method is not BCa, where it is not.
    """

    low: float | None
    high: float | None
    method: str
    warnings: tuple[str, ...] = ()


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
    if any(is_constant(p) for p in cv.predicted) or is_constant(cv.observed):
        return Interval(None, None, "none", ("no interval: a correlation is not defined",))
    subjects = np.unique(cv.keys["participant_id"].to_numpy(dtype=str), return_inverse=True)[1]
    n_subjects = int(subjects.max()) + 1
    terms = _pearson_terms(cv, subjects, n_subjects)

    def statistic(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        drawn = np.moveaxis(drawn, axis, -1)
        flat = drawn.reshape(-1, drawn.shape[-1])
        count = np.zeros((len(flat), n_subjects))
        np.add.at(count, (np.arange(len(flat))[:, np.newaxis], flat), 1.0)
        return _mean_correlation(count, terms).reshape(drawn.shape[:-1])

    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(BOOTSTRAP,)))
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # A degenerate distribution is answered by the percentile interval below, and said there.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(n_subjects),),
            statistic,
            n_resamples=resamples,
            batch=500,
            vectorized=True,
            axis=-1,
            confidence_level=confidence,
            method="BCa",
            rng=rng,
        )
    low, high = result.confidence_interval
    drawn = np.asarray(result.bootstrap_distribution)
    if np.isfinite([low, high]).all() and np.isfinite(drawn).all():
        return Interval(float(low), float(high), "BCa")
    return _percentile(drawn, confidence=confidence)


def _percentile(drawn: np.ndarray, *, confidence: float) -> Interval:
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < MINIMUM_DEFINED_SHARE * len(drawn):
        text = f"no interval: r is defined in only {len(defined)} of {len(drawn)} resamples"
        return Interval(None, None, "none", (text,))
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    text = "the interval is a percentile interval; BCa is not defined for these resamples"
    return Interval(float(low), float(high), "percentile", (text,))


def _pearson_terms(cv: CrossValidation, subjects: np.ndarray, n_subjects: int) -> np.ndarray:
    """Return sums by subject of w, wx, wy, wxx, wyy, wxy; shape (n_repeats, n_subjects, 6)."""
    # Numbers near 0 keep the differences of sums below exact.
    x = cv.observed - np.average(cv.observed, weights=cv.weight)
    member = np.zeros((n_subjects, len(subjects)))
    member[subjects, np.arange(len(subjects))] = cv.weight
    terms = []
    for predicted in cv.predicted:
        y = predicted - np.average(predicted, weights=cv.weight)
        columns = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
        terms.append(member @ columns)
    return np.stack(terms)


def _mean_correlation(count: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Mean over repeats of r when subject i counts ``count[:, i]`` times; NaN if undefined."""
    total = np.zeros(len(count))
    for repeat in terms:
        w, x, y, xx, yy, xy = (count @ repeat).T
        vx, vy = xx / w - (x / w) ** 2, yy / w - (y / w) ** 2
        spread = vx * vy
        covariance = xy / w - x * y / w**2
        defined = (vx > 1e-14 * repeat[:, 3].max()) & (vy > 1e-14 * repeat[:, 4].max())
        r = np.full(len(count), np.nan)
        np.divide(covariance, np.sqrt(np.where(defined, spread, 1.0)), out=r, where=defined)
        total += r
    return np.asarray(total / len(terms))


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


def exchange(subjects: np.ndarray, sessions: Sequence[str]) -> Exchange:
    """Group the subjects that have the same set of visits.

    Parameters
    ----------
    subjects : ndarray of int, shape (n_visits,)
    sessions : sequence of str, length n_visits
        No subject has a session twice.
    """
    by_visits: dict[tuple[str, ...], list[list[int]]] = {}
    for subject in range(int(subjects.max()) + 1):
        rows = sorted(np.flatnonzero(subjects == subject).tolist(), key=lambda i: sessions[i])
        by_visits.setdefault(tuple(sessions[i] for i in rows), []).append(rows)
    groups = tuple(np.array(rows) for _, rows in sorted(by_visits.items()) if len(rows) > 1)
    return Exchange(groups, sum(len(group) for group in groups))


def permuted_ratings(y: np.ndarray, *, exchange: Exchange, n: int, seed: int) -> np.ndarray:
    """Return n copies of the ratings in which exchangeable subjects swapped their whole vectors.

    Returns
    -------
    ndarray of shape (n_visits, n)
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(PERMUTATION,)))
    permuted = np.repeat(y[:, np.newaxis], n, axis=1)
    for column in range(n):
        for rows in exchange.groups:
            permuted[rows, column] = y[rows[rng.permutation(len(rows))]]
    return permuted


def permutation_p(observed: float, null: np.ndarray) -> float:
    """Return the one-sided p value (b + 1)/(B + 1), b the null values not below the observed.

    A null value that is not defined (NaN) counts as not below, which can only make p larger.
    """
    at_least = int(np.sum(~(null < observed)))
    return (at_least + 1) / (len(null) + 1)


def adjust_p(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust the p values of a family of targets by Benjamini and Hochberg (1995).

    Targets without a p value stay None and do not count in the family.
    """
    known = [p for p in p_values if p is not None]
    adjusted = iter(stats.false_discovery_control(known).tolist() if known else [])
    return [None if p is None else float(next(adjusted)) for p in p_values]
