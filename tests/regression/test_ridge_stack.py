"""Ridge on folds that see ratings: stacked training sets against one training set at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emoclip_clinical.regression import crossing, nested_plans, ridge_stack
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.crossing import Pipeline
from emoclip_clinical.regression.folds import balancing_subjects, inner_folds
from emoclip_clinical.regression.imputation import subset_medians, training_medians
from emoclip_clinical.regression.inference import exchange, permuted_ratings
from emoclip_clinical.regression.models.base import Rows
from emoclip_clinical.regression.models.catalogue import make_model

SCHEMES = ["balanced_kfold", "rebalanced_leave_one_subject_out"]
QUICK = {"folds": 4, "repeats": 2, "inner_folds": 3, "bootstrap": 0}


def pipeline_of(design, *, scheme, confounds=None, model="ridge", seed=3):
    config = RegressionConfig(cv=scheme, model=model, **QUICK)
    nothing = np.empty((len(design.y), 0))
    rows = Rows(
        design.X, nothing if confounds is None else confounds, design.subjects, design.weights
    )
    return Pipeline(make_model(model, config=config), rows, config, seed, None)


def vectors_of(design, n):
    swaps = exchange(design.subjects, design.keys["session_id"].tolist())
    return np.vstack([design.y, permuted_ratings(design.y, exchange=swaps, n=n, seed=1).T])


def one_by_one(pipeline, y):
    """Predict with `RidgeModel.fit_fold`, a training set at a time."""
    folds = pipeline.folds(y)
    predicted = np.empty(folds.number.shape)
    for repeat, row in enumerate(predicted):
        for _, test, made in pipeline.fits(y[:, np.newaxis], folds, repeat):
            row[test] = made.predicted[:, 0]
    return predicted


def spoiled(X):
    """Gaps, a feature that nobody has, constants, and features of very different size."""
    rng = np.random.default_rng(0)
    X = X * 10.0 ** rng.uniform(-3, 3, X.shape[1]) + rng.normal(0, 10, X.shape[1])
    X[:, 1] = 7.3  # constant
    X[1:, 2] = 0.1  # constant where the first row is left out
    X[rng.random(len(X)) < 0.3, 3] = np.nan
    X[rng.random(len(X)) < 0.1, 4] = np.nan
    X[:, 5] = np.nan
    X[2:, 6] = np.nan  # known to two rows
    X[:, 7] = X[:, 0] * (1 + 1e-7 * rng.normal(size=len(X)))  # nearly collinear
    return X


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("n_features", [9, 60])
@pytest.mark.parametrize("removing", [False, True])
@pytest.mark.parametrize("clean", [True, False])
def test_stacked_equals_one_by_one(make_design, scheme, n_features, removing, clean):
    design = make_design(n_subjects=24, n_features=n_features, two_visits=7, effect=1.0)
    design = design if clean else replace(design, X=spoiled(design.X))
    rng = np.random.default_rng(4)
    confounds = rng.normal(size=(len(design.y), 3))
    confounds[:, 1] = 2.0
    if removing:
        X = design.X.copy()
        X[:, 0] = confounds[:, 0] * 3 - 1  # wholly explained
        design = replace(design, X=X, weights=rng.uniform(0.2, 1.0, len(X)))
    pipeline = pipeline_of(design, scheme=scheme, confounds=confounds if removing else None)
    vectors = vectors_of(design, 6)
    together = pipeline.stacked(vectors)
    slow = np.array([one_by_one(pipeline, y) for y in vectors])
    np.testing.assert_allclose(together, slow, rtol=0, atol=1e-10)
    alone = [pipeline.pooled_r(y) for y in vectors]
    np.testing.assert_allclose(pipeline.pooled_rs(vectors), alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_plans_are_the_nested_splits_of_the_folds(make_design, scheme):
    design = make_design(n_subjects=20, n_features=2, two_visits=5)
    pipeline = pipeline_of(design, scheme=scheme)
    folds = [pipeline.folds(y) for y in vectors_of(design, 30)]
    subjects = design.subjects
    plans = nested_plans.nested_plans(folds, subjects=subjects, inner_folds=3, seed=3)
    use = 0
    for vector, drawn in enumerate(folds):
        for repeat in range(len(drawn.number)):
            for number, (train, test) in enumerate(drawn.splits(repeat, subjects=subjects)):
                part = plans.part[plans.plan[use]]
                inner = inner_folds(subjects[train], folds=3, seed=3, repeat=repeat, fold=number)
                assert (plans.vector[use], plans.repeat[use]) == (vector, repeat)
                assert np.flatnonzero(part == nested_plans.TEST).tolist() == test.tolist()
                assert np.flatnonzero(part >= 0).tolist() == train.tolist()
                assert part[train].tolist() == inner.tolist()
                use += 1
    assert use == len(plans.plan)
    if scheme == SCHEMES[1]:
        assert len(plans.part) < 0.75 * use


def test_a_plan_of_very_many_vectors_is_cut(make_design, monkeypatch):
    design = make_design(n_subjects=16, n_features=3)
    pipeline = pipeline_of(design, scheme=SCHEMES[1])
    vectors = np.repeat(vectors_of(design, 1), 5, axis=0)
    whole = pipeline.stacked(vectors)
    monkeypatch.setattr(nested_plans, "WIDEST", 2)
    monkeypatch.setattr(ridge_stack, "BLOCK_NUMBERS", 5000)
    np.testing.assert_allclose(pipeline.stacked(vectors), whole, rtol=0, atol=1e-12)
    plans = nested_plans.nested_plans(
        [pipeline.folds(y) for y in vectors], subjects=design.subjects, inner_folds=3, seed=3
    )
    assert np.bincount(plans.plan).max() == 2
    served = np.concatenate([uses.ravel() for _, uses in plans.blocks(lambda n: 3)])
    assert set(served.tolist()) == set(range(len(plans.plan)))


def test_subjects_of_two_folds_are_refused(make_design):
    design = make_design(n_subjects=16, n_features=3, two_visits=4)
    drawn = pipeline_of(design, scheme="balanced_kfold").folds(design.y)
    number = drawn.number.copy()
    row = np.flatnonzero(np.bincount(design.subjects)[design.subjects] == 2)[0]
    number[0, row] = (number[0, row] + 1) % 4
    with pytest.raises(ValueError, match="stands in training and test"):
        nested_plans.nested_plans(
            [replace(drawn, number=number)], subjects=design.subjects, inner_folds=3, seed=0
        )


def test_medians_of_subsets_are_those_of_each():
    rng = np.random.default_rng(0)
    X = np.round(rng.normal(size=(13, 6)), 1)
    X[rng.random(X.shape) < 0.4] = np.nan
    X[:, 2] = np.nan
    subsets = rng.random((40, 13)) < 0.5
    subsets[0] = False
    wanted = [training_medians(X[inside]) for inside in subsets]
    np.testing.assert_array_equal(subset_medians(X, subsets=subsets), wanted)


def test_the_balancing_subject_is_the_nearest_one_by_one():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        subjects = np.concatenate([np.arange(15), np.arange(6)])
        y = rng.integers(1, 6, len(subjects)).astype(float)
        mean = np.bincount(subjects, weights=y) / np.bincount(subjects)
        mirror = 2 * mean.mean() - mean
        partner = balancing_subjects(subjects, y=y, seed=seed)
        for subject in range(15):
            others = np.delete(np.arange(15), subject)
            nearest = np.abs(mean[others] - mirror[subject]).min()
            assert partner[subject] != subject
            assert abs(mean[partner[subject]] - mirror[subject]) == pytest.approx(nearest)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_null_does_not_depend_on_the_processes(make_design, scheme, monkeypatch):
    design = make_design(n_subjects=24, n_features=3, effect=1.0, two_visits=4)
    told = []
    monkeypatch.setattr(crossing, "START_SECONDS", 0.0)
    monkeypatch.setattr(ridge_stack, "BLOCK_NUMBERS", 20_000)
    runs = [
        estimate(
            design,
            config=RegressionConfig(cv=scheme, jobs=jobs, permutations=12, **QUICK),
            seed=0,
            progress=lambda *state: told.append(state),
        )
        for jobs in (1, 2)
    ]
    np.testing.assert_array_equal(runs[0].null, runs[1].null)
    states = [state for state in told if "12 permutations of ridge regression" in state[0]]
    assert [states[0][1:], states[-1][1:]] == [(0, 12), (12, 12)]


def test_ratings_that_swap_with_equal_ones_count_as_the_finding(make_design):
    design = make_design(n_subjects=24, n_features=3, two_visits=4, effect=1.0)
    y = np.full(len(design.y), 2.0)
    y[design.subjects == 5] = 4.0  # most permutations give one of few vectors
    design = replace(design, y=y)
    config = RegressionConfig(cv=SCHEMES[0], permutations=60, **QUICK)
    made = estimate(design, config=config, seed=0)
    swaps = exchange(design.subjects, design.keys["session_id"].tolist())
    permuted = permuted_ratings(y, exchange=swaps, n=60, seed=0)
    same = (permuted == y[:, np.newaxis]).all(axis=0)
    assert same.any()
    r = made.metrics.pearson_pooled
    np.testing.assert_allclose(made.null[same], r, rtol=0, atol=1e-12)
    clearly_above = (made.null > r + 1e-6).sum()
    assert made.p_permutation >= (same.sum() + clearly_above + 1) / 61
