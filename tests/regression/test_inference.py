from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from emoclip_clinical.records import CrossValidation, InputError
from emoclip_clinical.regression import inference
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig


def cross_validation(subject, observed, predicted):
    names = [f"sub-{s:02d}" for s in subject]
    weight = 1 / np.bincount(subject)[subject]
    return CrossValidation(
        target="t",
        keys=pd.DataFrame({"participant_id": names, "session_id": ""}),
        observed=observed,
        predicted=predicted,
        baseline=np.zeros_like(predicted),
        fold=np.zeros(predicted.shape, dtype=int),
        weight=weight,
        chosen=(),
    )


@pytest.fixture
def cohort():
    rng = np.random.default_rng(3)
    subject = np.sort(np.concatenate([np.arange(25), np.arange(10)]))
    observed = rng.normal(size=35)
    predicted = 0.7 * observed + rng.normal(size=(3, 35))
    return cross_validation(subject, observed, predicted), subject


def slow_statistic(cv, subject, drawn):
    """The mean-over-repeats r of a resample of subjects, rows copied out one by one."""
    rows = np.concatenate([np.flatnonzero(subject == s) for s in drawn])
    weight = cv.weight[rows]
    rs = []
    for predicted in cv.predicted:
        c = np.cov(cv.observed[rows], predicted[rows], aweights=weight)
        rs.append(c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]))
    return np.mean(rs)


def test_interval_equals_scipy_on_a_slow_statistic(cohort):
    cv, subject = cohort
    made = inference.bootstrap_interval(cv, resamples=300, confidence=0.9, seed=4)
    rng = np.random.default_rng(np.random.SeedSequence(4, spawn_key=(inference.BOOTSTRAP,)))
    slow = stats.bootstrap(
        (np.arange(25),),
        lambda drawn: slow_statistic(cv, subject, drawn),
        n_resamples=300,
        batch=500,
        vectorized=False,
        confidence_level=0.9,
        method="BCa",
        rng=rng,
    )
    assert made.method == "BCa"
    assert (made.low, made.high) == pytest.approx(tuple(slow.confidence_interval), abs=1e-10)


def test_a_perfect_prediction_falls_back_to_percentiles():
    observed = np.arange(30.0)
    cv = cross_validation(np.arange(30), observed, 2 * observed[np.newaxis] + 1)
    made = inference.bootstrap_interval(cv, resamples=200, confidence=0.95, seed=0)
    assert made.method == "percentile"
    assert (made.low, made.high) == pytest.approx((1, 1))
    assert "percentile" in made.warnings[0]


def test_a_constant_prediction_has_no_interval():
    cv = cross_validation(np.arange(30), np.arange(30.0), np.full((1, 30), 2.0))
    made = inference.bootstrap_interval(cv, resamples=200, confidence=0.95, seed=0)
    assert (made.low, made.high, made.method) == (None, None, "none")
    assert made.warnings


def test_whole_vectors_move_between_subjects_with_the_same_visits():
    subjects = np.array([0, 0, 1, 1, 2, 3, 4, 4, 5])
    sessions = ["1", "2", "2", "1", "1", "1", "1", "3", "2"]
    y = np.array([10.0, 20.0, 21.0, 11.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    swaps = inference.exchange(subjects, sessions)
    assert swaps.n_exchangeable == 4  # subjects 4 and 5 are alone with their visits
    permuted = inference.permuted_ratings(y, exchange=swaps, n=200, seed=0)
    np.testing.assert_array_equal(permuted[6:], np.repeat(y[6:, np.newaxis], 200, axis=1))
    seen = {tuple(column[[0, 1, 3, 2, 4, 5]]) for column in permuted.T}
    pairs = [(10.0, 20.0), (11.0, 21.0)]
    wanted = {
        (*a, *b, *c)
        for a, b in itertools.permutations(pairs)
        for c in itertools.permutations((5.0, 6.0))
    }
    assert seen == wanted


def test_p_counts_ties_and_undefined_values_against_the_finding():
    null = np.array([0.1, 0.5, 0.5, 0.7, np.nan, 0.2])
    assert inference.permutation_p(0.5, null) == (4 + 1) / (6 + 1)


def test_family_is_adjusted_as_by_statsmodels():
    p = [0.01, 0.04, None, 0.03, 0.2]
    known = [v for v in p if v is not None]
    wanted = multipletests(known, method="fdr_bh")[1]
    adjusted = inference.adjust_p(p)
    assert adjusted[2] is None
    assert [v for v in adjusted if v is not None] == pytest.approx(list(wanted))
    assert inference.adjust_p([None]) == [None]


def test_few_exchangeable_subjects_give_no_p(make_design):
    design = make_design(n_subjects=19, n_features=3)
    config = RegressionConfig(repeats=1, permutations=50, bootstrap=0)
    made = estimate(design, config=config, seed=0)
    assert made.p_permutation is None
    assert any("only 19 subjects" in w for w in made.warnings)


def test_a_planted_effect_is_found(make_design):
    design = make_design(n_subjects=40, n_features=5, two_visits=20, effect=3.0)
    config = RegressionConfig(repeats=3, permutations=199, bootstrap=200)
    made = estimate(design, config=config, seed=0)
    assert made.metrics.pearson_pooled > 0.7
    assert made.p_permutation == 1 / 200
    assert made.interval.low > 0.5
    assert (made.null.max(), made.n_exchangeable) < (made.metrics.pearson_pooled, 41)


@pytest.mark.slow
def test_null_cohorts_are_rarely_rejected(make_design):
    config = RegressionConfig(repeats=2, permutations=99, bootstrap=0, inner_folds=3)
    p = []
    for seed in range(60):
        design = make_design(n_subjects=30, n_features=6, two_visits=10, seed=100 + seed)
        p.append(estimate(design, config=config, seed=seed).p_permutation)
    # 8 or more of 60 at a true level of 0.05 have a chance below 1 %.
    assert sum(v <= 0.05 for v in p) < 8
    assert stats.kstest(p, "uniform").pvalue > 0.001


@pytest.mark.parametrize("site", ["site", None])
def test_ratings_that_no_permutation_can_change_are_refused(make_design, site):
    design = make_design(n_subjects=40, n_features=3, two_visits=0 if site else 20)
    second = np.isin(design.subjects, design.subjects[design.keys["session_id"] == "ses-2"])
    where = np.array(["A", "B"])[design.subjects % 2] if site else second.astype(str)
    y = np.where(where == where[0], 3.0, 5.0)
    alike = replace(design, y=y, covariates=pd.DataFrame({"site": where}))
    config = RegressionConfig(repeats=1, permutations=19, bootstrap=0, site=site)
    message = "within any site" if site else "among subjects with the same visits"
    with pytest.raises(InputError, match=f"score: ratings do not vary {message}: nothing can be"):
        estimate(alike, config=config, seed=0)
    # One rating that differs within a site can change places.
    estimate(replace(alike, y=np.where(np.arange(len(y)) == 1, 4.0, y)), config=config, seed=0)
    estimate(alike, config=config.model_copy(update={"permutations": 0}), seed=0)
