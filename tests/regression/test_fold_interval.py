"""The interval over folds: the formula by hand, and whether it holds what new subjects show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from emoclip_clinical.records import CrossValidation
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.fold_interval import fold_interval
from emoclip_clinical.regression.inference import bootstrap_interval
from emoclip_clinical.regression.ridge import coefficients, decompose


def repeated(n: int = 40) -> CrossValidation:
    rng = np.random.default_rng(0)
    observed = rng.normal(20, 4, n)
    predicted = observed + 4 * rng.normal(size=(3, n))
    return CrossValidation(
        target="t",
        keys=pd.DataFrame({"participant_id": [f"sub-{i:03d}" for i in range(n)], "session_id": ""}),
        observed=observed,
        predicted=predicted,
        baseline=np.full_like(predicted, 20.0),
        fold=np.stack([np.arange(n) % 5, np.arange(n) // (n // 5), np.arange(n) % 5]),
        weight=np.ones(n),
        chosen=(),
    )


def test_by_hand() -> None:
    cv = repeated()
    z = []
    for fold, predicted in zip(cv.fold, cv.predicted, strict=True):
        for k in range(5):
            rows = fold == k
            z.append(np.arctanh(np.corrcoef(cv.observed[rows], predicted[rows])[0, 1]))
    error = np.std(z, ddof=1) * np.sqrt(1 / 15 + 8 / 32)
    half = stats.t.ppf(0.975, 14) * error
    made = fold_interval(cv, confidence=0.95)
    assert made.method == "corrected t"
    assert (made.low, made.high) == pytest.approx(
        (np.tanh(np.mean(z) - half), np.tanh(np.mean(z) + half))
    )


def test_small_folds_and_constant_predictions_have_none() -> None:
    few = fold_interval(repeated(20), confidence=0.95)
    assert few.low is None
    assert "the smallest has 4" in few.warnings[0]
    flat = replace(repeated(), predicted=np.full((3, 40), 3.0))
    assert "not defined in 15 of 15 folds" in fold_interval(flat, confidence=0.95).warnings[0]


@pytest.mark.slow
def test_it_holds_what_new_subjects_show(make_design) -> None:
    """The mean r, on many new subjects, of models trained on n (K - 1) / K of them."""
    everyone = make_design(n_subjects=20_000, n_features=6, effect=1.0, seed=999)
    trained = []
    for seed in range(60):
        part = make_design(n_subjects=40, n_features=6, effect=1.0, seed=2000 + seed)
        training = decompose(part.X, weight=part.weights)
        slopes = coefficients(training, part.y, alpha=10.0) / training.scale
        trained.append(np.corrcoef(everyone.X @ slopes, everyone.y)[0, 1])
    population = np.mean(trained)
    config = RegressionConfig(repeats=3, permutations=0, bootstrap=0, alphas=(10.0,))
    inside = conditional = 0
    for seed in range(60):
        design = make_design(n_subjects=50, n_features=6, effect=1.0, seed=seed)
        cv = estimate(design, config=config, seed=seed).cross_validation
        made = fold_interval(cv, confidence=0.95)
        kept = bootstrap_interval(cv, resamples=300, confidence=0.95, seed=seed)
        inside += made.low <= population <= made.high
        conditional += kept.low <= population <= kept.high
    # 51 or fewer of 60 at a true level of 0.95 have a chance below 0.3 %.
    assert inside >= 52
    assert inside >= conditional
