"""Leaks planted on purpose: they find something in random ratings, and this package does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.folds import splits

CONFIG = RegressionConfig(folds=5, repeats=2, inner_folds=3, permutations=99, bootstrap=0)
ALPHA = 0.05


def r_of(a, b):
    return float(np.corrcoef(a, b)[0, 1])


def random_labels(make_design, seed=0, n_subjects=60, n_features=300):
    design = make_design(n_subjects=n_subjects, n_features=n_features, seed=seed)
    y = np.random.default_rng(seed + 1000).normal(20, 5, n_subjects)
    return replace(design, y=np.round(y))


def test_segments_of_a_subject_on_both_sides(make_design):
    design = random_labels(make_design, n_subjects=40, n_features=8)
    rng = np.random.default_rng(1)
    subjects = np.repeat(np.arange(40), 12)
    segments = design.X[subjects] + 0.3 * rng.normal(size=(len(subjects), 8))
    leaky = cross_val_predict(
        KNeighborsRegressor(3),
        segments,
        design.y[subjects],
        cv=KFold(5, shuffle=True, random_state=0),
    )
    assert r_of(design.y[subjects], leaky) > 0.9
    # The same split, handed to our splitter, is refused.
    fold = np.arange(len(subjects)) % 5
    with pytest.raises(ValueError, match="stands in training and test"):
        list(splits(fold, subjects=subjects))
    pooled = np.stack([segments[subjects == s].mean(axis=0) for s in range(40)])
    assert estimate(replace(design, X=pooled), config=CONFIG, seed=0).p_permutation > ALPHA


def test_features_chosen_on_all_rows(make_design):
    design = random_labels(make_design)
    found = [abs(r_of(column, design.y)) for column in design.X.T]
    best = np.argsort(found)[-15:]
    leaky = cross_val_predict(
        Ridge(1.0), design.X[:, best], design.y, cv=KFold(5, shuffle=True, random_state=0)
    )
    assert r_of(design.y, leaky) > 0.3
    assert estimate(design, config=CONFIG, seed=0).p_permutation > ALPHA


def test_tuning_on_the_outer_test_fold(make_design):
    """The choice among many sets of features looks at the fold that it is then judged on."""
    design = random_labels(make_design)
    rng = np.random.default_rng(2)
    choices = [rng.choice(300, 5, replace=False) for _ in range(200)]
    leaky = np.empty_like(design.y)
    for train, test in KFold(5, shuffle=True, random_state=0).split(design.X):

        def error(chosen, train=train, test=test):
            model = Ridge(1.0).fit(design.X[np.ix_(train, chosen)], design.y[train])
            return np.mean((model.predict(design.X[np.ix_(test, chosen)]) - design.y[test]) ** 2)

        best = min(choices, key=error)
        model = Ridge(1.0).fit(design.X[np.ix_(train, best)], design.y[train])
        leaky[test] = model.predict(design.X[np.ix_(test, best)])
    assert r_of(design.y, leaky) > 0.3
    for model in ("ridge", "gaussian_process"):
        config = CONFIG.model_copy(update={"model": model})
        assert estimate(design, config=config, seed=0).p_permutation > ALPHA


def test_filling_scaling_and_tuning_never_see_the_test_rows(make_design):
    """Whatever is written into the test rows of one fold, its model stays the same."""
    design = make_design(n_subjects=30, n_features=4, effect=2.0)
    config = CONFIG.model_copy(update={"repeats": 1, "permutations": 0})
    for model in ("ridge", "kernel_ridge", "pls"):
        chosen = config.model_copy(update={"model": model})
        made = estimate(design, config=chosen, seed=0)
        test = made.cross_validation.fold[0] == 2
        X, y = design.X.copy(), design.y.copy()
        X[test] *= 50.0
        y[test] += 1000.0
        changed = estimate(replace(design, X=X, y=y), config=chosen, seed=0)
        assert changed.cross_validation.chosen[2] == made.cross_validation.chosen[2]
        at = np.random.default_rng(0).normal(size=(5, 4))
        np.testing.assert_array_equal(made.predictors[2](at), changed.predictors[2](at))
