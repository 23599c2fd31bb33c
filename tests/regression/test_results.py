from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.analysis import adjust_family, estimate
from emoclip_clinical.regression.config import DEFAULT_ALPHAS, RegressionConfig
from emoclip_clinical.regression.results import write_results

QUICK = RegressionConfig(folds=4, repeats=2, inner_folds=3, permutations=30, bootstrap=200)


@pytest.fixture
def made(make_design):
    design = make_design(n_subjects=24, n_features=4, two_visits=4, effect=2.0)
    return estimate(design, config=QUICK, seed=1)


def test_files(made, tmp_path):
    folder = tmp_path / "results" / "score"
    write_results(made, folder)
    predictions = pd.read_csv(folder / "predictions.csv", dtype={"predicted": str})
    assert list(predictions.columns) == [
        "participant_id", "session_id", "repeat", "fold", "observed", "predicted",
    ]  # fmt: skip
    assert len(predictions) == 2 * 28
    cv = made.cross_validation
    predictions["predicted"] = [float(text) for text in predictions["predicted"]]
    np.testing.assert_array_equal(predictions["predicted"], cv.predicted.ravel())
    folds = pd.read_csv(folder / "folds.csv")
    assert list(folds.columns) == [
        "repeat", "fold", "n_train", "n_test", "n_train_subjects", "n_test_subjects",
        "r", "mae", "rmse", "alpha",
    ]  # fmt: skip
    assert (folds["n_train"] + folds["n_test"]).eq(28).all()
    assert (folds["n_train_subjects"] + folds["n_test_subjects"]).eq(24).all()
    assert folds["alpha"].isin(DEFAULT_ALPHAS).all()
    first = predictions[(predictions["repeat"] == 1) & (predictions["fold"] == 2)]
    weight = 1 / predictions[predictions["repeat"] == 0].groupby("participant_id").size()
    error = (first["predicted"] - first["observed"]).abs()
    by_hand = np.average(error, weights=weight[first["participant_id"]])
    assert folds.query("repeat == 1 and fold == 2")["mae"].item() == pytest.approx(by_hand)
    assert len(pd.read_csv(folder / "permutation_null.csv")) == 30
    assert sorted(p.name for p in folder.iterdir()) == [
        "coefficients.csv", "excluded.csv", "flow.csv", "folds.csv", "metrics.json",
        "permutation_null.csv", "predictions.csv",
    ]  # fmt: skip


def test_metrics_have_the_layout_that_was_promised(made, tmp_path):
    write_results(made, tmp_path)
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert list(record) == [
        "target", "items", "n_subjects", "n_interviews", "n_excluded", "model", "cv", "pearson_r",
        "spearman_r", "mae", "rmse", "baseline", "skill", "ccc", "icc_a1", "calibration",
        "bland_altman", "p_adjusted", "warnings",
        "settings", "flow", "losses", "observed", "predicted", "prediction_band", "null", "repeats",
        "calibration_groups", "coefficients", "sample_size", "recordings",
    ]  # fmt: skip
    assert record["cv"] == {
        "scheme": "repeated_kfold",
        "folds": 4,
        "repeats": 2,
        "groups": "participant_id",
        "site": None,
        "confounds_removed": [],
    }
    assert list(record["pearson_r"]) == [
        "pooled", "fold_mean", "ci_low", "ci_high", "ci_of", "ci_method",
        "pooled_ci_low_conditional", "pooled_ci_high_conditional", "pooled_ci_method",
        "p_permutation", "n_permutations", "n_exchangeable", "null",
    ]  # fmt: skip
    assert record["pearson_r"]["p_permutation"] == made.p_permutation == record["p_adjusted"]
    r = record["pearson_r"]
    assert (r["ci_of"], r["ci_method"]) == ("fold_mean", "corrected t")
    assert r["ci_low"] < r["fold_mean"] < r["ci_high"]
    assert r["pooled_ci_low_conditional"] < r["pooled"] < r["pooled_ci_high_conditional"]


def test_same_seed_same_bytes(make_design, tmp_path):
    design = make_design(n_subjects=24, n_features=4, effect=1.0)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_results(estimate(design, config=QUICK, seed=seed), tmp_path / name)
    content = {
        name: [p.read_bytes() for p in sorted((tmp_path / name).iterdir())] for name in "abc"
    }
    assert content["a"] == content["b"]
    assert content["a"] != content["c"]


def test_what_is_undefined_is_null_with_a_reason(make_design, tmp_path):
    design = make_design(n_subjects=12, n_features=2)
    object.__setattr__(design, "X", np.ones_like(design.X))
    config = RegressionConfig(cv="leave_one_subject_out", bootstrap=0, alphas=(1.0,))
    made = estimate(design, config=config, seed=0)
    # A model that predicts the training mean has r = -1 in leave-one-out.
    assert made.metrics.pearson_pooled == pytest.approx(-1)
    n = 12
    assert made.metrics.skill == pytest.approx(0)
    r_squared = 1 - made.metrics.rmse**2 / design.y.var()
    assert r_squared == pytest.approx(1 - (n / (n - 1)) ** 2)
    write_results(made, tmp_path)
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["pearson_r"]["p_permutation"] is None
    assert record["pearson_r"]["fold_mean"] is None
    assert record["pearson_r"]["ci_low"] is None
    text = " ".join(record["warnings"])
    for reason in ("leave-one-subject-out", "no permutation p", "within folds", "no interval"):
        assert reason in text


def test_family(made, make_design):
    null = estimate(make_design(n_subjects=24, n_features=4, seed=9), config=QUICK, seed=1)
    first, second = adjust_family([made, null])
    assert first.p_adjusted == pytest.approx(min(2 * made.p_permutation, null.p_permutation))
    assert second.p_adjusted == pytest.approx(null.p_permutation)


def test_too_few_subjects(make_design):
    with pytest.raises(InputError, match="5 folds need at least 5 subjects, got 4"):
        estimate(make_design(n_subjects=4, n_features=2), config=RegressionConfig(), seed=0)
    with pytest.raises(InputError, match="5 inner folds need at least 5 training subjects, got 4"):
        estimate(make_design(n_subjects=5, n_features=2), config=RegressionConfig(), seed=0)
    constant = make_design(n_subjects=20, n_features=2)
    object.__setattr__(constant, "y", np.full(20, 3.0))
    with pytest.raises(InputError, match="all ratings are 3; nothing to estimate"):
        estimate(constant, config=RegressionConfig(), seed=0)


def test_progress_is_told(make_design):
    told = []
    design = make_design(n_subjects=24, n_features=2)
    config = RegressionConfig(repeats=3, permutations=0, bootstrap=0)
    estimate(design, config=config, seed=0, progress=lambda *state: told.append(state))
    assert [state[1:] for state in told] == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"alphas": (0.0,)},
        {"alphas": (1.0, 1.0)},
        {"folds": 1},
        {"bootstrap": 10},
        {"confidence": 1.0},
        {"targets": ()},
        {"targets": ("a", "a")},
        {"model": "lasso"},
        {"remove_confounds": True},
        {"compare": ("ridge",)},
        {"confounds": ("age", "age")},
        {"fold": 5},
    ],
)
def test_config_refuses(wrong):
    with pytest.raises(ValidationError):
        RegressionConfig(**wrong)


def test_default_penalties_are_a_logarithmic_grid():
    np.testing.assert_allclose(DEFAULT_ALPHAS, np.logspace(-1, 5, 10), rtol=1e-6)


def test_no_torch_is_imported():
    code = (
        "import sys, emoclip_clinical.regression.results, emoclip_clinical.regression.design;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'open_clip', 'decord', 'av')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
