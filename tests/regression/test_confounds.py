"""Confounds: least squares and ridge by slow means, and cohorts in which only a confound counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pingouin
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

from emoclip_clinical.records import FeatureTable, InputError, Ratings
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.confounds import analyse_confounds
from emoclip_clinical.regression.design import Design, join
from emoclip_clinical.regression.encoding import encode_covariates
from emoclip_clinical.regression.folds import inner_folds, outer_folds
from emoclip_clinical.regression.nested_ridge import RidgeProblem, cross_fit, problem_of
from emoclip_clinical.regression.partial import partial_correlation
from emoclip_clinical.regression.quality import align_quality, analyse_quality
from emoclip_clinical.regression.removal import fit_confounds

QUICK = RegressionConfig(
    repeats=3, permutations=99, bootstrap=500, inner_folds=4, alphas=(1.0, 10.0, 100.0, 1000.0)
)


def cohort(seed: int, *, follows: str, n: int = 50, p: int = 8) -> tuple[Design, pd.DataFrame]:
    """Ratings follow age, coverage, or the face; features show age and suffer from coverage."""
    rng = np.random.default_rng(seed)
    age, lost, trait = rng.normal(size=(3, n))
    causes = {"age": age, "coverage": lost, "face": trait}
    X = rng.normal(size=(n, p)) + np.outer(age, rng.uniform(-1, 1, p))
    X += np.outer(lost, rng.uniform(-1, 1, p)) + np.outer(trait, np.r_[1.5, np.zeros(p - 1)])
    y = np.round(20 + 4 * causes[follows] + 3 * rng.normal(size=n))
    keys = pd.DataFrame(
        {"participant_id": [f"sub-{i:03d}" for i in range(n)], "session_id": ""}, dtype=object
    )
    nobody = pd.DataFrame(columns=["participant_id", "session_id", "reason"], dtype=object)
    covariates = pd.DataFrame(
        {"age": np.round(45 + 12 * age), "sex": np.where(rng.random(n) < 0.5, "f", "m")}
    )
    ratings = Ratings("score", ("score",), keys, y, None, None, nobody, covariates)
    names = [f"f{k}" for k in range(p)]
    design = join(FeatureTable(keys, pd.DataFrame(X, columns=names), nobody), ratings)
    quality = keys.assign(face_coverage=0.8 - 0.05 * lost, seconds=60.0)
    return design, quality


def folds_of(design: Design, *, repeats: int = 3) -> np.ndarray:
    return outer_folds(design.subjects, folds=5, repeats=repeats, seed=1)


def slow_both(design: Design, C: np.ndarray, fold: np.ndarray, seed: int) -> np.ndarray:
    """Least squares on confounds plus ridge on what they leave, scikit-learn fold by fold."""
    X, y, w = design.X, design.y, design.weights

    def fit_predict(train: np.ndarray, test: np.ndarray, alpha: float) -> np.ndarray:
        on_x = LinearRegression().fit(C[train], X[train], w[train])
        on_y = LinearRegression().fit(C[train], y[train], w[train])
        rest, rest_test = X[train] - on_x.predict(C[train]), X[test] - on_x.predict(C[test])
        base = on_y.predict(C[test])
        if np.isinf(alpha):
            return base
        scaler = StandardScaler().fit(rest, sample_weight=w[train])
        ridge = Ridge(alpha).fit(
            scaler.transform(rest), y[train] - on_y.predict(C[train]), sample_weight=w[train]
        )
        return base + ridge.predict(scaler.transform(rest_test))

    out = np.empty(fold.shape)
    for repeat in range(len(fold)):
        for number in range(fold[repeat].max() + 1):
            train = np.flatnonzero(fold[repeat] != number)
            test = np.flatnonzero(fold[repeat] == number)
            inner = inner_folds(
                design.subjects[train], folds=4, seed=seed, repeat=repeat, fold=number
            )
            errors = [
                np.mean(
                    [
                        np.average(
                            (fit_predict(train[inner != k], train[inner == k], a)
                             - y[train[inner == k]]) ** 2,
                            weights=w[train[inner == k]],
                        )
                        for k in range(4)
                    ]
                )
                for a in (*QUICK.alphas, np.inf)
            ]  # fmt: skip
            best = (*QUICK.alphas, np.inf)[int(np.argmin(errors))]
            out[repeat, test] = fit_predict(train, test, best)
    return out


def test_confounds_and_features_equal_scikit_learn(make_design) -> None:
    design = make_design(n_subjects=25, n_features=6, two_visits=8, effect=1.0)
    C = np.random.default_rng(0).normal(size=(len(design.y), 2)) + design.y[:, np.newaxis] / 5
    fold = folds_of(design, repeats=2)
    problem = problem_of(design, confounds=C)
    made = cross_fit(
        design.y[:, np.newaxis], problem=problem, role="both", fold=fold, config=QUICK, seed=3
    )
    wanted = slow_both(design, C, fold, 3)
    np.testing.assert_allclose(made.predicted[:, :, 0], wanted, atol=1e-8)


def test_features_alone_repeat_the_estimate(make_design) -> None:
    design = make_design(n_subjects=25, n_features=6, two_visits=8, effect=1.0)
    whole = estimate(design, config=replace_config(permutations=0), seed=3)
    fold = whole.cross_validation.fold
    Y = np.column_stack([design.y, design.y[::-1]])
    made = cross_fit(
        Y, problem=problem_of(design), role="features", fold=fold, config=QUICK, seed=3
    )
    np.testing.assert_allclose(
        made.predicted[:, :, 0], whole.cross_validation.predicted, atol=1e-10
    )
    assert made.chosen == whole.cross_validation.chosen


def replace_config(**changes: object) -> RegressionConfig:
    return QUICK.model_copy(update=changes)


def test_gaps_become_the_median_of_the_training_rows() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 1))
    X[4, 1] = X[9, 1] = np.nan
    fold = outer_folds(np.arange(30), folds=5, repeats=1, seed=0)
    none = np.empty((30, 0))
    config = replace_config(alphas=(10.0,))
    made = cross_fit(
        y, problem=RidgeProblem(X, none, np.arange(30), np.ones(30)), role="features", fold=fold,
        config=config, seed=0,
    ).predicted[0, :, 0]  # fmt: skip
    for number in range(5):
        train, test = fold[0] != number, fold[0] == number
        full = np.where(np.isnan(X), np.nanmedian(X[train], axis=0), X)
        scaler = StandardScaler().fit(full[train])
        plain = Ridge(10.0).fit(scaler.transform(full[train]), y[train, 0])
        wanted = plain.predict(scaler.transform(full[test]))
        np.testing.assert_allclose(made[test], wanted, atol=1e-10)


def test_a_feature_that_is_a_confound_adds_nothing() -> None:
    rng = np.random.default_rng(0)
    C = rng.normal(size=(40, 1))
    y = (3 * C[:, 0] + rng.normal(size=40))[:, np.newaxis]
    problem = RidgeProblem(
        X=np.column_stack([5 + 2 * C, C]), confounds=C, subjects=np.arange(40), weights=np.ones(40)
    )
    fold = outer_folds(problem.subjects, folds=5, repeats=1, seed=0)
    both, alone = (
        cross_fit(y, problem=problem, role=role, fold=fold, config=QUICK, seed=0).predicted
        for role in ("both", "confounds")
    )
    np.testing.assert_allclose(both, alone, atol=1e-12)
    gone = cross_fit(y, problem=problem, role="residualised", fold=fold, config=QUICK, seed=0)
    for number in range(5):
        test = fold[0] == number
        np.testing.assert_allclose(gone.predicted[0, test, 0], y[~test].mean(), atol=1e-12)


def test_ratings_that_follow_age_are_laid_to_age() -> None:
    design, _ = cohort(1, follows="age")
    made = analyse_confounds(
        design, names=["age", "sex"], fold=folds_of(design), config=QUICK, seed=1
    )
    assert made.columns == ("age", "sex=f", "sex=m")
    assert made.confounds_r > 0.5
    assert made.confounds_p == 0.01
    assert made.gain.interval.low <= 0 <= made.gain.interval.high
    # Two columns for so few would make it too small.
    assert made.gain_p is None
    assert any("no permutation p of the gain: 2 columns" in w for w in made.warnings)
    alone = analyse_confounds(design, names=["age"], fold=folds_of(design), config=QUICK, seed=1)
    assert alone.gain_p > 0.05
    video, without = (
        np.corrcoef(design.y, cv.predicted[0])[0, 1] for cv in (made.video, made.residualised)
    )
    assert video > without + 0.2


def test_what_only_the_face_shows_is_a_gain() -> None:
    design, quality = cohort(2, follows="face")
    made = analyse_confounds(design, names=["age"], fold=folds_of(design), config=QUICK, seed=1)
    assert made.skill_gain.interval.low > 0
    assert made.gain_p == 0.01
    assert made.partial_r > 0.4
    alone = analyse_quality(design, quality=quality, fold=folds_of(design), config=QUICK, seed=1)
    assert alone is not None
    assert alone.confounds_p > 0.05


def test_ratings_that_follow_coverage_are_laid_to_quality() -> None:
    design, quality = cohort(3, follows="coverage")
    made = analyse_quality(design, quality=quality, fold=folds_of(design), config=QUICK, seed=1)
    assert made is not None
    assert made.names == ("face_coverage",)
    assert made.confounds_p == 0.01
    assert made.gain.interval.low <= 0 <= made.gain.interval.high


@pytest.mark.slow
@pytest.mark.parametrize("follows", ["age", "coverage"])
def test_gain_is_rarely_claimed_where_there_is_none(follows: str) -> None:
    config = replace_config(permutations=0)
    inside = found = 0
    for seed in range(25):
        design, quality = cohort(100 + seed, follows=follows)
        if follows == "age":
            made = analyse_confounds(
                design, names=["age"], fold=folds_of(design), config=config, seed=seed
            )
        else:
            made = analyse_quality(
                design, quality=quality, fold=folds_of(design), config=config, seed=seed
            )
        inside += made.gain.interval.low <= 0 <= made.gain.interval.high
        found += made.confounds_interval.low > 0
    # Fewer than 20 of 25 at a true level of 0.95 have a chance below 1 %.
    assert inside >= 20
    assert found == 25


def test_missing_confounds_leave_their_visits_out() -> None:
    design, _ = cohort(4, follows="age")
    covariates = design.covariates.copy()
    covariates.loc[[0, 7], "age"] = np.nan
    design = replace(design, covariates=covariates)
    made = analyse_confounds(design, names=["age"], fold=folds_of(design), config=QUICK, seed=1)
    assert made.n_left_out == 2
    assert len(made.combined.observed) == len(made.video.observed) == 48
    assert "2 of 50 visits lack a value" in made.warnings[0]


def test_every_fault_of_the_covariates_is_listed() -> None:
    table = pd.DataFrame(
        {
            "age": [30.0, 40, 50],
            "agee": [f"{k} years" for k in range(3)],
            "same": ["x"] * 3,
            "score": [1.0, 2, 3],
        }
    )
    table = pd.concat([table] * 5, ignore_index=True)
    table["notes"] = [f"text {k}" for k in range(15)]
    with pytest.raises(InputError) as caught:
        encode_covariates(
            table, names=["ages", "same", "score", "notes", "age"], forbidden=["score"]
        )
    assert len(caught.value.faults) == 4
    assert "near names: age" in str(caught.value)
    assert "it is the target" in str(caught.value)
    assert "15 different texts, for example 'text 0'" in str(caught.value)


def test_categories_become_an_indicator_a_level() -> None:
    table = pd.DataFrame({"site": ["b", "a", None, "c"], "age": [1.0, 2, 3, 4]})
    made = encode_covariates(table, names=["site", "age"])
    assert made.columns == ("site=a", "site=b", "site=c", "age")
    assert made.n_free == 3
    np.testing.assert_array_equal(made.complete, [True, True, False, True])
    wanted = [[0, 1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 4]]
    np.testing.assert_array_equal(made.values[[0, 1, 3]], wanted)


def test_numbers_of_sites_are_categories() -> None:
    table = pd.DataFrame({"site": [2.0, 1, 3] * 4, "ward": [1.0, 2, 4] * 4, "age": np.arange(12.0)})
    made = encode_covariates(table, names=["site", "ward", "age"], categories=["site"])
    assert made.columns == ("site=1", "site=2", "site=3", "ward", "age")
    assert made.n_free == 4
    (warning,) = made.warnings
    assert warning.startswith("covariate 'ward' has 3 different whole numbers")


def test_numbers_with_a_few_texts_are_refused() -> None:
    table = pd.DataFrame({"dose": ["0", "100", "unk", "200", "?", "100"]})
    with pytest.raises(InputError, match=r"but not '\?', 'unk'; leave cells"):
        encode_covariates(table, names=["dose"])


@pytest.mark.parametrize("names", ["abcd", "dcba", "bdac"])
def test_a_level_that_training_does_not_hold_is_given_the_mean_over_levels(names: str) -> None:
    rng = np.random.default_rng(0)
    site, age = np.repeat(np.arange(4), [12, 9, 7, 5]), rng.normal(size=33)
    y = np.array([3.0, 8.0, 4.0, 20.0])[site] + 2 * age + rng.normal(size=33)
    table = pd.DataFrame({"site": [names[s] for s in site], "age": age})
    values = encode_covariates(table, names=["site", "age"]).values
    train, test = site != 3, site == 3
    fit = fit_confounds(values[train], weight=np.ones(train.sum()))
    # By hand: least squares with a column a site and no intercept, then the mean over the sites.
    columns = np.column_stack([site[train, None] == np.arange(3), age[train]])
    *effects, slope = np.linalg.lstsq(columns, y[train], rcond=None)[0]
    wanted = np.mean(effects) + slope * age[test]
    np.testing.assert_allclose(fit.hat_for(values[test]) @ y[train], wanted, atol=1e-9)
    by_site = np.array(effects)[site[train]] + slope * age[train]
    np.testing.assert_allclose(fit.hat @ y[train], by_site, atol=1e-9)


def with_sites(seed: int) -> tuple[Design, tuple[str, ...]]:
    """Ratings and brightness differ between four sites, and nothing else tells anything."""
    rng = np.random.default_rng(seed)
    design, _ = cohort(seed, follows="face", n=60)
    site = rng.permutation(np.repeat(np.arange(4), 15))
    y = np.round(20 + 6 * site + rng.normal(size=60))
    covariates = pd.DataFrame({"bright": 5 * site + rng.normal(size=60), "site": site + 1.0})
    return replace(design, y=y, covariates=covariates), tuple(map(str, site.tolist()))


def test_what_works_through_the_site_is_found_where_ratings_stay_within_sites() -> None:
    design, sites = with_sites(0)
    made = analyse_confounds(
        design, names=["bright"], fold=folds_of(design), config=QUICK, seed=1, strata=sites
    )
    assert made.confounds_r > 0.7
    assert made.confounds_p == 0.01
    assert made.gain_p > 0.05


def test_sites_as_numbers_are_removed_whole() -> None:
    design, _ = with_sites(1)
    design = replace(design, X=design.X + 3 * np.outer(np.tile([1.0, 0], 30), np.ones(8)))
    coded = design.covariates.assign(site=[2.0, 4.0, 1.0, 3.0] * 15)
    y = np.round(20 + 10 * (coded["site"] == 2) + np.random.default_rng(0).normal(size=60))
    design = replace(design, covariates=coded, y=y.to_numpy())
    made = analyse_confounds(design, names=["site"], fold=folds_of(design), config=QUICK, seed=1)
    named = replace(design, covariates=coded.assign(site=[f"s{v:g}" for v in coded["site"]]))
    again = analyse_confounds(named, names=["site"], fold=folds_of(design), config=QUICK, seed=1)
    assert made.confounds_r == pytest.approx(again.confounds_r)
    assert made.confounds_r > 0.8


def test_one_repeat_gives_no_interval_of_the_gain() -> None:
    design, _ = cohort(1, follows="age")
    fold = folds_of(design, repeats=1)
    made = analyse_confounds(design, names=["age"], fold=fold, config=QUICK, seed=1)
    assert (made.gain.interval.low, made.skill_gain.interval.low) == (None, None)
    assert made.gain.value is not None
    assert any("one repeat does not show" in w for w in made.warnings)


def test_a_gain_from_below_zero_has_no_interval() -> None:
    design, _ = cohort(2, follows="face")
    noise = pd.DataFrame({"noise": np.random.default_rng(4).normal(size=50)})
    design = replace(design, covariates=noise)
    made = analyse_confounds(design, names=["noise"], fold=folds_of(design), config=QUICK, seed=1)
    assert made.confounds_r < 0
    assert (made.gain.value, made.gain.interval.low) == (None, None)
    assert made.gain_p == 0.01
    assert made.skill_gain.interval.low is not None
    assert any("read the gain in skill" in w for w in made.warnings)


def test_confounds_of_too_few_are_refused_before_the_long_work() -> None:
    design, _ = cohort(4, follows="age")
    few = design.covariates["age"].where(np.arange(50) < 5)
    design = replace(design, covariates=design.covariates.assign(age=few, site=["a", "b"] * 25))
    told: list[str] = []
    config = QUICK.model_copy(update={"confounds": ("age",)})
    with pytest.raises(InputError, match="confounds age: only 5 of 50 subjects have a value"):
        estimate(design, config=config, seed=0, progress=lambda *step: told.append(step[0]))
    known = np.where(design.covariates["site"] == "a", np.arange(50.0), np.nan)
    design = replace(design, covariates=design.covariates.assign(age=known))
    left_out = config.model_copy(update={"cv": "leave_one_site_out", "site": "site"})
    with pytest.raises(InputError, match="0 of them in the smallest training set"):
        estimate(design, config=left_out, seed=0, progress=lambda *step: told.append(step[0]))
    assert told == []


def test_the_site_is_no_confound_where_sites_are_left_out() -> None:
    design, _ = with_sites(2)
    config = QUICK.model_copy(
        update={"cv": "leave_one_site_out", "site": "site", "confounds": ("site",)}
    )
    with pytest.raises(InputError, match="'site' can not be a confound with leave_one_site_out"):
        estimate(design, config=config, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_partial_correlation_equals_pingouin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = rng.normal(size=(30, 2))
    x, y = rng.normal(size=(2, 30)) + given.sum(axis=1)
    frame = pd.DataFrame({"x": x, "y": y, "a": given[:, 0], "b": given[:, 1]})
    wanted = pingouin.partial_corr(frame, x="x", y="y", covar=["a", "b"])["r"].item()
    assert partial_correlation(x, y, given=given) == pytest.approx(wanted, abs=1e-10)


def test_partial_correlation_of_what_is_explained_is_not_defined() -> None:
    given = np.random.default_rng(0).normal(size=(30, 1))
    x = np.random.default_rng(1).normal(size=30)
    assert partial_correlation(x, 3 * given[:, 0] + 1, given=given) is None
    assert partial_correlation(np.ones(30), x, given=given) is None
    assert partial_correlation(x[:3], x[:3], given=given[:3]) is None


def test_quality_is_averaged_over_recordings_and_matched_by_visit() -> None:
    design, _ = cohort(5, follows="age", n=12)
    quality = pd.DataFrame(
        {
            "participant_id": ["sub-000", "sub-000", "sub-001"],
            "seconds": [10.0, 30.0, 50.0],
            "status": "ok",
        }
    )
    aligned = align_quality(design, quality)
    assert aligned["seconds"].tolist()[:2] == [20.0, 50.0]
    assert aligned["seconds"].isna().sum() == 10
    with pytest.raises(InputError, match="no visit of the analysis"):
        align_quality(design, quality.assign(participant_id="sub-999"))
    with pytest.raises(InputError, match="none of seconds"):
        align_quality(design, quality[["participant_id", "status"]])
    steady = design.keys.assign(seconds=60.0)
    assert (
        analyse_quality(design, quality=steady, fold=folds_of(design), config=QUICK, seed=0) is None
    )
