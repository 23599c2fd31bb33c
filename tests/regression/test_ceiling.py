"""Raters and model: planted noise of the raters is corrected for, and by formulas by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import CrossValidation, InputError
from emoclip_clinical.regression.agreement import intraclass_correlations
from emoclip_clinical.regression.ceiling import _consistency_of, human_ceiling
from emoclip_clinical.regression.resampling import subject_counts


def rated(
    seed: int, *, n: int = 80, r: float = 0.6, noise: float = 0.7, averaged: int = 1
) -> tuple[CrossValidation, np.ndarray]:
    """A model that correlates by r with the true score, and two raters who add noise to it."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=n)
    model = r * true + np.sqrt(1 - r * r) * rng.normal(size=n)
    raters = true[:, np.newaxis] + noise * rng.normal(size=(n, 2))
    observed = raters[:, 0] if averaged == 1 else raters.mean(axis=1)
    cv = CrossValidation(
        target="t",
        keys=pd.DataFrame({"participant_id": [f"sub-{i:03d}" for i in range(n)], "session_id": ""}),
        observed=observed,
        predicted=np.stack([model, model + 0.01 * rng.normal(size=n)]),
        baseline=np.zeros((2, n)),
        fold=np.tile(np.arange(n) % 5, (2, 1)),
        weight=np.ones(n),
        chosen=(),
    )
    return cv, raters


def ceiling(cv: CrossValidation, raters: np.ndarray, **changes: object):
    settings = {"ratings_averaged": 1, "resamples": 500, "confidence": 0.95, "seed": 0} | changes
    return human_ceiling(cv, raters=raters, **settings)


@pytest.mark.parametrize("averaged", [1, 2])
def test_the_planted_r_is_within_the_corrected_interval(averaged: int) -> None:
    inside, corrected, plain = 0, [], []
    for seed in range(60):
        cv, raters = rated(seed, averaged=averaged)
        made = ceiling(cv, raters, ratings_averaged=averaged)
        inside += made.corrected_interval.low <= 0.6 <= made.corrected_interval.high
        corrected.append(made.corrected_r)
        plain.append(made.r)
    # 51 or fewer of 60 at a true level of 0.95 have a chance below 0.3 %.
    assert inside >= 52
    assert np.mean(corrected) == pytest.approx(0.6, abs=0.03)
    reliability = 1 / (1 + 0.49 / averaged)
    assert np.mean(plain) == pytest.approx(0.6 * np.sqrt(reliability), abs=0.03)


def test_by_hand() -> None:
    cv, raters = rated(1, averaged=2)
    made = ceiling(cv, raters, ratings_averaged=2)
    single = intraclass_correlations(raters)[1].value
    reliability = 2 * single / (1 + single)
    r = np.mean([np.corrcoef(cv.observed, p)[0, 1] for p in cv.predicted])
    assert made.reliability == pytest.approx(reliability)
    assert made.corrected_r == pytest.approx(r / np.sqrt(reliability))
    model = [
        intraclass_correlations(np.column_stack([raters[:, k], p]))[0].value
        for p in cv.predicted
        for k in (0, 1)
    ]
    assert made.model_absolute == pytest.approx(np.mean(model))
    assert made.rater_absolute.value == intraclass_correlations(raters)[0].value


def test_resampled_reliability_equals_copied_rows() -> None:
    rng = np.random.default_rng(2)
    subjects = np.sort(np.concatenate([np.arange(12), np.arange(5)]))
    values = rng.normal(size=(12, 1))[subjects] + rng.normal(size=(17, 3))
    weight = 1 / np.bincount(subjects)[subjects]
    counts = subject_counts(12, resamples=20, seed=0)
    fast = _consistency_of(counts, values, weight, subjects)
    for row, count in zip(fast, counts, strict=True):
        rows = np.repeat(np.arange(17), count[subjects].astype(int))
        slow = intraclass_correlations(values[rows], weight=weight[rows])[1].value
        assert row == pytest.approx(slow, abs=1e-10)


def test_visits_without_a_rater_are_counted_and_told() -> None:
    cv, raters = rated(3)
    raters[:10, 1] = np.nan
    made = ceiling(cv, raters)
    assert (made.n_visits, made.n_subjects) == (70, 70)
    assert "10 of 80 visits lack a rater" in made.warnings[0]
    raters[5:, 1] = np.nan
    assert ceiling(cv, raters) is None
    assert ceiling(cv, raters[:, :1]) is None


def test_raters_without_any_agreement_have_no_corrected_r() -> None:
    cv, raters = rated(4)
    raters[:, 1] = -raters[:, 0]
    made = ceiling(cv, raters)
    assert made.corrected_r is None
    assert made.corrected_interval.low is None
    assert "no reliability above 0" in made.warnings[-1]


def test_refusals() -> None:
    cv, raters = rated(5)
    with pytest.raises(InputError, match="80 visits by raters is wanted"):
        ceiling(cv, raters[:70])
    with pytest.raises(InputError, match="from 1 to 2, the number of raters, got 3"):
        ceiling(cv, raters, ratings_averaged=3)
