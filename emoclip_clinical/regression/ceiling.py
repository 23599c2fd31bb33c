"""The human ceiling: how well raters agree, beside how well the model agrees with them.

A model can not be asked to follow a rater more closely than a second rater does. The correlation
with the rating is also given corrected for the rater's noise (attenuation), under that name: it
estimates the correlation with what raters would agree on, and is no performance of the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoclip_clinical.records import CrossValidation, InputError
from emoclip_clinical.regression.agreement import IntraclassCorrelation, intraclass_correlations
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
"""Fewer subjects with all raters than this give no ceiling."""


@dataclass(frozen=True)
class HumanCeiling:
    """Agreement of raters with each other and with the model.

    Attributes
    ----------
    n_subjects, n_visits : int
        Rated by every rater.
    n_raters : int
    rater_absolute, rater_consistency : IntraclassCorrelation
        ICC(A,1) and ICC(C,1) of the raters.
    model_absolute, model_consistency : float or None
        Mean over raters and repeats of ICC(A,1) and ICC(C,1) of model and one rater, on the same
        visits: comparable with the raters' own.
    reliability : float or None
        Of the rating that the model was judged by: ICC(C,1) for a single rating, by
        Spearman-Brown ICC(C,k) for the mean of k.
    ratings_averaged : float
        The k of that mean.
    r : float or None
        Pooled r of the model with that rating, all visits.
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
    ratings_averaged: float,
    resamples: int,
    confidence: float,
    seed: int,
) -> HumanCeiling | None:
    """Compare a model's agreement with raters to that of the raters.

    Parameters
    ----------
    raters : ndarray of shape (n_visits, n_raters)
        Each rater's rating of each row of the cross-validation, NaN where there is none.
    ratings_averaged : float
        How many raters' mean the observed rating is, 1 for one rater's; where visits differ, their
        harmonic mean.
    resamples : int
        Bootstrap samples of subjects; 0 for no interval.
    confidence : float
        Level of the intervals, in (0, 1).
    seed : int

    Returns
    -------
    HumanCeiling or None
        None if fewer than `MINIMUM_SUBJECTS` subjects were rated by two or more raters.

    Raises
    ------
    InputError
        If the raters' table does not belong to the rows.
    """
    _check(cv, raters, ratings_averaged)
    rows = np.isfinite(raters).all(axis=1)
    subjects = subject_numbers(cv)
    n_subjects = len(np.unique(subjects[rows]))
    if raters.shape[1] < 2 or n_subjects < MINIMUM_SUBJECTS:
        return None
    values, weight = raters[rows], cv.weight[rows]
    absolute, consistency = intraclass_correlations(values, weight=weight, confidence=confidence)
    reliability = _stepped_up(consistency.value, ratings_averaged)
    r = over_repeats(pearson_r, cv)
    found = [*absolute.warnings, *consistency.warnings]
    corrected, interval = None, no_interval("the corrected r is not defined")
    if r is None or reliability is None or reliability <= 0:
        found.append("attenuation-corrected r is not defined: no reliability above 0, or no r")
    else:
        corrected = r / float(np.sqrt(reliability))
        interval = _interval(cv, values, rows, ratings_averaged, resamples, confidence, seed)
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
        model_absolute=_with_model(icc_a1, cv, values, rows),
        model_consistency=_with_model(icc_c1, cv, values, rows),
        reliability=reliability,
        ratings_averaged=ratings_averaged,
        r=r,
        corrected_r=corrected,
        corrected_interval=interval,
        warnings=tuple(found),
    )


def _check(cv: CrossValidation, raters: np.ndarray, ratings_averaged: float) -> None:
    faults = []
    if raters.ndim != 2 or len(raters) != len(cv.observed):
        faults.append(
            f"raters: an array of {len(cv.observed)} visits by raters is wanted, "
            f"got shape {raters.shape}"
        )
    elif not 1 <= ratings_averaged <= raters.shape[1]:
        faults.append(
            f"ratings_averaged must be from 1 to {raters.shape[1]}, the number of raters, "
            f"got {ratings_averaged}"
        )
    if faults:
        raise InputError(faults)


def _stepped_up(single: float | None, k: float) -> float | None:
    """Reliability of the mean of k ratings (Spearman-Brown)."""
    if single is None or 1 + (k - 1) * single <= 0:
        return None
    return k * single / (1 + (k - 1) * single)


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
    cv: CrossValidation,
    values: np.ndarray,
    rows: np.ndarray,
    k: float,
    resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    if not resamples:
        return no_interval("no bootstrap was asked for")
    sums = subject_sums(cv)
    counts = subject_counts(sums.n_subjects, resamples=resamples, seed=seed)
    r = by_repeat(pearson, sums, counts).mean(axis=0)
    single = _consistency_of(counts, values, cv.weight[rows], subject_numbers(cv)[rows])
    below = 1 + (k - 1) * single
    usable = (single > 0) & (below > 0)
    reliability = np.where(usable, k * single / np.where(usable, below, 1.0), np.nan)
    return percentile_interval(
        r / np.sqrt(reliability), confidence=confidence, name="the corrected r"
    )


def _consistency_of(
    counts: np.ndarray, values: np.ndarray, weight: np.ndarray, subjects: np.ndarray
) -> np.ndarray:
    """ICC(C,1) of each resample of subjects: mean covariance over mean variance of raters."""
    n_raters = values.shape[1]
    centred = values - values.mean(axis=0)
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
    variance = np.einsum("bii->b", covariance) / n_raters
    shared = (covariance.sum(axis=(1, 2)) / n_raters - variance) / (n_raters - 1)
    varies = variance > 1e-14 * max(float((centred**2).max()), 1e-300)
    out = np.full(len(counts), np.nan)
    np.divide(shared, variance, out=out, where=varies)
    return out
