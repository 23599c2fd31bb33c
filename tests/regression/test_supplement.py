"""What stands beside an estimate, and its sections in ``metrics.json``."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.comparison import compare_models
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.confounds import analyse_confounds
from emoclip_clinical.regression.results import metrics_record
from emoclip_clinical.regression.supplement import supplement

CONFIG = RegressionConfig(
    folds=4, repeats=2, inner_folds=3, permutations=30, bootstrap=200, compare=("pls",)
)


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
    with pytest.raises(InputError, match="'centre' has 13 different texts, 12 are the most"):
        estimate(with_sites(cohort, 13), config=config, seed=0)


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
    single = more.ceiling.rater_consistency.value
    assert more.ceiling.reliability == pytest.approx(1 / (1 + left * (1 - single) / single))


def test_a_column_that_can_not_be_used_is_named_with_its_reason(cohort):
    ages = [f"{age:.2f}" for age in cohort.covariates["age"]]
    ages[3] = "unknown"
    config = CONFIG.model_copy(update={"compare": (), "permutations": 0, "bootstrap": 0})
    lost = replace(cohort, covariates=cohort.covariates.assign(age=ages))
    more = supplement(estimate(lost, config=config, seed=0))
    assert more.covariates == ("sex", "site")
    assert {g.variable for g in more.subgroups} == {"sex", "site"}
    why = "numbers or at most 12 categories are wanted, got 48 different texts, for example"
    assert f"no covariate of the baseline: 'age': {why} 'unknown'" in more.warnings
    assert f"no subgroups of 'age': {why} 'unknown'" in more.warnings

    alone = replace(cohort, covariates=pd.DataFrame({"age": ages}))
    more = supplement(estimate(alone, config=config, seed=0))
    text = " ".join(more.warnings)
    assert "cpz_equivalent and can be used" in text
    assert "'unknown'" in text
    assert "the ratings have no column of sex, age" not in text

    named = config.model_copy(update={"confounds": ("sex",), "subgroups": ("sex",)})
    more = supplement(estimate(lost, config=named, seed=0))
    assert "unknown" not in " ".join(more.warnings)
