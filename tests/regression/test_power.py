"""Riley's criteria against the published example and the formulas, one n after the other."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.power import (
    SampleSizeQuestion,
    _smallest,
    expected_shrinkage,
    residual_degrees,
    riley_sample_size,
)


def asked(**settings: float) -> dict[str, int | None]:
    made = riley_sample_size(SampleSizeQuestion(**settings))
    return {c.name: c.subjects for c in made.criteria} | {"all": made.subjects}


def test_the_example_of_pmsampsize() -> None:
    """FEV1, 25 parameters, R² 0.2, mean 1.9, SD 0.6: pmsampsize documents 918, 401, 259; 918."""
    found = asked(predictors=25, r_squared=0.2, mean=1.9, sd=0.6)
    assert [found[k] for k in ("shrinkage", "optimism", "residual_sd", "all")] == [
        918, 401, 259, 918,
    ]  # fmt: skip


@pytest.mark.parametrize("p", [3, 10, 20, 30])
def test_residual_sd_asks_for_234_and_the_predictors(p: int) -> None:
    assert asked(predictors=p, r_squared=0.9)["residual_sd"] == 234 + p
    assert residual_degrees(1.1) == 233


@pytest.mark.parametrize(("p", "r_squared"), [(5, 0.1), (10, 0.5), (20, 0.9), (3, 0.95)])
def test_each_criterion_is_the_first_n_after_which_it_holds(p: int, r_squared: float) -> None:
    found = asked(predictors=p, r_squared=r_squared, mean=20, sd=8)
    n = np.arange(p + 2, 3000)
    apparent = (r_squared * (n - p - 1) + p) / (n - 1)
    shrinkage = 1 + (p - 2) / (n * np.log(1 - apparent))
    half = stats.t.ppf(0.975, n - p - 1) * np.sqrt(64 * (1 - r_squared) / n)
    for name, holds in (
        ("shrinkage", shrinkage >= 0.9),
        ("optimism", p * (1 - r_squared) / (n - 1) <= 0.05 + 1e-12),
        ("mean", (20 + half) / 20 <= 1.1),
    ):
        wanted = n[0] if holds.all() else n[np.flatnonzero(~holds)[-1] + 1]
        if name == "optimism":
            # R²_app - R²_adj = P (1 - R²_adj) / (n - 1)
            wanted = max(wanted, int(np.ceil(1 + p * (1 - r_squared) / 0.05)))
        assert found[name] == wanted, name


def test_shrinkage_of_the_answer() -> None:
    assert expected_shrinkage(917, 25, 0.2) < 0.9 <= expected_shrinkage(918, 25, 0.2)


def test_without_mean_and_sd_a_criterion_is_left_out_with_its_reason() -> None:
    made = riley_sample_size(SampleSizeQuestion(predictors=10, r_squared=0.3))
    assert made.criteria[3].subjects is None
    assert made.warnings == ("mean: needs the mean and the SD of the ratings",)
    assert made.subjects == max(c.subjects for c in made.criteria[:3])


def test_a_mean_that_no_cohort_can_tell_leaves_the_other_criteria() -> None:
    made = riley_sample_size(SampleSizeQuestion(predictors=10, r_squared=0.3, mean=0.001, sd=10))
    others = riley_sample_size(SampleSizeQuestion(predictors=10, r_squared=0.3))
    assert (made.criteria[:3], made.subjects) == (others.criteria[:3], others.subjects)
    assert made.criteria[3].subjects is None
    assert made.warnings == (
        "mean: needs more than 10,000,000 subjects: the mean (0.001) is too small beside the SD "
        "(10)",
    )


@pytest.mark.parametrize("name", ["mean", "sd", "r_squared", "shrinkage"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_is_refused(name: str, value: float) -> None:
    settings = {"predictors": 10, "r_squared": 0.3, "mean": 20, "sd": 8}
    with pytest.raises(ValidationError, match=name):
        SampleSizeQuestion.model_validate({**settings, name: value})


def test_refusals() -> None:
    with pytest.raises(ValidationError):
        SampleSizeQuestion(predictors=10, r_squared=1.2)
    with pytest.raises(InputError, match="too small for so many predictors"):
        riley_sample_size(SampleSizeQuestion(predictors=50_000, r_squared=0.001))


@pytest.mark.parametrize("enough", [9_999_999, 10_000_000, 10_000_001])
def test_the_search_goes_as_far_as_it_says(enough: int) -> None:
    found = _smallest(12, lambda n: n >= enough)
    assert found == (enough if enough <= 10_000_000 else None)
