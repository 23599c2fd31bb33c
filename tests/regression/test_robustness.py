"""Subgroups, sensitivity, learning curve, importance, segments: against slow or plain answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import permutation_importance as sklearn_importance
from sklearn.linear_model import LinearRegression

from emoclip_clinical.records import CrossValidation, InputError
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.importance import (
    emotion_groups,
    permutation_importance,
    ridge_predictors,
)
from emoclip_clinical.regression.learning_curve import CurvePoint, _fitted, learning_curve
from emoclip_clinical.regression.nested_ridge import subset
from emoclip_clinical.regression.sensitivity import (
    influence,
    influential_subjects,
    without_each,
)
from emoclip_clinical.regression.subgroups import level_names, subgroups

QUICK = RegressionConfig(repeats=2, permutations=0, bootstrap=0, inner_folds=4)


def estimated(design: Design) -> CrossValidation:
    return estimate(design, config=QUICK, seed=0).cross_validation


def test_subgroups_by_hand_and_small_cells_hidden(make_design) -> None:
    design = make_design(n_subjects=40, n_features=3, two_visits=10, effect=2.0)
    cv = estimated(design)
    sex = np.where(design.subjects < 25, "f", np.where(design.subjects < 33, "m", "x"))
    covariates = pd.DataFrame({"sex": sex, "age": 20.0 + design.subjects})
    made = subgroups(
        cv, covariates=covariates, names=["sex", "age"], resamples=300, confidence=0.95, seed=0
    )
    women, men = made[:2]
    assert made[2].is_suppressed
    rows = sex == "f"
    errors = [np.average(np.abs(p - cv.observed)[rows], weights=cv.weight[rows])
              for p in cv.predicted]  # fmt: skip
    biases = [np.average((p - cv.observed)[rows], weights=cv.weight[rows]) for p in cv.predicted]
    assert (women.level, women.n_subjects) == ("f", 25)
    assert women.mae == pytest.approx(np.mean(errors))
    assert women.bias == pytest.approx(np.mean(biases))
    assert women.mae_interval.low < women.mae < women.mae_interval.high
    assert men.is_suppressed
    assert (men.n_subjects, men.mae, men.bias) == (None, None, None)
    assert "fewer than 10 subjects" in men.mae_interval.warnings[0]
    ages = [(g.level, g.n_subjects) for g in made[3:]]
    assert ages == [("below 30", 10), ("30 to below 45", 15), ("45 to below 60", 15)]


@pytest.mark.parametrize(
    ("sizes", "hidden"),
    [
        ({"a": 30, "b": 20}, set()),
        ({"a": 42, "b": 8}, {"a", "b"}),
        ({"a": 25, "b": 7, "c": 12, "d": 16}, {"b", "c"}),
        ({"a": 30, "b": 3, "c": 6, "d": 15}, {"b", "c", "d"}),
        ({"a": 30, "b": 6, "c": 9, "d": 15}, {"b", "c"}),
    ],
)
def test_no_small_group_follows_by_subtraction(
    make_design, sizes: dict[str, int], hidden: set[str]
) -> None:
    """What is hidden of a variable holds ten subjects at least, and never stands alone."""
    cv = estimated(make_design(n_subjects=sum(sizes.values()), n_features=2, effect=2.0))
    levels = np.repeat(list(sizes), list(sizes.values()))
    made = subgroups(
        cv, covariates=pd.DataFrame({"ward": levels}), names=["ward"], resamples=0,
        confidence=0.95, seed=0,
    )  # fmt: skip
    assert {g.level for g in made if g.is_suppressed} == hidden
    for group in made:
        errors = np.abs(cv.predicted - cv.observed)[:, levels == group.level]
        if group.is_suppressed:
            assert (group.n_subjects, group.mae, group.bias) == (None, None, None)
            small = sizes[group.level] < 10
            assert ("fewer than 10 subjects" in group.hidden_because) == small
            assert ("do not follow from the others" in group.hidden_because) != small
        else:
            assert group.mae == pytest.approx(errors.mean())


def test_levels() -> None:
    dose = pd.Series([*np.arange(30.0), np.nan])
    made = level_names(dose, name="dose")
    assert made[0].startswith("below ")
    assert made[-1] == "missing"
    assert len(set(made)) == 4
    assert level_names(pd.Series([1.0, 2.0, 1.0]), name="ward") == ["1", "2", "1"]
    assert level_names(pd.Series([20.0, 70.0]), name="age") == ["below 30", "60 and above"]


def test_subgroup_faults_are_all_listed(make_design) -> None:
    design = make_design(n_subjects=30, n_features=2)
    covariates = pd.DataFrame({"notes": [f"n{k}" for k in range(30)]})
    with pytest.raises(InputError) as caught:
        subgroups(
            estimated(design), covariates=covariates, names=["notes", "sexx"], resamples=0,
            confidence=0.95, seed=0,
        )  # fmt: skip
    assert len(caught.value.faults) == 2


def test_influence_is_r_with_less_r_without(make_design) -> None:
    design = make_design(n_subjects=30, n_features=3, effect=2.0)
    cv = estimated(design)
    whole = np.mean([np.corrcoef(cv.observed, p)[0, 1] for p in cv.predicted])
    rest = np.arange(30) != 4
    without = np.mean([np.corrcoef(cv.observed[rest], p[rest])[0, 1] for p in cv.predicted])
    assert influence(cv)[4] == pytest.approx(whole - without, abs=1e-12)


def test_a_planted_outlier_and_each_site_are_left_out(make_design) -> None:
    design = make_design(n_subjects=50, n_features=3, effect=2.0)
    y = design.y.copy()
    y[7] += 60
    design = replace(design, y=y)
    cv = estimated(design)
    assert influential_subjects(cv)[0] == "sub-007"
    sites = ["a" if s < 25 else "b" if s < 48 else "c" for s in design.subjects]
    made = without_each(design, cv=cv, sites=sites, config=QUICK, seed=0)
    assert [(m.kind, m.excluded, m.n_subjects) for m in made[:3]] == [
        ("site", "a", 25), ("site", "b", None), ("site", "c", None),
    ]  # fmt: skip
    outlier = next(m for m in made if m.excluded == "sub-007")
    again = estimated(subset(design, np.arange(50) != 7))
    wanted = np.mean([np.corrcoef(again.observed, p)[0, 1] for p in again.predicted])
    assert outlier.r == pytest.approx(wanted, abs=1e-10)
    assert outlier.r_change > 0.1
    few = without_each(
        design, cv=cv, sites=["a" if s < 35 else "b" for s in design.subjects], config=QUICK, seed=0
    )
    assert few[0].r is None
    assert "fewer than 20 subjects are left" in few[0].warning


def only_age(make_design) -> tuple[Design, np.ndarray]:
    """Ratings follow age, and so do the features; nothing is left without it."""
    design = make_design(n_subjects=60, n_features=6)
    rng = np.random.default_rng(0)
    age = rng.normal(size=60)
    X = rng.normal(size=(60, 6)) + 2 * age[:, None]
    y = np.round(20 + 5 * age + 2 * rng.normal(size=60))
    return replace(design, X=X, y=y), age[:, None]


def test_what_is_removed_is_removed_from_refits_too(make_design) -> None:
    design, age = only_age(make_design)
    sites = ["a", "b", "c"] * 20
    found = {}
    for name, confounds in (("raw", None), ("removed", age)):
        made = without_each(
            design, cv=estimated(design), sites=sites, confounds=confounds, config=QUICK, seed=0
        )
        curve = learning_curve(design, confounds=confounds, config=QUICK, seed=0, draws=3)
        found[name] = [m.r for m in made if m.kind == "site"] + [p.r for p in curve.points[-2:]]
    assert min(found["raw"]) > 0.7
    assert max(found["removed"]) < 0.3


def test_refits_leave_sites_out_where_the_analysis_does(make_design) -> None:
    design = make_design(n_subjects=60, n_features=4)
    rng = np.random.default_rng(0)
    site = np.repeat(np.arange(4), 15)
    # Features tell the site, whose mean rating is all that there is to find.
    X = rng.normal(size=(60, 4)) + np.eye(4)[site] * 6
    y = np.array([10.0, 30.0, 20.0, 40.0])[site] + np.round(rng.normal(size=60))
    design = replace(design, X=X, y=y)
    sites = [f"s{k}" for k in site]
    config = QUICK.model_copy(update={"cv": "leave_one_site_out", "folds": 4})
    cv = estimated(design)
    made = without_each(design, cv=cv, sites=sites, strata=sites, config=config, seed=0)
    assert [m.r < 0.5 for m in made if m.kind == "site"] == [True] * 4
    mixed = without_each(design, cv=cv, sites=sites, config=QUICK, seed=0)
    assert [m.r > 0.8 for m in mixed if m.kind == "site"] == [True] * 4
    two = [s if s in ("s0", "s1") else "s1" for s in sites]
    alone = without_each(design, cv=cv, sites=two, strata=two, config=config, seed=0)
    assert all(m.r is None and m.warning for m in alone if m.kind == "site")
    assert learning_curve(design, config=config, seed=0).points == ()


def test_the_size_of_a_small_site_does_not_follow_from_who_is_left(make_design) -> None:
    design = make_design(n_subjects=60, n_features=4, effect=2.0)
    sites = ["a"] * 32 + ["b"] * 15 + ["c"] * 8 + ["d"] * 5
    made = without_each(design, cv=estimated(design), sites=sites, config=QUICK, seed=0)
    left = {m.excluded: m.n_subjects for m in made if m.kind == "site"}
    # Two small ones hide each other; a single one would follow from the rest and the whole.
    assert left == {"a": 28, "b": 45, "c": None, "d": None}
    assert all(m.r is not None for m in made)
    sites = ["a"] * 35 + ["b"] * 17 + ["c"] * 8
    made = without_each(design, cv=estimated(design), sites=sites, config=QUICK, seed=0)
    assert [m.n_subjects for m in made if m.kind == "site"] == [25, None, None]
    sites = ["a"] * 55 + ["b"] * 5
    made = without_each(design, cv=estimated(design), sites=sites, config=QUICK, seed=0)
    assert [m.n_subjects for m in made if m.kind == "site"] == [None, None]
    assert made[0].warning == "without site a fewer than 20 subjects are left"


def test_learning_curve_falls_towards_the_noise(make_design) -> None:
    design = make_design(n_subjects=90, n_features=8, effect=2.0)
    made = learning_curve(design, config=QUICK, seed=0, draws=6)
    assert [p.n_subjects for p in made.points] == [36, 50, 63, 76, 90]
    assert made.points[0].mse > made.points[-1].mse
    assert made.points[-1].r > 0.7
    again = learning_curve(design, config=QUICK, seed=0, draws=6)
    assert again == made


def test_sample_size_of_an_exact_curve() -> None:
    """At mse = 4 + 80/n the RMSE is within 5 % of 2 from n = 80 / (4 (1.05² - 1)) on."""
    points = [
        CurvePoint(n, 0.8 * n, 0.5, 0.1, 4 + 80 / (0.8 * n), 0.1, 0.3, 5) for n in (40, 60, 80, 100)
    ]
    made = _fitted(points, 100, 5)
    assert made.limit_rmse == pytest.approx(2)
    assert made.suggested_subjects == int(np.ceil(80 / (4 * (1.05**2 - 1)) / 0.8))
    assert not made.suggested_is_upper_bound
    far = _fitted(points, 30, 5)
    assert far.suggested_subjects is None
    assert "farther than the curve can be trusted" in far.warnings[0]
    rising = _fitted([replace(p, mse=5 - 80 / p.n_training) for p in points], 100, 5)
    assert rising.suggested_subjects is None


def test_a_sample_size_below_every_measured_one_is_only_bounded() -> None:
    """At mse = 4 + 8/n about 24.4 would do, of which sizes from 48 on can not tell."""
    points = [
        CurvePoint(n, 0.8 * n, 0.5, 0.1, 4 + 8 / (0.8 * n), 0.1, 0.3, 5)
        for n in (48, 66, 84, 102, 120)
    ]
    made = _fitted(points, 120, 5)
    assert 8 / (4 * (1.05**2 - 1)) / 0.8 < 48
    assert made.suggested_subjects == 48
    assert made.suggested_is_upper_bound is True


def test_few_subjects_have_no_learning_curve(make_design) -> None:
    made = learning_curve(make_design(n_subjects=20, n_features=2), config=QUICK, seed=0)
    assert made.points == ()
    assert "no learning curve" in made.warnings[0]
    with pytest.raises(InputError, match="shares in"):
        learning_curve(
            make_design(n_subjects=40, n_features=2), config=QUICK, seed=0, shares=(0.5, 1.5)
        )


def test_refitted_models_give_the_predictions_back(make_design) -> None:
    for p in (4, 60):
        design = make_design(n_subjects=30, n_features=p, two_visits=8, effect=2.0)
        cv = estimated(design)
        predict = ridge_predictors(design, cv=cv)
        for fold in range(5):
            test = cv.fold[1] == fold
            np.testing.assert_allclose(
                predict[5 + fold](design.X[test]), cv.predicted[1, test], atol=1e-9
            )


def test_importance_is_that_of_scikit_learn(make_design) -> None:
    design = make_design(n_subjects=60, n_features=4, effect=3.0)
    cv = estimated(design)
    models = []
    for numbers in cv.fold:
        for fold in range(5):
            train = numbers != fold
            models.append(LinearRegression().fit(design.X[train], design.y[train]))
    groups = {name: [name] for name in design.feature_names}
    made = permutation_importance(
        design, cv=cv, predictors=[m.predict for m in models], groups=groups, seed=0, shuffles=30
    )
    wanted = np.zeros(4)
    for k, model in enumerate(models):
        test = cv.fold[k // 5] == k % 5
        wanted += sklearn_importance(
            model, design.X[test], design.y[test], scoring="neg_mean_squared_error",
            n_repeats=30, random_state=0,
        ).importances_mean / 10  # fmt: skip
    wanted /= design.y.var()
    found = {m.group: m for m in made}
    assert made[0].group == "f0"
    # The same quantity from other shuffles.
    assert found["f0"].mean == pytest.approx(wanted[0], rel=0.15)
    assert [found[f"f{k}"].mean for k in (1, 2, 3)] == pytest.approx(list(wanted[1:]), abs=0.02)
    assert found["f0"].low > 0
    assert found["f0"].share_positive == 1


def test_a_group_is_shuffled_as_one(make_design) -> None:
    design = make_design(n_subjects=60, n_features=3, effect=3.0)
    twice = replace(
        design, X=np.column_stack([design.X, design.X[:, 0]]), feature_names=("a", "b", "c", "d")
    )
    cv = estimated(twice)
    made = {
        m.group: m.mean
        for m in permutation_importance(
            twice, cv=cv, predictors=ridge_predictors(twice, cv=cv),
            groups={"both": ["a", "d"], "one": ["a"]}, seed=0,
        )
    }  # fmt: skip
    assert made["both"] > 2 * made["one"]
    with pytest.raises(InputError, match="no feature 'x'"):
        permutation_importance(
            twice, cv=cv, predictors=ridge_predictors(twice, cv=cv), groups={"g": ["x"]}, seed=0
        )


def test_features_are_grouped_by_emotion() -> None:
    names = ["mean_emotion_basic__happy", "sd_emotion_basic__happy", "mean_cosine_basic__sad",
             "sd_embedding", "mean_movement"]  # fmt: skip
    assert emotion_groups(names) == {
        "happy": ("mean_emotion_basic__happy", "sd_emotion_basic__happy"),
        "sad": ("mean_cosine_basic__sad",),
        "sd_embedding": ("sd_embedding",),
        "mean_movement": ("mean_movement",),
    }
