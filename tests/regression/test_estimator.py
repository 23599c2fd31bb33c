"""The final estimator: intervals that hold, files that give the same numbers, and refusals."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emoclip_clinical.records import FeatureTable, InputError
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.conformal import Calibration, upper_limit
from emoclip_clinical.regression.estimator import FinalEstimator, fit_estimator, ridge_fit
from emoclip_clinical.regression.estimator_files import load_estimator, save_estimator
from emoclip_clinical.regression.linear_model import LinearModel, fit_ridge
from emoclip_clinical.regression.predict import predict_visits
from emoclip_clinical.regression.reach import fit_reach

CONFIG = RegressionConfig(alphas=(1.0, 30.0, 1000.0))
SOURCE = {
    "format": 1,
    "model": {"hash": "a" * 64, "temperature": 0.01},
    "prompts": [{"name": "basic", "hash": "b" * 64}],
    "sampling": {"sample_fps": 6.25},
    "versions": {"python": "3.11.1"},
}


def fitted(design, *, impute="none", level=0.9, seed=0) -> FinalEstimator:
    fit = ridge_fit(CONFIG, seed=seed)
    return fit_estimator(design, fit=fit, kind="ridge", level=level, impute=impute, seed=seed)


def table(X, source=None) -> FeatureTable:
    keys = pd.DataFrame(
        {"participant_id": [f"sub-new{i}" for i in range(len(X))], "session_id": ""}, dtype=object
    )
    values = pd.DataFrame(X, columns=[f"f{k}" for k in range(X.shape[1])])
    nobody = keys[:0].assign(reason=[])
    return FeatureTable(keys, values, nobody, source or {})


def test_ridge_as_a_linear_model_equals_scikit_learn(make_design):
    design = make_design(n_subjects=40, n_features=6, effect=1.0)
    inner = np.arange(40) % 4
    model = fit_ridge(
        design.X, design.y, weight=design.weights, subjects=design.subjects, inner_fold=inner,
        alphas=(7.0,),
    )  # fmt: skip
    plain = make_pipeline(StandardScaler(), Ridge(alpha=7.0)).fit(design.X, design.y)
    new = np.random.default_rng(1).normal(size=(9, 6))
    np.testing.assert_allclose(model.predict(new), plain.predict(new), rtol=0, atol=1e-10)
    assert model.settings == (("alpha", 7.0),)


def test_missing_values_are_filled_in_with_training_medians(make_design):
    design = make_design(n_subjects=30, n_features=3, effect=1.0)
    X = design.X.copy()
    X[::7, 1] = np.nan
    estimator = fitted(replace(design, X=X), impute="median")
    medians = [np.median(design.X[:, 0]), np.nanmedian(X[:, 1]), np.median(design.X[:, 2])]
    np.testing.assert_allclose(estimator.medians, medians)
    new = np.array([[0.3, np.nan, np.nan]])
    whole = np.array([[0.3, medians[1], medians[2]]])
    made = predict_visits(estimator, table(new)).table
    assert made["predicted"][0] == estimator.model.predict(whole)[0]
    assert made["n_imputed"][0] == 2
    with pytest.raises(InputError, match="1 visits lack a feature"):
        predict_visits(fitted(design), table(new))


def test_cv_plus_equals_a_slow_loop_over_subjects():
    rng = np.random.default_rng(3)
    n, folds = 23, 5
    residual, fold = rng.exponential(size=n), np.arange(n) % folds
    said = rng.normal(size=(folds, 7))
    low, high = Calibration(residual, fold, np.ones(n)).interval(said, level=0.8)
    for j in range(7):
        lows = sorted(said[fold[i], j] - residual[i] for i in range(n))
        highs = sorted(said[fold[i], j] + residual[i] for i in range(n))
        # Barber et al. 2021: the floor(a (n + 1))-th and ceil((1 - a)(n + 1))-th smallest.
        assert low[j] == lows[int(np.floor(0.2 * (n + 1) + 1e-9)) - 1]
        assert high[j] == highs[int(np.ceil(0.8 * (n + 1) - 1e-9)) - 1]


def test_a_subject_counts_once_however_often_it_came():
    rng = np.random.default_rng(4)
    residual, said = rng.exponential(size=12), rng.normal(size=(1, 3))
    once = Calibration(residual, np.zeros(12, dtype=int), np.ones(12))
    thrice = Calibration(np.repeat(residual, 3), np.zeros(36, dtype=int), np.full(36, 1 / 3))
    for level in (0.5, 0.9):
        np.testing.assert_array_equal(
            once.interval(said, level=level), thrice.interval(said, level=level)
        )


def test_too_few_subjects_for_a_level_give_no_bound(make_design):
    eight = Calibration(np.arange(8.0), np.zeros(8, dtype=int), np.ones(8))
    low, high = eight.interval(np.zeros((1, 1)), level=0.9)
    assert (low[0], high[0]) == (-np.inf, np.inf)
    assert upper_limit(np.arange(8.0), np.ones(8), level=0.9) == 7
    estimator = fitted(make_design(n_subjects=8, n_features=2), level=0.9)
    # The ends of a scale are no bounds that the data gave.
    for of_scale in ({}, {"minimum": 7.0}, {"minimum": 7.0, "maximum": 49.0}):
        known = replace(estimator, **of_scale)
        made = predict_visits(known, table(np.zeros((2, 2))))
        assert made.table[["low", "high"]].isna().all(axis=None)
        assert made.table["predicted"].notna().all()
        assert (made.table["status"] == "ok").all()
        assert "2 visits are without a bounded interval" in " ".join(made.warnings)


def test_estimates_and_intervals_are_cut_to_the_scale_together(make_design):
    design = make_design(n_subjects=40, n_features=3, effect=1.0)
    free = fitted(design)
    new = np.zeros((801, 3))
    new[:, 0] = np.linspace(-40, 40, 801)
    whole = predict_visits(free, table(new)).table
    assert (whole["predicted"] == whole["predicted_unclipped"]).all()
    assert (whole["status"] == "ok").all()
    least, most = np.quantile(whole["predicted"], [0.4, 0.6])
    found = predict_visits(replace(free, minimum=least, maximum=most), table(new))
    kinds = set()
    for (_, raw), (_, row) in zip(whole.iterrows(), found.table.iterrows(), strict=True):
        assert abs(row["predicted_unclipped"] - raw["predicted"]) <= 1e-12
        if raw["low"] > most or raw["high"] < least:
            assert row["status"] == "outside_scale"
            assert f"({raw['low']:.1f} to {raw['high']:.1f})" in row["reason"]
            assert row[["predicted", "low", "high"]].isna().all()
        else:
            assert (row["status"], row["reason"]) == ("ok", "")
            assert row["predicted"] == min(max(raw["predicted"], least), most)
            assert (row["low"], row["high"]) == (max(raw["low"], least), min(raw["high"], most))
            assert row["low"] <= row["predicted"] <= row["high"]
        kinds.add((row["status"], least <= raw["predicted"] <= most))
    assert kinds == {("ok", True), ("ok", False), ("outside_scale", False)}
    n = int((found.table["status"] != "ok").sum())
    assert f"{n} visits are without an estimate" in " ".join(found.warnings)
    assert "bounded interval" not in " ".join(found.warnings)
    new[:, 0] = 1.7e308
    huge = replace(free, model=replace(free.model, coefficients=free.model.coefficients * 1e9))
    made = predict_visits(huge, table(new[:2])).table
    assert made["status"].tolist() == ["not_computed"] * 2
    assert made[["predicted", "predicted_unclipped", "low", "high"]].isna().all(axis=None)


def simulate(rng, n, trait_loadings):
    """Visits of new people: a trait, noisy features of it, a rounded rating within 7 to 49."""
    trait = rng.normal(size=n)
    X = trait[:, np.newaxis] * trait_loadings + rng.normal(size=(n, len(trait_loadings)))
    y = np.clip(np.round(22 + 6 * trait + 4 * rng.standard_t(5, size=n)), 7, 49)
    return X, y


def coverage(make_design, seed, *, n_subjects, two_visits) -> float:
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=12) * 0.5
    design = make_design(n_subjects=n_subjects, n_features=12, two_visits=two_visits, seed=seed)
    X, y = simulate(rng, n_subjects, loadings)
    # A second visit is the first one with a little noise, as stable people give.
    X = X[design.subjects] + 0.2 * rng.normal(size=design.X.shape)
    estimator = fitted(replace(design, X=X, y=y[design.subjects]), seed=seed)
    X_new, y_new = simulate(rng, 5_000, loadings)
    made = predict_visits(estimator, table(X_new + 0.2 * rng.normal(size=X_new.shape))).table
    return float(np.mean((made["low"] <= y_new) & (y_new <= made["high"])))


def test_ninety_per_cent_intervals_hold_the_ratings_of_5000_new_subjects(make_design):
    for seed, (n, again) in enumerate(((400, 0), (400, 150))):
        assert 0.87 <= coverage(make_design, seed, n_subjects=n, two_visits=again) <= 0.93


@pytest.mark.slow
def test_coverage_over_cohorts_is_ninety_per_cent_on_average(make_design):
    found = [coverage(make_design, s, n_subjects=90, two_visits=30) for s in range(40)]
    assert 0.88 <= np.mean(found) <= 0.93


def test_saved_and_loaded_it_gives_the_same_numbers(make_design, tmp_path):
    design = make_design(n_subjects=40, n_features=60, two_visits=10, effect=1.0)
    estimator = fitted(replace(design, source=SOURCE, minimum=7.0, maximum=49.0))
    save_estimator(estimator, tmp_path / "one")
    loaded = load_estimator(tmp_path / "one")
    X = np.random.default_rng(5).normal(size=(25, 60))
    here = predict_visits(estimator, table(X, SOURCE))
    there = predict_visits(loaded, table(X, SOURCE))
    pd.testing.assert_frame_equal(here.table, there.table, rtol=0, atol=1e-12)
    said = estimator.model.predict(X)
    np.testing.assert_allclose(there.table["predicted_unclipped"], said, rtol=0, atol=1e-12)
    assert (here.target, here.warnings) == (there.target, there.warnings)
    save_estimator(loaded, tmp_path / "two")
    for name in ("estimator.json", "arrays.npz"):
        one, two = (tmp_path / f / name for f in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    text = (tmp_path / "one" / "estimator.json").read_text()
    assert "Research use only" in text
    assert "sub-0" not in text


def test_features_of_another_making_are_refused(make_design):
    design = make_design(n_subjects=20, n_features=3)
    estimator = fitted(replace(design, source=SOURCE))
    X = np.zeros((2, 3))

    def refusal(**change):
        with pytest.raises(InputError) as caught:
            predict_visits(estimator, table(X, {**SOURCE, **change}))
        return str(caught.value)

    assert refusal(model={"hash": "c" * 64, "temperature": 0.01}) == (
        "these features were made with another model: the estimator was fitted to aaaaaaaaaaaa..., "
        "they have cccccccccccc..."
    )
    assert refusal(prompts=[{"name": "basic", "hash": "d" * 64}]) == (
        "these features were made with other prompt sets: the estimator was fitted to basic "
        "(bbbbbbbbbbbb...), they have basic (dddddddddddd...)"
    )
    both = refusal(sampling={"sample_fps": 5.0, "stride_seconds": 1.0}).splitlines()
    assert [line.split(":")[0] for line in both] == [
        "these features were made with another sampling.sample_fps",
        "these features were made with another sampling.stride_seconds",
    ]
    with pytest.raises(InputError, match="can not be compared"):
        predict_visits(estimator, table(X))
    with pytest.raises(InputError, match="can not be compared"):
        predict_visits(fitted(design), table(X, SOURCE))
    with pytest.raises(InputError, match="needs the 3 feature columns"):
        predict_visits(fitted(design), table(X[:, :2]))
    # Another version of Python is no other making.
    predict_visits(estimator, table(X, {**SOURCE, "versions": {"python": "3.13.0"}}))
    # Nor what the choice of a precision found on other people's frames.
    measured = {"mean_cosine": 0.99987, "n_frames": 32}
    predict_visits(estimator, table(X, {**SOURCE, "precision_check": measured}))
    # Nor the tower's name, which features.json did not hold before: the model's hash is compared.
    predict_visits(estimator, table(X, {**SOURCE, "tower": {"name": "ViT-B-32-quickgelu"}}))


def test_damaged_files_are_refused(make_design, tmp_path):
    with pytest.raises(InputError, match="no estimator is here"):
        load_estimator(tmp_path)
    save_estimator(fitted(make_design(n_subjects=20, n_features=3)), tmp_path)
    card = json.loads((tmp_path / "estimator.json").read_text())
    arrays = (tmp_path / "arrays.npz").read_bytes()
    (tmp_path / "arrays.npz").write_bytes(arrays[:-1] + b"x")
    with pytest.raises(InputError, match=r"not the file that estimator\.json was written with"):
        load_estimator(tmp_path)
    (tmp_path / "arrays.npz").write_bytes(arrays)
    for change, message in (
        ({"format": "other"}, "format 'emoclip-clinical estimator 2' is wanted, got 'other'"),
        ({"level": 2}, "level"),
        ({"feature_names": ["a"]}, "coefficients of shape"),
        ({"feature_names": ["a", "b", "a"]}, "feature_names holds 'a' twice"),
        ({"minimum": float("inf")}, "minimum: Input should be a finite number"),
        ({"distance_limit": float("nan")}, "distance_limit: "),
        ({"settings": {"alpha": float("nan")}}, r"settings\.alpha: "),
        ({"minimum": 7.0, "maximum": 7.0}, "minimum must be below maximum, got 7 and 7"),
        ({"n_subjects": 21}, "n_subjects can not be above n_visits, got 21 and 20"),
    ):
        (tmp_path / "estimator.json").write_text(json.dumps(sealed({**card, **change})))
        with pytest.raises(InputError, match=message):
            load_estimator(tmp_path)


def sealed(card):
    said = {key: value for key, value in card.items() if key != "card_sha256"}
    mark = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return {**said, "card_sha256": mark}


def test_a_changed_card_is_refused(make_design, tmp_path):
    save_estimator(fitted(make_design(n_subjects=20, n_features=3)), tmp_path)
    path = tmp_path / "estimator.json"
    card = json.loads(path.read_text())
    assert card == sealed(card)
    # Spaces and order mean nothing in JSON.
    path.write_text(json.dumps(dict(reversed(card.items()))))
    load_estimator(tmp_path)
    # Each of these would be read, and give other estimates without a word.
    for change in (
        {"feature_names": card["feature_names"][::-1]},
        {"level": 0.8},
        {"maximum": 20.0},
        {"impute": "median"},
        {"distance_limit": card["distance_limit"] + 1e-9},
        {"rows_seen": card["rows_seen"][1:]},
        {"source": {"model": {"hash": "a"}}},
        {"card_sha256": "0" * 64},
        {"card_sha256": None},
    ):
        path.write_text(json.dumps({**card, **change}))
        with pytest.raises(InputError, match=r"^estimator\.json: not as it was written"):
            load_estimator(tmp_path)


def test_an_estimator_of_format_1_is_read_as_it_was(make_design, tmp_path):
    estimator = fitted(make_design(n_subjects=20, n_features=3))
    save_estimator(estimator, tmp_path)
    path = tmp_path / "estimator.json"
    card = {**json.loads(path.read_text()), "format": "emoclip-clinical estimator 1"}
    del card["card_sha256"]
    path.write_text(json.dumps(card))
    X = np.random.default_rng(5).normal(size=(4, 3))
    here, there = (predict_visits(e, table(X)) for e in (estimator, load_estimator(tmp_path)))
    pd.testing.assert_frame_equal(here.table, there.table, rtol=0, atol=1e-12)
    path.write_text(json.dumps({**card, "n_subjects": 100}))
    with pytest.raises(InputError, match="n_subjects can not be above n_visits"):
        load_estimator(tmp_path)


def test_what_only_a_pickle_could_hold_is_refused(make_design, tmp_path):
    class Forest:
        def predict(self, X):
            return X[:, 0]

    estimator = replace(fitted(make_design(n_subjects=20, n_features=3)), kind="random_forest")
    with pytest.raises(
        InputError, match=r"random_forest estimator of score was not saved: .*pickle"
    ):
        save_estimator(replace(estimator, model=Forest()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_distances_equal_mahalanobis_by_matrix_inversion():
    rng = np.random.default_rng(6)
    for n, p in ((50, 4), (12, 30)):
        X = rng.normal(size=(n, p)) @ rng.normal(size=(p, p))
        weight = rng.integers(1, 4, n) / 3
        reach = fit_reach(X, weight=weight)
        share = weight / weight.sum()
        mean = share @ X
        scale = np.sqrt(share @ (X - mean) ** 2)
        Z = (X - mean) / scale * np.sqrt(share * n)[:, np.newaxis]
        from sklearn.covariance import ledoit_wolf

        covariance, shrinkage = ledoit_wolf(Z, assume_centered=True)
        assert shrinkage > 0.01
        z = (rng.normal(size=(3, p)) - mean) / scale
        wanted = np.sqrt(np.einsum("ij,jk,ik->i", z, np.linalg.inv(covariance), z) / p)
        np.testing.assert_allclose(reach.distances(z * scale + mean), wanted, rtol=1e-8)


def test_what_lies_far_away_is_flagged_and_training_rows_are_known_again(make_design):
    design = make_design(n_subjects=150, n_features=5, effect=1.0)
    estimator = fitted(design)
    new = np.random.default_rng(7).normal(size=(2_000, 5))
    new[:, 0] *= np.sqrt(2)  # the planted effect widens this one
    share = predict_visits(estimator, table(new)).table["out_of_range"].mean()
    assert share < 0.03
    far = np.zeros((1, 5))
    far[0, 3] = 9.0
    made = predict_visits(estimator, table(far))
    assert made.table["out_of_range"].all()
    assert made.table["farthest_feature"][0] == "f3"
    assert "1 visit is out of range" in made.warnings[0]
    for huge in (1e100, -1e200, 1e307):
        assert predict_visits(estimator, table(far * huge)).table["out_of_range"].all()
    again = predict_visits(estimator, table(design.X[:3]))
    assert again.table["in_training"].tolist() == [True] * 3
    assert not predict_visits(estimator, table(new)).table["in_training"].any()
    assert "too good" in again.warnings[-1]


def test_fold_models_have_not_seen_their_subjects(make_design):
    design = make_design(n_subjects=30, n_features=2, two_visits=9)
    estimator = fitted(design)
    fold = estimator.calibration.fold
    for subject in range(30):
        assert len(set(fold[design.subjects == subject])) == 1
    assert isinstance(estimator.model, LinearModel)
    assert len(estimator.fold_models) == 20
    row = int(np.flatnonzero(fold == 3)[0])
    said = estimator.fold_models[3].predict(design.X[[row]])[0]
    assert estimator.calibration.residual[row] == pytest.approx(abs(design.y[row] - said))
