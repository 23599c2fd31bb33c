"""Riley's sample size for developing a model of a continuous rating.

Riley, Snell, Ensor, Burke, Harrell, Moons & Collins (2019), Minimum sample size for developing a
multivariable prediction model: Part I, continuous outcomes. Statistics in Medicine 38, 1262-1275.
The criteria are for least squares with P candidate parameters; penalised models are no cheaper to
estimate honestly, so they serve as a floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from emoclip_clinical.records import InputError

MARGIN = 1.1
"""Multiplicative margin of error of residual SD and mean."""
OPTIMISM = 0.05
"""Largest accepted difference of apparent and adjusted R²."""
MOST_SUBJECTS = 10_000_000


class SampleSizeQuestion(BaseModel):
    """What is expected of the model that is to be developed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    predictors: int = Field(ge=3, le=100_000, description="Candidate predictor parameters P.")
    r_squared: float = Field(gt=0, lt=1, description="Adjusted R² that is expected.")
    mean: float | None = Field(
        default=None, gt=0, description="Mean rating of the population, scale points."
    )
    sd: float | None = Field(
        default=None, gt=0, description="Standard deviation of the ratings, scale points."
    )
    shrinkage: float = Field(
        default=0.9, gt=0, lt=1, description="Least acceptable global shrinkage factor."
    )


@dataclass(frozen=True)
class Criterion:
    """One criterion and the subjects it asks for.

    Attributes
    ----------
    name : str
    subjects : int or None
        None where it can not be computed.
    why : str
        What the criterion wants; why it is None, where it is.
    """

    name: str
    subjects: int | None
    why: str


@dataclass(frozen=True)
class SampleSize:
    """Riley's criteria and the largest of them.

    Attributes
    ----------
    criteria : tuple of Criterion
    subjects : int
        The largest number that a criterion asks for; one of which too little is known to ask is
        left out, and stands in `warnings`.
    warnings : tuple of str
    """

    criteria: tuple[Criterion, ...]
    subjects: int
    warnings: tuple[str, ...]


def riley_sample_size(question: SampleSizeQuestion) -> SampleSize:
    """Return the subjects that each of Riley's four criteria asks for.

    Parameters
    ----------
    question : SampleSizeQuestion
        Without mean and SD the criterion of the mean is left out.

    Raises
    ------
    InputError
        If more than `MOST_SUBJECTS` would be needed for the shrinkage alone.
    """
    p, r_squared = question.predictors, question.r_squared
    criteria = [
        Criterion(
            "shrinkage",
            _subjects_for_shrinkage(p, r_squared, shrinkage=question.shrinkage),
            f"expected shrinkage of the predictors' effects of at least {question.shrinkage:g}",
        ),
        Criterion(
            "optimism",
            math.ceil(1 + p * (1 - r_squared) / OPTIMISM),
            f"apparent and adjusted R² differ by at most {OPTIMISM:g}",
        ),
        Criterion(
            "residual_sd",
            p + 1 + residual_degrees(MARGIN),
            f"residual SD known to a factor of {MARGIN:g}",
        ),
        _mean_criterion(question),
    ]
    found = [f"{c.name}: {c.why}" for c in criteria if c.subjects is None]
    return SampleSize(
        criteria=tuple(criteria),
        subjects=max(c.subjects for c in criteria if c.subjects is not None),
        warnings=tuple(found),
    )


def expected_shrinkage(n: int, p: int, r_squared: float) -> float:
    """Return the expected global shrinkage factor (criterion i).

    1 + (P - 2) / (n ln(1 - R²_app)), where R²_app = (R²_adj (n - P - 1) + P) / (n - 1).
    """
    apparent = (r_squared * (n - p - 1) + p) / (n - 1)
    return 1 + (p - 2) / (n * math.log1p(-apparent)) if apparent < 1 else -math.inf


def _subjects_for_shrinkage(p: int, r_squared: float, *, shrinkage: float) -> int:
    found = _smallest(
        _least_shrinkage_at(p, r_squared),
        lambda n: expected_shrinkage(n, p, r_squared) >= shrinkage,
    )
    if found is None:
        raise InputError(
            f"more than {MOST_SUBJECTS:,} subjects would be needed: the expected R² is too small "
            "for so many predictors"
        )
    return found


def _least_shrinkage_at(p: int, r_squared: float) -> int:
    """Return the n from which the expected shrinkage factor only grows.

    Below it, where there are hardly more subjects than predictors, the formula rises again and
    means nothing.
    """
    n = p + 2
    while expected_shrinkage(n + 1, p, r_squared) < expected_shrinkage(n, p, r_squared):
        n += 1
    return n


def residual_degrees(margin: float) -> int:
    """Return the residual degrees of freedom n - P - 1 of criterion iii.

    The fewest d with which the residual SD is known to a factor: both √(χ²_{0.975,d} / d) and
    √(d / χ²_{0.025,d}) at most the margin. A factor of 1.1 takes 233, the paper's n = 234 + P.
    """

    def factor(degrees: int) -> float:
        low, high = (float(stats.chi2.ppf(q, degrees)) for q in (0.025, 0.975))
        return max(math.sqrt(high / degrees), math.sqrt(degrees / low))

    found = _smallest(2, lambda degrees: factor(degrees) <= margin)
    assert found is not None  # the margin is ours
    return found


def _mean_criterion(question: SampleSizeQuestion) -> Criterion:
    """Criterion iv: the upper end of the mean's interval within a factor of the mean."""
    p, mean, sd = question.predictors, question.mean, question.sd
    if mean is None or sd is None:
        return Criterion("mean", None, "needs the mean and the SD of the ratings")
    spread = sd * math.sqrt(1 - question.r_squared)

    def factor(n: int) -> float:
        half = float(stats.t.ppf(0.975, n - p - 1)) * spread / math.sqrt(n)
        return (mean + half) / mean

    found = _smallest(p + 2, lambda n: factor(n) <= MARGIN)
    why = f"mean rating at mean predictors known to a factor of {MARGIN:g}"
    if found is None:
        why = (
            f"needs more than {MOST_SUBJECTS:,} subjects: the mean ({mean:g}) is too small beside "
            f"the SD ({sd:g})"
        )
    return Criterion("mean", found, why)


def _smallest(start: int, is_enough: Callable[[int], bool]) -> int | None:
    """Find the smallest number from `start` on that is enough, and so is every larger one.

    None where it lies beyond `MOST_SUBJECTS`.
    """
    low, high = start - 1, start
    while not is_enough(high):
        if high >= MOST_SUBJECTS:
            return None
        low, high = high, min(2 * high, MOST_SUBJECTS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
