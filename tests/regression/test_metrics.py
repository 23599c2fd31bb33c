"""Each metric against another library or the formula by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error, mean_squared_error
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from emoclip_clinical.records import CrossValidation
from emoclip_clinical.regression import metrics


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    observed = np.round(rng.normal(20, 5, 25))
    return observed, 6 + 0.6 * observed + rng.normal(0, 2, 25)


def repeated(pair):
    """Rows with whole-number counts: a row of weight k must act as k rows."""
    count = np.random.default_rng(1).integers(1, 4, len(pair[0]))
    return [np.repeat(a, count) for a in pair], count.astype(float)


def test_pearson_and_spearman_equal_scipy(pair):
    ones = np.ones(25)
    assert metrics.pearson_r(*pair, ones) == pytest.approx(stats.pearsonr(*pair)[0], abs=1e-12)
    assert metrics.spearman_r(*pair, ones) == pytest.approx(stats.spearmanr(*pair)[0], abs=1e-12)


@pytest.mark.parametrize(
    "name",
    ["pearson_r", "spearman_r", "mae", "rmse", "ccc", "icc_a1", "calibration_slope", "bias",
     "calibration_intercept", "difference_sd"],
)  # fmt: skip
def test_a_weight_of_k_is_k_rows(pair, name):
    rows, weight = repeated(pair)
    measure = getattr(metrics, name)
    assert measure(*pair, weight) == pytest.approx(measure(*rows, np.ones(len(rows[0]))), abs=1e-12)


def test_errors_equal_scikit_learn(pair):
    weight = np.linspace(0.5, 1, 25)
    mse = mean_squared_error(*pair, sample_weight=weight)
    absolute = mean_absolute_error(*pair, sample_weight=weight)
    assert metrics.mae(*pair, weight) == pytest.approx(absolute)
    assert metrics.rmse(*pair, weight) == pytest.approx(np.sqrt(mse))


def test_ccc_is_lins_formula(pair):
    x, y = pair
    by_hand = 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert metrics.ccc(x, y, np.ones(25)) == pytest.approx(by_hand)
    assert metrics.ccc(x, x, np.ones(25)) == pytest.approx(1)


def test_icc_is_the_two_way_anova(pair):
    n, k = 25, 2
    long = pd.DataFrame(
        {
            "value": np.concatenate(pair),
            "subject": np.tile(np.arange(n), k).astype(str),
            "rater": np.repeat(["observed", "predicted"], n),
        }
    )
    table = anova_lm(ols("value ~ C(subject) + C(rater)", data=long).fit())
    rows, raters, residual = table["mean_sq"]
    by_hand = (rows - residual) / (rows + (k - 1) * residual + k / n * (raters - residual))
    assert metrics.icc_a1(*pair, np.ones(n)) == pytest.approx(by_hand, abs=1e-12)


def test_calibration_is_the_regression_of_observed_on_predicted(pair):
    line = stats.linregress(pair[1], pair[0])
    assert metrics.calibration_slope(*pair, np.ones(25)) == pytest.approx(line.slope)
    assert metrics.calibration_intercept(*pair, np.ones(25)) == pytest.approx(line.intercept)


def make_cv(predicted, observed, weight=None, fold=None):
    n = len(observed)
    keys = pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(n)], "session_id": ""})
    fold = np.tile(np.arange(n) % 2, (len(predicted), 1)) if fold is None else fold
    return CrossValidation(
        target="t",
        keys=keys,
        observed=observed,
        predicted=predicted,
        baseline=np.full_like(predicted, observed.mean()),
        fold=fold,
        weight=np.ones(n) if weight is None else weight,
        chosen=({"alpha": 1.0},) * (len(predicted) * 2),
    )


def test_summary_over_repeats(pair):
    observed, first = pair
    second = first[::-1].copy()
    cv = make_cv(np.stack([first, second]), observed)
    made = metrics.summarise(cv)
    each = [stats.pearsonr(observed, p)[0] for p in (first, second)]
    assert made.pearson_pooled == pytest.approx(np.mean(each))
    folds = [
        np.arctanh(stats.pearsonr(observed[k::2], p[k::2])[0])
        for p in (first, second)
        for k in (0, 1)
    ]
    assert made.pearson_fold_mean == pytest.approx(np.tanh(np.mean(folds)))
    sst = ((observed - observed.mean()) ** 2).sum()
    skill = [1 - ((p - observed) ** 2).sum() / sst for p in (first, second)]
    assert made.skill == pytest.approx(np.mean(skill))
    differences = [p - observed for p in (first, second)]
    assert made.bias == pytest.approx(np.mean([d.mean() for d in differences]))
    spread = np.mean([d.std(ddof=1) for d in differences])
    assert made.limit_high == pytest.approx(made.bias + stats.norm.ppf(0.975) * spread)
    assert made.limit_low == pytest.approx(made.bias - stats.norm.ppf(0.975) * spread)


def test_a_constant_prediction_has_no_correlation(pair):
    observed, _ = pair
    made = metrics.summarise(make_cv(np.full((2, 25), 3.3), observed))
    undefined = (made.pearson_pooled, made.pearson_fold_mean, made.spearman, made.calibration_slope)
    assert undefined == (None, None, None, None)
    assert made.mae == pytest.approx(np.abs(observed - 3.3).mean())


def test_single_rows_have_no_correlation():
    assert metrics.pearson_r(np.array([1.0]), np.array([2.0]), np.ones(1)) is None
    assert metrics.fisher_mean([None, 1.0]) is None
