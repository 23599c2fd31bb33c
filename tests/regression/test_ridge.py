"""The shared decompositions against scikit-learn's own pipeline, vector by vector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer, mean_squared_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import join
from emoclip_clinical.regression.features import read_features
from emoclip_clinical.regression.folds import inner_folds, outer_folds, splits
from emoclip_clinical.regression.inference import exchange, permuted_ratings
from emoclip_clinical.regression.ratings import read_ratings
from emoclip_clinical.regression.ridge import coefficients, decompose, prediction_matrices, tune


@pytest.fixture(autouse=True)
def _routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def plain_search(X, y, weight, cv, alphas):
    """Return a fitted grid search over a scaler and ridge, both with sample weights."""
    scorer = make_scorer(mean_squared_error, greater_is_better=False)
    pipeline = Pipeline(
        [
            ("scale", StandardScaler().set_fit_request(sample_weight=True)),
            ("ridge", Ridge().set_fit_request(sample_weight=True)),
        ]
    )
    search = GridSearchCV(
        pipeline,
        {"ridge__alpha": list(alphas)},
        cv=list(cv),
        scoring=scorer.set_score_request(sample_weight=True),
    )
    return search.fit(X, y, sample_weight=weight)


def plain_cross_validation(design, y, config, seed):
    """Predict every row out of fold with scikit-learn alone; only the folds are ours."""
    fold = outer_folds(design.subjects, folds=config.folds, repeats=config.repeats, seed=seed)
    predicted, chosen = np.empty(fold.shape), []
    for repeat in range(config.repeats):
        for number in range(config.folds):
            test = fold[repeat] == number
            train = ~test
            inner = inner_folds(
                design.subjects[train],
                folds=config.inner_folds,
                seed=seed,
                repeat=repeat,
                fold=number,
            )
            cv = [(np.flatnonzero(inner != k), np.flatnonzero(inner == k)) for k in set(inner)]
            search = plain_search(
                design.X[train], y[train], design.weights[train], cv, config.alphas
            )
            predicted[repeat, test] = search.predict(design.X[test])
            chosen.append(search.best_params_["ridge__alpha"])
    return predicted, chosen


@pytest.mark.parametrize(
    ("n_subjects", "n_features", "two_visits"),
    [(30, 4, 0), (24, 4, 10), (20, 60, 0), (20, 60, 8)],
)
def test_cross_validation_equals_scikit_learn(make_design, n_subjects, n_features, two_visits):
    design = make_design(
        n_subjects=n_subjects, n_features=n_features, two_visits=two_visits, effect=1.0
    )
    X = design.X.copy()
    X[:, 1] = 7.3  # constant everywhere
    X[1:, 2] = 0.1  # constant in most training sets
    design = replace(design, X=X)
    config = RegressionConfig(folds=4, repeats=2, inner_folds=3, permutations=0, bootstrap=0)
    made = estimate(design, config=config, seed=5)
    predicted, chosen = plain_cross_validation(design, design.y, config, seed=5)
    np.testing.assert_allclose(made.cross_validation.predicted, predicted, rtol=0, atol=1e-8)
    assert [c["alpha"] for c in made.cross_validation.chosen] == chosen


def test_each_permutation_equals_its_own_pipeline(make_design):
    design = make_design(n_subjects=24, n_features=30, two_visits=2, effect=1.0)
    config = RegressionConfig(folds=3, repeats=1, inner_folds=3, permutations=4, bootstrap=0)
    made = estimate(design, config=config, seed=2)
    swaps = exchange(design.subjects, design.keys["session_id"].tolist())
    permuted = permuted_ratings(design.y, exchange=swaps, n=4, seed=2)
    for column in range(4):
        y = permuted[:, column]
        predicted, _ = plain_cross_validation(design, y, config, seed=2)
        r = [weighted_r(y, row, design.weights) for row in predicted]
        assert made.null[column] == pytest.approx(np.mean(r), abs=1e-8)


def weighted_r(x, y, weight):
    covariance = np.cov(x, y, aweights=weight)
    return covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])


def test_real_ratings_equal_a_plain_script(assets):
    phenotype = assets / "ratings" / "ds000030" / "phenotype"
    ratings = read_ratings(phenotype, target="global_bluntaffect", where={"diagnosis": "SCHZ"})
    features = read_features(phenotype / "bprs.tsv", columns=["bprs[0-9]*"])
    design = join(features, ratings)
    assert (len(ratings.values), design.X.shape) == (50, (49, 24))
    assert sorted(design.feature_names) == sorted(f"bprs{k}" for k in range(1, 25))
    config = RegressionConfig(repeats=2, permutations=0, bootstrap=0)
    made = estimate(design, config=config, seed=0)
    predicted, _ = plain_cross_validation(design, design.y, config, seed=0)
    np.testing.assert_allclose(made.cross_validation.predicted, predicted, rtol=0, atol=1e-8)


@pytest.mark.parametrize("shape", [(25, 6), (12, 40)])
def test_coefficients_equal_scikit_learn(shape):
    rng = np.random.default_rng(0)
    X, y, weight = rng.normal(size=shape), rng.normal(size=shape[0]), rng.uniform(0.3, 1, shape[0])
    training = decompose(X, weight=weight)
    scaled = StandardScaler().fit(X, sample_weight=weight).transform(X)
    ridge = Ridge(alpha=3.0).fit(scaled, y, sample_weight=weight)
    np.testing.assert_allclose(coefficients(training, y, alpha=3.0), ridge.coef_, atol=1e-10)


def test_predictions_shift_with_the_ratings():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(15, 4))
    training = decompose(X, weight=np.ones(15))
    matrices = prediction_matrices(training, rng.normal(size=(3, 4)), alphas=[0.1, 100.0])
    np.testing.assert_allclose(matrices.sum(axis=2), 1.0, atol=1e-12)


def test_of_equal_penalties_the_first_wins():
    X, y = np.ones((12, 2)), np.arange(12.0)[:, np.newaxis]
    inner = np.arange(12) % 3
    best = tune(
        X, y, weight=np.ones(12), subjects=np.arange(12), inner_fold=inner, alphas=[1.0, 10.0]
    )
    assert best.tolist() == [0]


def test_a_subject_in_both_parts_is_refused():
    with pytest.raises(ValueError, match="subject 1 stands in training and test"):
        list(splits(np.array([0, 1, 0]), subjects=np.array([0, 1, 1])))


@pytest.mark.slow
@pytest.mark.parametrize("problem", range(20))
def test_random_problems_equal_scikit_learn(make_design, problem):
    """Predictions, chosen penalties and null of 20 random problems, vector by vector."""
    rng = np.random.default_rng(100 + problem)
    design = make_design(
        n_subjects=int(rng.integers(20, 30)),
        n_features=int(rng.choice([2, 8, 25, 60])),
        two_visits=int(rng.integers(0, 9)),
        effect=float(rng.uniform(0, 2)),
        seed=problem,
    )
    X = design.X * 10.0 ** rng.uniform(-3, 3, design.X.shape[1]) + rng.normal(0, 10)
    if problem % 2:
        X[:, 1] = rng.normal()  # a constant column
    design = replace(design, X=X)
    config = RegressionConfig(folds=3, repeats=1, inner_folds=3, permutations=1, bootstrap=0)
    made = estimate(design, config=config, seed=problem)
    predicted, chosen = plain_cross_validation(design, design.y, config, seed=problem)
    np.testing.assert_allclose(made.cross_validation.predicted, predicted, rtol=0, atol=1e-8)
    assert [c["alpha"] for c in made.cross_validation.chosen] == chosen
    swaps = exchange(design.subjects, design.keys["session_id"].tolist())
    permuted = permuted_ratings(design.y, exchange=swaps, n=1, seed=problem)
    for y, null in zip(permuted.T, made.null, strict=True):
        out, _ = plain_cross_validation(design, y, config, seed=problem)
        assert null == pytest.approx(weighted_r(y, out[0], design.weights), abs=1e-8)
