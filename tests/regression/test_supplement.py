"""What stands beside an estimate, and its sections in ``metrics.json``."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.agreement import intraclass_correlations
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.comparison import compare_models
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.confounds import analyse_confounds
from emoclip_clinical.regression.design import join
from emoclip_clinical.regression.features import read_features
from emoclip_clinical.regression.ratings import read_ratings
from emoclip_clinical.regression.results import metrics_record
from emoclip_clinical.regression.scoring import RatingRules
from emoclip_clinical.regression.supplement import supplement

CONFIG = RegressionConfig(
    folds=4, repeats=2, inner_folds=3, permutations=30, bootstrap=200, compare=("pls",)
)
PLAIN = RegressionConfig(folds=4, repeats=1, inner_folds=3, permutations=0, bootstrap=0)


@pytest.fixture
def cohort(make_design):
    design = make_design(n_subjects=40, n_features=3, two_visits=8, effect=2.0)
    rng = np.random.default_rng(0)
    n = len(design.y)
    table = pd.DataFrame(
        {
            "age": rng.normal(40, 10, n),
            "sex": np.where(design.subjects % 2, "f", "m"),
            "site": [f"site{s % 3}" for s in design.subjects],
        }
    )
    raters = pd.concat(
        [
            design.keys.assign(rater_id=name, value=design.y + rng.normal(0, 2, n))
            for name in ("a", "b")
        ],
        ignore_index=True,
    )
    return replace(design, covariates=table, per_rater=raters)


@pytest.fixture
def quality(cohort):
    rng = np.random.default_rng(1)
    return cohort.keys.assign(face_coverage=rng.uniform(0.5, 1, len(cohort.y)), n_faces=1)


def test_every_section_is_there_and_is_plain_json(cohort, quality):
    made = estimate(cohort, config=CONFIG, seed=0)
    more = supplement(made, quality=quality)
    record = json.loads(json.dumps(metrics_record(made, more), allow_nan=False))
    assert [m["name"] for m in record["models"]] == [
        "ridge", "pls", "dummy", "covariates_only", "covariates_and_video", "quality_only",
        "quality_and_video",
    ]  # fmt: skip
    by_name = {m["name"]: m for m in record["models"]}
    assert by_name["dummy"]["mae"] == record["baseline"]["mae"]
    assert by_name["dummy"]["pearson_pooled"] is None
    assert by_name["ridge"]["pearson_pooled"] == record["pearson_r"]["pooled"]
    comparison = compare_models(
        made.cross_validation, made.compared["pls"], resamples=200, confidence=0.95, seed=0
    )
    assert by_name["pls"]["r_less_main"]["ci_low"] == comparison.r.interval.low
    assert by_name["pls"]["p_corrected_t"] == comparison.corrected_t.p
    alone = analyse_confounds(
        cohort,
        names=["age", "sex", "site"],
        fold=made.cross_validation.fold,
        config=CONFIG,
        seed=0,
    )
    assert record["confounds"]["alone"]["p_permutation"] == alone.confounds_p
    assert record["confounds"]["gain_r"]["ci_low"] == alone.gain.interval.low
    assert record["quality_alone"]["names"] == ["face_coverage"]
    assert record["human_ceiling"]["n_raters"] == 2
    assert record["repeated_visits"]["n_repeated"] == 8
    assert {g["variable"] for g in record["subgroups"]} == {"age", "sex", "site"}
    assert {e["excluded"] for e in record["sensitivity"] if e["kind"] == "site"} == {
        "site0", "site1", "site2",
    }  # fmt: skip
    assert record["audit"]["shared_subjects"] == 0
    assert record["importance"][0]["group"] == "f0"
    assert record["intervals"]["mae"]["low"] < record["mae"] < record["intervals"]["mae"]["high"]


def test_what_is_not_there_is_said(make_design):
    design = make_design(n_subjects=24, n_features=2)
    made = estimate(design, config=CONFIG.model_copy(update={"permutations": 0}), seed=0)
    more = supplement(made)
    record = metrics_record(made, more)
    for key in ("confounds", "quality_alone", "repeated_visits", "human_ceiling", "kappa"):
        assert record[key] is None
    text = " ".join(record["warnings"])
    for reason in (
        "no permutation p: no permutations were asked for",
        "no baseline of covariates",
        "recording quality alone",
        "no subgroups",
    ):
        assert reason in text
    constant = supplement(made, quality=design.keys.assign(n_faces=1))
    assert "recording quality does not vary" in " ".join(constant.warnings)


def test_named_columns_must_be_usable(cohort):
    """And a mistake in a name is told before the long work."""
    told = []
    for wrong in ({"confounds": ("agee",)}, {"subgroups": ("sax",)}):
        config = CONFIG.model_copy(update=wrong)
        with pytest.raises(InputError, match=r"near names: age|no rating column 'sax'"):
            estimate(cohort, config=config, seed=0, progress=lambda *state: told.append(state))
    assert not told


def with_sites(cohort, n_sites):
    return replace(
        cohort,
        covariates=cohort.covariates.assign(centre=[f"c{s % n_sites}" for s in cohort.subjects]),
    )


def test_many_sites_make_no_subgroups_and_no_refusal(cohort):
    config = CONFIG.model_copy(update={"site": "centre", "compare": ()})
    more = supplement(estimate(with_sites(cohort, 13), config=config, seed=0))
    assert "no subgroups of 'centre': more than 12 sites" in more.warnings
    assert {g.variable for g in more.subgroups} == {"age", "sex", "site"}


def test_subgroups_of_too_many_texts_are_refused_before_the_long_work(cohort):
    config = CONFIG.model_copy(update={"subgroups": ("centre",)})
    with pytest.raises(InputError, match="'centre' has 13 different categories, 12 are"):
        estimate(with_sites(cohort, 13), config=config, seed=0)


def of_sites(cohort, sites, **settings):
    """Return the supplement of a cohort with other sites."""
    other = replace(cohort, covariates=cohort.covariates.assign(site=sites))
    return supplement(estimate(other, config=PLAIN.model_copy(update=settings), seed=0))


@pytest.mark.parametrize("n_sites", [4, 15])
def test_numbers_of_sites_are_used_as_their_names_are(cohort, n_sites):
    numbers = cohort.subjects % n_sites + 1.0
    made = of_sites(cohort, numbers)
    wanted = of_sites(cohort, [f"{n:g}" for n in numbers])
    assert made.covariates == wanted.covariates
    assert ("site" in made.covariates) == (n_sites == 4)
    np.testing.assert_allclose(
        made.confounds.combined.predicted, wanted.confounds.combined.predicted
    )
    assert [(g.variable, g.level) for g in made.subgroups] == [
        (g.variable, g.level) for g in wanted.subgroups
    ]


def test_more_sites_than_categories_leave_the_other_covariates(cohort):
    more = of_sites(cohort, cohort.subjects % 15 + 1.0)
    assert more.covariates == ("age", "sex")
    assert {g.variable for g in more.subgroups} == {"age", "sex"}
    why = "'site': at most 12 categories are wanted, got 15 different texts, for example '1'"
    assert f"no covariate of the baseline: {why}" in more.warnings
    assert f"no subgroups of {why}" in more.warnings


def test_subgroups_of_too_many_numbered_sites_are_refused(cohort):
    with pytest.raises(InputError, match="'site' has 15 different categories, 12 are the most"):
        of_sites(cohort, cohort.subjects % 15 + 1.0, subgroups=("site",))


def test_a_covariate_of_too_few_subjects_leaves_the_others(cohort):
    rare = np.where(cohort.subjects < 3, cohort.subjects, np.nan)
    other = replace(cohort, covariates=cohort.covariates.assign(medication=rare))
    more = supplement(estimate(other, config=PLAIN, seed=0))
    assert more.covariates == ("age", "sex", "site")
    start = "no covariate of the baseline: 'medication': only 3 of"
    assert any(w.startswith(start) for w in more.warnings)


def test_folds_of_one_subject_have_no_importance(cohort):
    config = CONFIG.model_copy(update={"cv": "leave_one_subject_out", "compare": ()})
    more = supplement(estimate(cohort, config=config, seed=0))
    assert more.importance == ()
    assert any(w.startswith("no permutation importance: a fold of one") for w in more.warnings)


def test_comparisons_are_made_on_folds_that_do_not_follow_the_ratings(cohort):
    plain, balanced = (
        CONFIG.model_copy(update={"cv": cv, "compare": ()})
        for cv in ("repeated_kfold", "balanced_kfold")
    )
    wanted = supplement(estimate(cohort, config=plain, seed=0))
    made = supplement(estimate(cohort, config=balanced, seed=0))
    np.testing.assert_array_equal(
        made.confounds.combined.predicted, wanted.confounds.combined.predicted
    )
    assert "are compared on random folds" in made.warnings[0]


def test_raters_as_rows_are_no_visits(make_design):
    design = make_design(n_subjects=30, n_features=3, two_visits=0, effect=2.0)
    twice = np.repeat(np.arange(30), 2)
    raters = replace(
        design,
        keys=design.keys.iloc[twice].reset_index(drop=True),
        X=design.X[twice],
        y=design.y[twice] + np.tile([0.0, -4.0], 30),
        subjects=design.subjects[twice],
        weights=design.weights[twice] / 2,
        covariates=design.covariates.iloc[twice].reset_index(drop=True),
        rater_ids=("a", "b") * 30,
    )
    made = estimate(raters, config=CONFIG.model_copy(update={"compare": ()}), seed=0)
    more = supplement(made)
    assert more.visits is None
    assert metrics_record(made, more)["n_interviews"] == 30


def test_a_second_rater_of_some_visits_alone_is_no_mean_of_two(cohort):
    rows = (cohort.per_rater["rater_id"] == "a") | (np.arange(len(cohort.per_rater)) % 2 == 0)
    some = replace(cohort, per_rater=cohort.per_rater[rows].reset_index(drop=True))
    more = supplement(estimate(some, config=CONFIG.model_copy(update={"compare": ()}), seed=0))
    count = some.per_rater.groupby(["participant_id", "session_id"], sort=False).size()
    keys = pd.MultiIndex.from_frame(cohort.keys[["participant_id", "session_id"]])
    left = np.average(1 / count.loc[keys], weights=cohort.weights)
    assert more.ceiling.ratings_averaged == pytest.approx(1 / left)
    wide = some.per_rater.pivot(index=["participant_id", "session_id"], columns="rater_id")
    both = wide.loc[keys].to_numpy()
    complete = ~np.isnan(both).any(axis=1)
    a, b = both[complete].T
    moments = np.cov(a, b, aweights=cohort.weights[complete], bias=True)
    level = np.average(b - a, weights=cohort.weights[complete])
    of_b = np.where(complete, 0.5, 0.0)
    spread = np.cov(of_b, aweights=cohort.weights, bias=True) * level**2
    noise = np.trace(moments) / 2 - moments[0, 1]
    wanted = moments[0, 1] / (moments[0, 1] + left * noise + spread)
    assert more.ceiling.reliability == pytest.approx(wanted)


def read_with_raters(tmp_path, values, features, *, target, rule):
    """Read a study of one visit each whose raters are the columns of `values`."""
    ids = [f"s{i:03d}" for i in range(len(values))]
    table = pd.DataFrame(features, columns=[f"x{k}" for k in range(features.shape[1])])
    table.insert(0, "participant_id", ids)
    table.to_csv(tmp_path / "features.csv", index=False)
    rows = [
        (who, f"r{k}", v) for who, of_visit in zip(ids, values, strict=True)
        for k, v in enumerate(of_visit) if not np.isnan(v)
    ]  # fmt: skip
    names = ["participant_id", "rater_id", target.rpartition(".")[2]]
    pd.DataFrame(rows, columns=names).to_csv(tmp_path / "ratings.csv", index=False)
    rated = read_ratings(tmp_path / "ratings.csv", target=target, rules=RatingRules(raters=rule))
    config = RegressionConfig(
        targets=(target,), raters=rule, folds=4, repeats=1, inner_folds=3, permutations=0,
        bootstrap=100,
    )  # fmt: skip
    made = estimate(join(read_features(tmp_path / "features.csv"), rated), config=config, seed=0)
    return made, supplement(made)


@pytest.mark.parametrize("rule", ["mean", "first", "repeated"])
def test_raters_agree_under_every_rule(tmp_path, rule):
    rng = np.random.default_rng(3)
    trait = rng.normal(size=40)
    values = 25 + 5 * trait[:, np.newaxis] + rng.normal(size=(40, 2)) * 2 + [0, 3]
    features = trait[:, np.newaxis] + rng.normal(size=(40, 4))
    made, more = read_with_raters(tmp_path, values, features, target="score", rule=rule)
    absolute, consistency = intraclass_correlations(values)
    assert metrics_record(made, more)["settings"]["several_raters"] is True
    found = more.ceiling
    assert found.rater_absolute.value == pytest.approx(absolute.value)
    assert found.rater_consistency.value == pytest.approx(consistency.value)
    assert (found.n_subjects, found.n_visits, found.n_raters) == (40, 40, 2)
    assert found.ratings_averaged == pytest.approx(2 if rule == "mean" else 1)
    moments = np.cov(values.T, bias=True)
    shared, variance = moments[0, 1], np.trace(moments) / 2
    levels = np.var(values.mean(axis=0))
    wanted = {
        "mean": shared / ((shared + variance) / 2),
        "first": shared / variance,
        "repeated": shared / (variance + levels),
    }[rule]
    assert found.reliability == pytest.approx(wanted)
    assert found.r == pytest.approx(made.metrics.pearson_pooled)
    assert found.corrected_r == pytest.approx(found.r / np.sqrt(wanted))


def test_a_group_hidden_beside_a_small_one_is_told(cohort):
    sex = np.where(cohort.subjects < 8, "m", "f")
    config = CONFIG.model_copy(update={"compare": (), "permutations": 0, "bootstrap": 0})
    few = replace(cohort, covariates=pd.DataFrame({"sex": sex}))
    made = estimate(few, config=config, seed=0)
    more = supplement(made)
    groups = metrics_record(made, more)["subgroups"]
    assert [(g["level"], g["n_subjects"], g["mae"]) for g in groups] == [
        ("f", None, None), ("m", None, None),
    ]  # fmt: skip
    assert any(w.startswith("subgroup 'f' of 'sex' is hidden, so that") for w in more.warnings)


def test_what_can_not_be_said_of_raters_has_its_reason(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 3))
    item = np.clip(np.round(4 + features[:, :1] + 0.5 * rng.normal(size=(40, 2))), 1, 7)
    more = read_with_raters(tmp_path, item, features, target="panss.N1", rule="mean")[1]
    between = int((item.sum(axis=1) % 2 == 1).sum())
    assert more.kappa is None
    assert f"{between} of 40 ratings lie between them, as means of several" in " ".join(
        more.warnings
    )
    once = np.where(np.arange(40)[:, np.newaxis] % 2 == [0, 1], item, np.nan)
    more = read_with_raters(tmp_path, once, features, target="panss.N1", rule="repeated")[1]
    assert more.ceiling is None
    assert "no human ceiling: too few subjects were rated by the same two raters" in more.warnings
    assert more.kappa is not None
    made, more = read_with_raters(tmp_path, item[:, :1], features, target="panss.N1", rule="mean")
    assert metrics_record(made, more)["settings"]["several_raters"] is False
    assert "no human ceiling: the visits of the analysis have one rater only" in more.warnings


def test_a_column_that_can_not_be_used_is_named_with_its_reason(cohort):
    ages = [f"{age:.2f}" for age in cohort.covariates["age"]]
    ages[3] = "unknown"
    config = CONFIG.model_copy(update={"compare": (), "permutations": 0, "bootstrap": 0})
    lost = replace(cohort, covariates=cohort.covariates.assign(age=ages))
    more = supplement(estimate(lost, config=config, seed=0))
    assert more.covariates == ("sex", "site")
    assert {g.variable for g in more.subgroups} == {"sex", "site"}
    why = "most of its values are numbers, but not 'unknown'; leave cells empty where nothing is"
    assert f"no covariate of the baseline: 'age': {why} known" in more.warnings
    assert f"no subgroups of 'age': {why} known" in more.warnings

    alone = replace(cohort, covariates=pd.DataFrame({"age": ages}))
    more = supplement(estimate(alone, config=config, seed=0))
    text = " ".join(more.warnings)
    assert "cpz_equivalent and can be used" in text
    assert "'unknown'" in text
    assert "the ratings have no column of sex, age" not in text

    named = config.model_copy(update={"confounds": ("sex",), "subgroups": ("sex",)})
    more = supplement(estimate(lost, config=named, seed=0))
    assert "unknown" not in " ".join(more.warnings)
