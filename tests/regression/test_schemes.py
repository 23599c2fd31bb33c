"""Schemes of folds: who stands where, which ones see ratings, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.audit import audit
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.estimates import CONDITIONAL_WARNING, fold_table
from emoclip_clinical.regression.folds import (
    balanced_folds,
    balancing_subjects,
    draw_folds,
    leave_one_site_out,
    outer_folds,
)
from emoclip_clinical.regression.inference import exchange, permuted_ratings

QUICK = {"folds": 4, "repeats": 2, "inner_folds": 3, "bootstrap": 200}


@pytest.fixture
def sited(make_design):
    design = make_design(n_subjects=32, n_features=3, two_visits=6, effect=2.0)
    site = [f"site{s % 4}" for s in design.subjects]
    rng = np.random.default_rng(0)
    return replace(
        design,
        covariates=pd.DataFrame({"site": site, "age": rng.normal(40, 9, len(site))}),
    )


def test_balanced_folds_have_alike_means():
    rng = np.random.default_rng(0)
    subjects = np.arange(60)
    y = rng.normal(20, 6, 60)
    fold = balanced_folds(subjects, y=y, folds=5, repeats=3, seed=1)
    plain = outer_folds(subjects, folds=5, repeats=3, seed=1)

    def spread(numbers):
        return np.std([[y[row == k].mean() for k in range(5)] for row in numbers], axis=1).mean()

    assert (np.apply_along_axis(np.bincount, 1, fold) == 12).all()
    assert spread(fold) < spread(plain) / 3
    # Each run of five ranks holds one of each fold.
    for row in fold:
        ranked = row[np.argsort(y)].reshape(-1, 5)
        assert (np.sort(ranked, axis=1) == np.arange(5)).all()


def test_folds_are_spread_over_sites():
    subjects = np.repeat(np.arange(24), 2)
    sites = [f"s{s % 3}" for s in subjects]
    fold = outer_folds(subjects, folds=4, repeats=3, seed=0, strata=sites)
    for row in fold:
        for site in set(sites):
            here = {s: f for s, f, w in zip(subjects, row, sites, strict=True) if w == site}
            assert np.ptp(np.bincount(list(here.values()), minlength=4)) <= 1
        assert all(len(set(row[subjects == s])) == 1 for s in range(24))


def test_the_balancing_subject_keeps_the_training_mean():
    y = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    partner = balancing_subjects(np.arange(7), y=y, seed=0)
    assert partner[[0, 1, 2, 4, 5, 6]].tolist() == [6, 5, 4, 2, 1, 0]
    assert partner[3] in (2, 4)  # not itself
    for held_out in (0, 1, 2, 4, 5, 6):
        left = [k for k in range(7) if k not in (held_out, partner[held_out])]
        assert y[left].mean() == pytest.approx(4.0)


def test_rebalanced_leave_one_out_has_no_bias_below_zero(make_design):
    design = make_design(n_subjects=40, n_features=2, seed=4)
    flat = replace(design, X=np.random.default_rng(0).normal(size=design.X.shape) * 1e-9)
    config = {"inner_folds": 3, "bootstrap": 0, "permutations": 0, "alphas": (1e5,)}
    plain = estimate(flat, config=RegressionConfig(cv="leave_one_subject_out", **config), seed=0)
    made = estimate(
        flat, config=RegressionConfig(cv="rebalanced_leave_one_subject_out", **config), seed=0
    )
    assert plain.metrics.pearson_pooled < -0.95
    assert abs(made.metrics.pearson_pooled) < 0.5
    table = fold_table(made.cross_validation)
    assert table["n_train_subjects"].eq(38).all()
    assert audit(made).dropped == 40
    assert any("made anew for every permutation" in w for w in made.warnings)


@pytest.mark.parametrize("scheme", ["balanced_kfold", "rebalanced_leave_one_subject_out"])
def test_folds_that_see_ratings_are_drawn_again_for_each_permutation(make_design, scheme):
    design = make_design(n_subjects=24, n_features=3, effect=1.0)
    config = RegressionConfig(cv=scheme, jobs=1, permutations=3, **QUICK)
    made = estimate(design, config=config, seed=2)
    swaps = exchange(design.subjects, design.keys["session_id"].tolist())
    permuted = permuted_ratings(design.y, exchange=swaps, n=3, seed=2)
    without = config.model_copy(update={"permutations": 0})
    for y, r in zip(permuted.T, made.null, strict=True):
        alone = estimate(replace(design, y=y), config=without, seed=2)
        assert alone.metrics.pearson_pooled == pytest.approx(r, abs=1e-12)
    own = draw_folds(design.subjects, config=config, seed=2, y=design.y)
    other = draw_folds(design.subjects, config=config, seed=2, y=permuted[:, 0])
    same = np.array_equal(own.number, other.number) and np.array_equal(own.dropped, other.dropped)
    assert not same


def test_leave_one_site_out(sited):
    config = RegressionConfig(cv="leave_one_site_out", permutations=30, **QUICK)
    made = estimate(sited, config=config, seed=0)
    cv = made.cross_validation
    for number in range(4):
        assert set(sited.covariates["site"][cv.fold[0] == number]) == {f"site{number}"}
    assert made.interval_of == "fold_mean"
    # Ratings stay within their site.
    swaps = exchange(
        sited.subjects,
        sited.keys["session_id"].tolist(),
        strata=sited.covariates["site"].tolist(),
    )
    permuted = permuted_ratings(sited.y, exchange=swaps, n=5, seed=0)
    for site in range(4):
        rows = (sited.covariates["site"] == f"site{site}").to_numpy()
        for column in permuted.T:
            assert sorted(column[rows]) == sorted(sited.y[rows])
    assert made.n_exchangeable == swaps.n_exchangeable


def test_the_audit_counts_no_overlap(sited):
    made = estimate(sited, config=RegressionConfig(permutations=0, site="site", **QUICK), seed=0)
    found = audit(made)
    assert (found.n_outer, found.n_inner) == (8, 24)
    assert (found.shared_subjects, found.shared_subjects_inner) == (0, 0)
    assert found.rows_predicted_once
    assert ("folds", "the seed and the sites") in found.fitted
    # A record in which a subject straddles is told.
    broken = made.cross_validation.fold.copy()
    row = int(np.flatnonzero(np.bincount(sited.subjects)[sited.subjects] > 1)[0])
    broken[0, row] = (broken[0, row] + 1) % 4
    straddling = replace(made, cross_validation=replace(made.cross_validation, fold=broken))
    assert audit(straddling).shared_subjects > 0


def test_the_audit_vouches_only_for_columns_that_it_knows(sited):
    config = RegressionConfig(permutations=0, **QUICK)
    made = estimate(replace(sited, source={"format": 1}), config=config, seed=0)
    step = "choice and pooling of the feature columns"
    assert dict(audit(made).fitted)[step] == "no rating: fixed beforehand"
    picked = replace(made, config=config.model_copy(update={"feature_columns": ("f1",)}))
    assert dict(audit(picked).fitted)[step].startswith("not known: columns chosen by name")
    other = replace(made, design=replace(made.design, source={}))
    assert dict(audit(other).fitted)[step].startswith("not known: made elsewhere")


def test_the_interval_falls_back_with_a_reason(sited):
    config = RegressionConfig(cv="leave_one_subject_out", permutations=0, **QUICK)
    made = estimate(sited, config=config, seed=0)
    assert made.interval_of == "pooled"
    assert made.headline_r == made.metrics.pearson_pooled
    assert CONDITIONAL_WARNING in made.warnings
    chosen = RegressionConfig(interval="bootstrap", permutations=0, **QUICK)
    by_choice = estimate(sited, config=chosen, seed=0)
    assert by_choice.interval == by_choice.conditional
    folds = estimate(sited, config=RegressionConfig(permutations=0, **QUICK), seed=0)
    assert folds.headline_r == folds.metrics.pearson_fold_mean
    assert folds.conditional == by_choice.conditional


class TestRefusals:
    def test_one_subject(self, make_design):
        design = make_design(n_subjects=1, n_features=2, two_visits=1)
        with pytest.raises(InputError, match="two subjects are needed"):
            estimate(design, config=RegressionConfig(), seed=0)

    def test_a_site_that_is_not_there_or_has_gaps(self, sited):
        with pytest.raises(InputError, match=r"no rating column 'sites'; near names: site"):
            estimate(sited, config=RegressionConfig(site="sites"), seed=0)
        gaps = replace(sited, covariates=sited.covariates.assign(site=None))
        with pytest.raises(InputError, match="38 of 38 visits have no value in 'site'"):
            estimate(gaps, config=RegressionConfig(site="site"), seed=0)

    def test_sites_that_can_not_be_left_out(self):
        subjects = np.array([0, 1, 2, 3, 3])
        with pytest.raises(InputError) as error:
            leave_one_site_out(subjects, sites=["a", "a", "b", "a", "c"])
        assert len(error.value.faults) == 3
        text = str(error.value)
        assert "site 'b' has one subject" in text
        assert "site 'c' has one subject" in text
        assert "1 subjects were seen at several sites" in text
        with pytest.raises(InputError, match="needs two sites, got 1"):
            leave_one_site_out(subjects, sites=["a"] * 5)

    def test_a_confound_that_is_text(self, sited):
        names = [f"note {k}" for k in range(len(sited.y))]
        noted = replace(sited, covariates=sited.covariates.assign(note=names))
        config = RegressionConfig(confounds=("note", "aeg"), remove_confounds=True)
        with pytest.raises(InputError) as error:
            estimate(noted, config=config, seed=0)
        assert "38 different texts" in error.value.faults[0]
        assert "near names: age" in error.value.faults[1]


def test_confounds_are_removed_inside_the_fold(sited):
    age = sited.covariates["age"].to_numpy()
    follows = replace(sited, y=np.round(age), X=np.column_stack([age, sited.X[:, 1:]]))
    plain = RegressionConfig(permutations=0, **QUICK)
    removing = plain.model_copy(update={"confounds": ("age",), "remove_confounds": True})
    assert estimate(follows, config=plain, seed=0).metrics.pearson_pooled > 0.9
    left = estimate(follows, config=removing, seed=0)
    assert left.metrics.pearson_pooled < 0.3
    # By hand: least squares on the training rows, taken from both sides.
    made = estimate(sited, config=removing, seed=0)
    cv = made.cross_validation
    test = cv.fold[0] == 0
    A = np.column_stack([np.ones(len(age)), age])
    root = np.sqrt(sited.weights[~test])[:, np.newaxis]
    beta = np.linalg.lstsq(A[~test] * root, sited.X[~test] * root, rcond=None)[0]
    R = sited.X - A @ beta
    w = sited.weights[~test]
    mean = np.average(R[~test], axis=0, weights=w)
    sd = np.sqrt(np.average((R[~test] - mean) ** 2, axis=0, weights=w))
    Z = (R - mean) / sd
    centre = np.average(sited.y[~test], weights=w)
    alpha = cv.chosen[0]["alpha"]
    gram = (Z[~test] * w[:, np.newaxis]).T @ Z[~test] + alpha * np.eye(3)
    slopes = np.linalg.solve(gram, (Z[~test] * w[:, np.newaxis]).T @ (sited.y[~test] - centre))
    np.testing.assert_allclose(cv.predicted[0, test], centre + Z[test] @ slopes, atol=1e-8)


def test_visits_without_the_confound_are_excluded_and_counted(sited):
    age = sited.covariates["age"].copy()
    age.iloc[:3] = np.nan
    lacking = replace(sited, covariates=sited.covariates.assign(age=age))
    config = RegressionConfig(confounds=("age",), remove_confounds=True, permutations=0, **QUICK)
    made = estimate(lacking, config=config, seed=0)
    assert len(made.design.y) == len(sited.y) - 3
    assert (made.design.excluded["stage"] == "confound").sum() == 3
    assert made.design.flow["visits"].tolist()[-2:] == [len(sited.y), len(sited.y) - 3]
    assert any("3 visits without a value in every confound" in w for w in made.warnings)
