"""Intervals of every metric of a cross-validation, by the same bootstrap of subjects."""

from __future__ import annotations

from dataclasses import dataclass

from emoclip_clinical.records import CrossValidation
from emoclip_clinical.regression import subject_sums as sums
from emoclip_clinical.regression.resampling import (
    Interval,
    no_interval,
    subject_counts,
    subject_interval,
)


@dataclass(frozen=True)
class MetricIntervals:
    """BCa intervals over subjects and all repeats together, conditional on the fitted models.

    Attributes
    ----------
    pearson, ccc, icc_a1, icc_c1 : Interval
        Pooled r, Lin's concordance, ICC(A,1), ICC(C,1).
    mae, rmse, bias : Interval
        Scale points.
    skill : Interval
    calibration_slope, calibration_intercept : Interval
    """

    pearson: Interval
    ccc: Interval
    icc_a1: Interval
    icc_c1: Interval
    mae: Interval
    rmse: Interval
    bias: Interval
    skill: Interval
    calibration_slope: Interval
    calibration_intercept: Interval


def metric_intervals(
    cv: CrossValidation, *, resamples: int, confidence: float, seed: int
) -> MetricIntervals:
    """Return an interval of each metric, the same resamples of subjects for all of them.

    Parameters
    ----------
    resamples : int
        Number of bootstrap samples of subjects.
    confidence : float
        Level, in (0, 1).
    """
    made = sums.subject_sums(cv)
    counts = subject_counts(made.n_subjects, resamples=resamples, seed=seed)

    def interval(metric: sums.MomentMetric, name: str, *, needs_spread: bool = True) -> Interval:
        if needs_spread and made.constant:
            return no_interval(f"{name} is not defined for constant ratings or predictions")
        statistic = sums.over_repeats_of(metric, made)
        return subject_interval(statistic, counts=counts, confidence=confidence, name=name)

    return MetricIntervals(
        pearson=interval(sums.pearson, "r"),
        ccc=interval(sums.concordance, "ccc"),
        icc_a1=interval(sums.icc_absolute, "icc_a1"),
        icc_c1=interval(sums.icc_consistency, "icc_c1"),
        mae=interval(sums.absolute_error, "mae", needs_spread=False),
        rmse=interval(sums.root_squared_error, "rmse", needs_spread=False),
        bias=interval(sums.mean_bias, "bias", needs_spread=False),
        skill=interval(sums.skill_score, "skill", needs_spread=False),
        calibration_slope=interval(sums.slope, "calibration_slope"),
        calibration_intercept=interval(sums.intercept, "calibration_intercept"),
    )
