"""Every model against another library, on the same rows and folds."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import ElasticNet
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from statsmodels.miscmodels.ordinal_model import OrderedModel

from emoclip_clinical.records import InputError
from emoclip_clinical.regression import crossing
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.estimator import fit_estimator
from emoclip_clinical.regression.folds import inner_folds, outer_folds
from emoclip_clinical.regression.inference import exchange, permuted_ratings
from emoclip_clinical.regression.models import catalogue, ordinal
from emoclip_clinical.regression.models.catalogue import CATALOGUE, make_model, model_names
from emoclip_clinical.regression.models.final import linear_fit, not_saved_reason
from emoclip_clinical.regression.models.ordinal import ProportionalOdds
from emoclip_clinical.regression.models.pls import WeightedPLS
from emoclip_clinical.regression.models.smoothers import GaussianProcessModel

TABULAR = [n for n in model_names() if not CATALOGUE[n].needs_segments]
QUICK = {"folds": 3, "repeats": 1, "inner_folds": 3, "permutations": 0, "bootstrap": 0}


def plain_loop(design, y, config, candidates, fit_predict, seed):
    """Tune and predict fold by fold with nothing of ours but the folds."""
    fold = outer_folds(design.subjects, folds=config.folds, repeats=config.repeats, seed=seed)
    predicted, chosen = np.empty(fold.shape), []
    for repeat in range(config.repeats):
        for number in range(config.folds):
            train, test = np.flatnonzero(fold[repeat] != number), fold[repeat] == number
            inner = inner_folds(
                design.subjects[train],
                folds=config.inner_folds,
                seed=seed,
                repeat=repeat,
                fold=number,
            )
            errors = []
            for candidate in candidates:
                by_fold = []
                for k in range(config.inner_folds):
                    a, b = train[inner != k], train[inner == k]
                    out = fit_predict(design, y, a, b, candidate)
                    by_fold.append(np.average((out - y[b]) ** 2, weights=design.weights[b]))
                errors.append(np.mean(by_fold))
            best = candidates[int(np.argmin(errors))]
            predicted[repeat, test] = fit_predict(design, y, train, np.flatnonzero(test), best)
            chosen.append(best)
    return predicted, chosen


def scaled(design, a, b):
    scaler = StandardScaler().fit(design.X[a], sample_weight=design.weights[a])
    return scaler.transform(design.X[a]), scaler.transform(design.X[b])


def kernel_ridge(design, y, a, b, candidate):
    width, alpha = candidate
    Z, Z_out = scaled(design, a, b)
    mean = np.average(y[a], weights=design.weights[a])
    model = KernelRidge(alpha=alpha, kernel="rbf", gamma=width / Z.shape[1])
    model.fit(Z, y[a] - mean, sample_weight=design.weights[a])
    return mean + model.predict(Z_out)


def standard_units(y, weight):
    mean = np.average(y, weights=weight)
    return mean, np.sqrt(np.average((y - mean) ** 2, weights=weight))


def elastic_net(design, y, a, b, candidate):
    Z, Z_out = scaled(design, a, b)
    mean, spread = standard_units(y[a], design.weights[a])
    model = ElasticNet(**candidate, max_iter=10_000, tol=1e-4)
    model.fit(Z, (y[a] - mean) / spread, sample_weight=design.weights[a])
    return mean + spread * model.predict(Z_out)


def svr(design, y, a, b, candidate):
    Z, Z_out = scaled(design, a, b)
    mean, spread = standard_units(y[a], design.weights[a])
    model = SVR(C=candidate["cost"], gamma=candidate["width"] / Z.shape[1], epsilon=0.1)
    model.fit(Z, (y[a] - mean) / spread, sample_weight=design.weights[a])
    return mean + spread * model.predict(Z_out)


def test_kernel_ridge_and_its_permutations_equal_scikit_learn(make_design):
    design = make_design(n_subjects=24, n_features=5, two_visits=4, effect=1.0)
    config = RegressionConfig(
        model="kernel_ridge", alphas=(0.1, 1.0, 10.0), **{**QUICK, "permutations": 2}
    )
    made = estimate(design, config=config, seed=3)
    candidates = make_model("kernel_ridge", config=config).candidates
    predicted, chosen = plain_loop(design, design.y, config, candidates, kernel_ridge, 3)
    np.testing.assert_allclose(made.cross_validation.predicted, predicted, atol=1e-8)
    assert [tuple(c.values()) for c in made.cross_validation.chosen] == chosen
    swaps = exchange(design.subjects, design.keys["session_id"].tolist())
    permuted = permuted_ratings(design.y, exchange=swaps, n=2, seed=3)
    for y, r in zip(permuted.T, made.null, strict=True):
        out, _ = plain_loop(design, y, config, candidates, kernel_ridge, 3)
        covariance = np.cov(y, out[0], aweights=design.weights)
        assert r == pytest.approx(
            covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]), abs=1e-8
        )


@pytest.mark.parametrize(("name", "by_hand"), [("elastic_net", elastic_net), ("svr", svr)])
def test_searched_models_equal_a_plain_loop(make_design, name, by_hand):
    design = make_design(n_subjects=24, n_features=4, two_visits=3, effect=1.0)
    config = RegressionConfig(model=name, **QUICK)
    made = estimate(design, config=config, seed=1)
    candidates = make_model(name, config=config).candidates
    predicted, chosen = plain_loop(design, design.y, config, candidates, by_hand, 1)
    np.testing.assert_allclose(made.cross_validation.predicted, predicted, atol=1e-8)
    assert list(made.cross_validation.chosen) == chosen


def test_fits_of_the_elastic_net_that_did_not_converge_are_counted_and_told_once(
    make_design, monkeypatch, recwarn
):
    monkeypatch.setattr(catalogue, "ELASTIC_STEPS", 4)
    design = make_design(n_subjects=24, n_features=40, effect=1.0)
    design = replace(design, X=design.X + 3 * design.X[:, :1])
    config = RegressionConfig(model="ridge", compare=("elastic_net",), **QUICK)
    made = estimate(design, config=config, seed=1)
    assert not [w for w in recwarn if issubclass(w.category, ConvergenceWarning)]
    stopped = []

    def by_hand(design, y, a, b, candidate):
        Z, Z_out = scaled(design, a, b)
        mean, spread = standard_units(y[a], design.weights[a])
        model = ElasticNet(**candidate, max_iter=4, tol=1e-4)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            model.fit(Z, (y[a] - mean) / spread, sample_weight=design.weights[a])
        stopped.append(bool(told))
        return mean + spread * model.predict(Z_out)

    candidates = make_model("elastic_net", config=config).candidates
    plain_loop(design, design.y, config, candidates, by_hand, 1)
    assert 0 < sum(stopped) < len(stopped)
    (told,) = [w for w in made.warnings if "converged" in w]
    assert told.startswith(f"elastic net: {sum(stopped)} of {len(stopped)} fits, ")


def test_proportional_odds_that_did_not_converge_are_told(make_design, monkeypatch):
    design = make_design(n_subjects=24, n_features=3, effect=1.0)
    config = RegressionConfig(model="ordinal", **QUICK)
    assert "converged" not in " ".join(estimate(design, config=config, seed=1).warnings)
    monkeypatch.setattr(ordinal, "MAXIMUM_ITERATIONS", 1)
    # Five penalties in three inner folds and the chosen one, in each of three outer folds.
    assert "proportional odds: 48 of 48 fits" in " ".join(
        estimate(design, config=config, seed=1).warnings
    )


def test_gaussian_process_equals_scikit_learn():
    rng = np.random.default_rng(0)
    Z, Z_new = rng.normal(size=(20, 3)), rng.normal(size=(4, 3))
    y = rng.normal(size=20) + Z[:, 0]
    weight = rng.uniform(0.3, 1, 20)
    model = GaussianProcessModel()
    found = model.log_likelihood(Z, y[:, np.newaxis], weight=weight)[:, 0]
    centred = y - np.average(y, weights=weight)
    for index, (width, noise) in enumerate(model.candidates):
        length = np.sqrt(Z.shape[1] / (2 * width))
        covariance = RBF(length)(Z) + np.diag(noise / weight)
        variance = centred @ np.linalg.solve(covariance, centred) / 20
        process = GaussianProcessRegressor(
            ConstantKernel(variance) * RBF(length), alpha=variance * noise / weight, optimizer=None
        ).fit(Z, centred)
        assert found[index] == pytest.approx(process.log_marginal_likelihood(), abs=1e-7)
    maps = model.maps(Z, Z_new, weight)
    scaler = StandardScaler().fit(Z, sample_weight=weight)
    process = GaussianProcessRegressor(
        RBF(np.sqrt(3 / (2 * model.widths[-1]))),
        alpha=model.noise_ratios[-1] / weight,
        optimizer=None,
    ).fit(scaler.transform(Z), centred)
    expected = np.average(y, weights=weight) + process.predict(scaler.transform(Z_new))
    np.testing.assert_allclose(maps[-1] @ y, expected, atol=1e-8)


@pytest.mark.parametrize("shape", [(30, 5), (12, 40)])
def test_pls_equals_scikit_learn_and_counts_weights_as_copies(shape):
    rng = np.random.default_rng(1)
    Z = rng.normal(size=shape)
    y = Z[:, 0] + rng.normal(size=shape[0])
    Z = Z - Z.mean(axis=0)
    for components in (1, 3):
        ours = WeightedPLS(components=components).fit(Z, y, weight=np.ones(len(y)))
        theirs = PLSRegression(components, scale=False).fit(Z, y)
        np.testing.assert_allclose(ours.predict(Z), theirs.predict(Z).ravel(), atol=1e-10)
    copies = rng.integers(1, 4, len(y))
    Z = Z - np.average(Z, axis=0, weights=copies)
    weighted = WeightedPLS(components=2).fit(Z, y, weight=copies.astype(float))
    rows = np.repeat(np.arange(len(y)), copies)
    repeated = PLSRegression(2, scale=False).fit(Z[rows], y[rows])
    np.testing.assert_allclose(weighted.predict(Z), repeated.predict(Z).ravel(), atol=1e-10)


def test_proportional_odds_equals_statsmodels():
    rng = np.random.default_rng(2)
    Z = rng.normal(size=(120, 2))
    y = np.digitize(Z[:, 0] + rng.logistic(size=120), [-1, 0.5, 2]).astype(float)
    ours = ProportionalOdds(alpha=0.0).fit(Z, y, weight=np.ones(120))
    theirs = OrderedModel(y, Z, distr="logit").fit(method="bfgs", disp=False)
    np.testing.assert_allclose(ours.coef_, theirs.params[:2], atol=1e-3)
    np.testing.assert_allclose(
        ours.thresholds_, theirs.model.transform_threshold_params(theirs.params)[1:-1], atol=1e-3
    )
    np.testing.assert_allclose(ours.probabilities(Z), theirs.predict(), atol=1e-3)
    np.testing.assert_allclose(ours.predict(Z), theirs.predict() @ ours.levels_, atol=3e-3)


def test_proportional_odds_of_one_level_and_with_weights_as_copies():
    Z = np.random.default_rng(0).normal(size=(10, 2))
    constant = ProportionalOdds(alpha=1.0).fit(Z, np.full(10, 4.0), weight=np.ones(10))
    np.testing.assert_array_equal(constant.predict(Z), 4.0)
    y = np.arange(10) % 3.0
    copies = np.arange(10) % 2 + 1
    rows = np.repeat(np.arange(10), copies)
    weighted = ProportionalOdds(alpha=1.0).fit(Z, y, weight=copies.astype(float))
    repeated = ProportionalOdds(alpha=1.0).fit(Z[rows], y[rows], weight=np.ones(len(rows)))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-4)


@pytest.mark.parametrize("name", ["pls", "ordinal", "gaussian_process", "elastic_net"])
def test_a_planted_effect_is_found_and_gaps_are_filled_in(make_design, name):
    design = make_design(n_subjects=30, n_features=3, two_visits=3, effect=3.0)
    X = design.X.copy()
    X[3, 1] = np.nan
    design = replace(design, X=X)
    made = estimate(design, config=RegressionConfig(model=name, **QUICK), seed=0)
    assert made.metrics.pearson_pooled > 0.7
    # The models kept for importance are those that predicted.
    cv = made.cross_validation
    for number, predict in enumerate(made.predictors):
        rows = cv.fold[0] == number
        np.testing.assert_allclose(predict(design.X[rows]), cv.predicted[0, rows], atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["svr", "random_forest", "gradient_boosting"])
def test_a_planted_effect_is_found_by_slower_models(make_design, name):
    design = make_design(n_subjects=40, n_features=3, effect=3.0)
    config = RegressionConfig(model=name, **QUICK)
    first, second = (estimate(design, config=config, seed=0) for _ in range(2))
    assert first.metrics.pearson_pooled > 0.6
    np.testing.assert_array_equal(
        first.cross_validation.predicted, second.cross_validation.predicted
    )


def test_permutations_in_processes_equal_those_in_one(make_design, monkeypatch):
    monkeypatch.setattr(crossing, "START_SECONDS", 0.0)
    design = make_design(n_subjects=24, n_features=3, effect=1.0)
    told = []
    runs = [
        estimate(
            design,
            config=RegressionConfig(model="pls", jobs=jobs, **{**QUICK, "permutations": 4}),
            seed=0,
            progress=lambda *state: told.append(state),
        )
        for jobs in (1, 2)
    ]
    np.testing.assert_array_equal(runs[0].null, runs[1].null)
    titles = {task for task, *_ in told if "permutations" in task}
    assert all("4 permutations of partial least squares, about" in t for t in titles)
    assert [state[1:] for state in told if "permutations" in state[0]][:5] == [
        (k, 4) for k in range(5)
    ]


@pytest.mark.parametrize("name", ["elastic_net", "pls"])
def test_a_final_linear_estimator_is_the_model(make_design, name):
    design = make_design(n_subjects=24, n_features=4, two_visits=3, effect=2.0)
    config = RegressionConfig(model=name, **QUICK)
    made = fit_estimator(
        design, fit=linear_fit(config, seed=0), kind=name, level=0.9, impute="none", seed=0
    )
    model = make_model(name, config=config)
    best = next(c for c in model.candidates if tuple(c.items()) == made.model.settings)
    Z = StandardScaler().fit_transform(design.X, sample_weight=design.weights)
    whole = model.make(best, 0).fit(Z, design.y, weight=design.weights)
    np.testing.assert_allclose(made.model.predict(design.X), whole.predict(Z), atol=1e-9)


def test_what_can_not_be_saved_is_said():
    assert not_saved_reason(RegressionConfig()) is None
    assert "without a pickle" in not_saved_reason(RegressionConfig(model="svr"))
    removing = RegressionConfig(confounds=("age",), remove_confounds=True)
    assert "confounds of new visits" in not_saved_reason(removing)


def test_models_of_segments_need_segments(make_design):
    design = make_design(n_subjects=24, n_features=2)
    with pytest.raises(InputError, match="mlp_probe reads the embeddings of segments"):
        estimate(design, config=RegressionConfig(model="mlp_probe"), seed=0)


@pytest.mark.parametrize("name", TABULAR)
def test_every_model_says_what_it_is(name):
    assert CATALOGUE[name].title
    assert CATALOGUE[name].description
