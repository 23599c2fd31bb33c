"""Paired comparison of models: slow resampling, the corrected t by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from emoclip_clinical.records import CrossValidation, InputError
from emoclip_clinical.regression import comparison
from emoclip_clinical.regression.resampling import subject_counts


def model(seed: int, *, noise: float, n: int = 40) -> CrossValidation:
    observed = np.random.default_rng(0).normal(20, 4, n)
    rng = np.random.default_rng(seed)
    predicted = observed + noise * rng.normal(size=(4, n))
    return CrossValidation(
        target="t",
        keys=pd.DataFrame({"participant_id": [f"sub-{i:03d}" for i in range(n)], "session_id": ""}),
        observed=observed,
        predicted=predicted,
        baseline=np.full_like(predicted, 20.0),
        fold=np.tile(np.arange(n) % 5, (4, 1)),
        weight=np.ones(n),
        chosen=(),
    )


def test_gain_equals_slow_resampling() -> None:
    first, second = model(1, noise=4), model(2, noise=2)
    made = comparison.compare_models(first, second, resamples=400, confidence=0.9, seed=3)
    counts = subject_counts(40, resamples=400, seed=3)

    def r(cv: CrossValidation, rows: np.ndarray, repeat: int) -> float:
        return np.corrcoef(cv.observed[rows], cv.predicted[repeat, rows])[0, 1]

    drawn = []
    for k, count in enumerate(counts):
        rows = np.repeat(np.arange(40), count.astype(int))
        drawn.append(r(second, rows, k % 4) - r(first, rows, k % 4))
    assert (made.r.interval.low, made.r.interval.high) == pytest.approx(
        tuple(np.quantile(drawn, [0.05, 0.95]))
    )
    whole = np.arange(40)
    each = [r(second, whole, k) - r(first, whole, k) for k in range(4)]
    assert made.r.value == pytest.approx(np.mean(each))
    assert made.r.conditional.low < made.r.value < made.r.conditional.high
    assert made.mae.value < 0 < made.skill.value


def test_corrected_t_by_hand() -> None:
    first, second = model(1, noise=3), model(2, noise=2)
    made = comparison.compare_models(first, second, resamples=0, confidence=0.95, seed=0)
    d = []
    for repeat in range(4):
        for fold in range(5):
            rows = np.arange(40) % 5 == fold
            d.append(
                np.abs(second.predicted[repeat, rows] - second.observed[rows]).mean()
                - np.abs(first.predicted[repeat, rows] - first.observed[rows]).mean()
            )
    t = np.mean(d) / np.sqrt((1 / 20 + 8 / 32) * np.var(d, ddof=1))
    assert made.corrected_t.t == pytest.approx(t)
    assert made.corrected_t.p == pytest.approx(2 * stats.t.sf(abs(t), 19))
    assert made.corrected_t.degrees_of_freedom == 19
    assert made.r.interval.low is None
    assert "no bootstrap was asked for" in made.r.interval.warnings[0]


def test_a_model_against_itself() -> None:
    cv = model(1, noise=3)
    made = comparison.compare_models(cv, cv, resamples=200, confidence=0.95, seed=0)
    assert (made.r.value, made.r.interval.low, made.r.interval.high) == (0, 0, 0)
    assert (made.corrected_t.mean, made.corrected_t.t, made.corrected_t.p) == (0, None, None)


def test_a_constant_prediction_has_no_gain_in_r() -> None:
    cv = model(1, noise=3)
    flat = replace(cv, predicted=np.full_like(cv.predicted, 20.0))
    made = comparison.compare_models(flat, cv, resamples=200, confidence=0.95, seed=0)
    assert made.r.value is None
    assert made.r.interval.warnings
    assert made.mae.value is not None


def test_only_the_same_rows_and_folds_are_compared() -> None:
    cv = model(1, noise=3)
    with pytest.raises(InputError, match="same folds"):
        comparison.compare_models(
            cv, replace(cv, fold=cv.fold[:, ::-1]), resamples=0, confidence=0.95, seed=0
        )
    with pytest.raises(InputError, match="same ratings"):
        comparison.compare_models(
            cv, replace(cv, observed=cv.observed + 1), resamples=0, confidence=0.95, seed=0
        )
    with pytest.raises(InputError, match="40 and 30 visits"):
        comparison.compare_models(cv, model(1, noise=3, n=30), resamples=0, confidence=0.95, seed=0)
