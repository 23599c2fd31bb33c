"""Raters, missing items, change, side-cars, and many faults at once."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import FeatureTable, InputError
from emoclip_clinical.regression.agreement import intraclass_correlations
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.change import percent_change
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import join
from emoclip_clinical.regression.keyed import LARGEST_NUMBER
from emoclip_clinical.regression.ratings import read_ratings, validate_ratings
from emoclip_clinical.regression.results import metrics_record
from emoclip_clinical.regression.scoring import RatingRules, score_rows
from emoclip_clinical.regression.supplement import supplement
from emoclip_clinical.regression.targets import resolve_target

ITEMS = [f"N{k}" for k in range(1, 8)]


def save(frame, tmp_path, name="ratings.csv"):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True, parents=True)
    frame.to_csv(path, index=False, na_rep="n/a", sep="\t" if name.endswith("tsv") else ",")
    return path


def items(*sums_of_seven):
    return pd.DataFrame([dict(zip(ITEMS, row, strict=True)) for row in sums_of_seven])


def refused(path, target="negative_symptoms", **options):
    with pytest.raises(InputError) as caught:
        read_ratings(path, target=target, **options)
    return list(caught.value.faults)


@pytest.fixture
def two_raters():
    """Three visits: two raters, two raters of whom one left out N2, one rater."""
    frame = items([2] * 7, [4] * 7, [3] * 7, [1] * 7, [5] * 7)
    frame.insert(0, "participant_id", ["b", "b", "a", "a", "c"])
    frame.insert(1, "rater_id", ["zoe", "amy", "zoe", "amy", "zoe"])
    frame = frame.astype(object)
    frame.loc[3, "N2"] = None
    frame["age"] = [30, 30, 40, 40, 50]
    return frame


def test_the_mean_over_raters_is_of_those_with_a_complete_rating(two_raters, tmp_path):
    ratings = read_ratings(save(two_raters, tmp_path), target="negative_symptoms")
    assert ratings.keys["participant_id"].tolist() == ["sub-a", "sub-b", "sub-c"]
    assert ratings.values.tolist() == [21, (14 + 28) / 2, 35]
    assert ratings.covariates["age"].tolist() == [40, 30, 50]
    assert ratings.covariates["N1"].tolist() == [3, 3, 5]
    assert ratings.per_rater.to_numpy().tolist() == [
        ["sub-a", "", "zoe", 21],
        ["sub-b", "", "zoe", 14],
        ["sub-b", "", "amy", 28],
        ["sub-c", "", "zoe", 35],
    ]
    assert ratings.excluded.empty
    assert ratings.warnings == (
        "1 visit was rated by several raters: their mean is the rating; not every visit has the "
        "same number of raters",
    )


def test_first_and_repeated_raters(two_raters, tmp_path):
    path = save(two_raters, tmp_path)
    first = read_ratings(path, target="N1", rules=RatingRules(raters="first"))
    assert first.values.tolist() == [3, 2, 5]
    every = read_ratings(path, target="N1", rules=RatingRules(raters="repeated"))
    assert every.values.tolist() == [3, 1, 2, 4, 5]
    assert every.rater_ids == ("zoe", "amy", "zoe", "amy", "zoe")
    chosen = read_ratings(path, target="N1", where={"rater_id": "amy"})
    assert chosen.values.tolist() == [1, 4]
    # The visit whose only rater was not selected is out, the others are not.
    assert chosen.excluded["participant_id"].tolist() == ["sub-c"]


def test_repeated_raters_share_a_visits_features_and_its_weight(two_raters, tmp_path):
    rules = RatingRules(raters="repeated")
    ratings = read_ratings(save(two_raters, tmp_path), target="N1", rules=rules)
    keys = pd.DataFrame(
        {"participant_id": ["sub-c", "sub-b", "sub-a"], "session_id": ""}, dtype=object
    )
    features = FeatureTable(keys, pd.DataFrame({"f": [3.0, 2.0, 1.0]}), ratings.excluded)
    design = join(features, ratings)
    assert design.X[:, 0].tolist() == [1, 1, 2, 2, 3]
    assert design.y.tolist() == [3, 1, 2, 4, 5]
    assert design.weights.tolist() == [0.5, 0.5, 0.5, 0.5, 1]
    assert design.rater_ids == ("zoe", "amy", "zoe", "amy", "zoe")
    assert design.flow["visits"].tolist() == [3] * 6
    assert len(design.per_rater) == 5


def test_a_rater_who_stands_twice_or_has_no_name(two_raters, tmp_path):
    two_raters.loc[1, "rater_id"] = "zoe"
    two_raters.loc[4, "rater_id"] = None
    assert refused(save(two_raters, tmp_path)) == [
        "rater_id is empty (row 6 of ratings.csv)",
        "participant 'b', rater 'zoe' stands 2 times in ratings.csv (rows 2 and 3)",
    ]


def test_the_largest_number_let_through_can_be_reckoned_with(tmp_path):
    """Every measure of agreement of ratings and covariates of that size is a finite number."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"participant_id": [f"s{i:02d}" for i in range(40)]})
    frame["age"] = LARGEST_NUMBER * rng.uniform(-1, 1, 40)
    frame["score"] = LARGEST_NUMBER * rng.uniform(-1, 1, 40)
    ratings = read_ratings(save(frame, tmp_path), target="score")
    features = FeatureTable(
        ratings.keys,
        pd.DataFrame({"x": rng.normal(size=40) + ratings.values / LARGEST_NUMBER}),
        ratings.excluded,
    )
    config = RegressionConfig(
        targets=("score",), folds=4, inner_folds=3, repeats=1, permutations=0, bootstrap=100
    )
    made = estimate(join(features, ratings), config=config, seed=0)
    more = supplement(made)
    assert more.covariates == ("age",)
    json.dumps(metrics_record(made, more), allow_nan=False)
    both = ratings.values[:, np.newaxis] * [1.0, 0.9]
    for found in intraclass_correlations(both):
        assert np.isfinite([found.value, found.low, found.high]).all()


def test_prorated_sums_are_the_person_mean_times_k_and_are_flagged(tmp_path):
    frame = items([2, 3, 4, 5, 6, 7, 1], [2, 3, 4, 5, 6, 7, 1], [1] * 7).astype(object)
    frame.insert(0, "participant_id", ["a", "b", "c"])
    frame.loc[0, "N1"] = None
    frame.loc[1, ["N1", "N2"]] = None
    path = save(frame, tmp_path)
    complete = read_ratings(path, target="negative_symptoms")
    assert complete.values.tolist() == [7]
    assert complete.prorated.tolist() == [False]
    rules = RatingRules(missing_items="prorate")
    prorated = read_ratings(path, target="negative_symptoms", rules=rules)
    # 6 of 7 items are more than 80 %, 5 of 7 are not.
    assert prorated.values.tolist() == [pytest.approx((3 + 4 + 5 + 6 + 7 + 1) / 6 * 7), 7]
    assert prorated.prorated.tolist() == [True, False]
    assert prorated.warnings[-1].startswith("1 rating is prorated")
    assert prorated.excluded["reason"].tolist() == ["rating incomplete: N1, N2 missing"]
    # A single item is never filled in.
    assert read_ratings(path, target="N1", rules=rules).values.tolist() == [1]


def test_differences_are_prorated_side_by_side():
    names = [f"P{k}" for k in range(1, 8)] + ITEMS
    target = resolve_target("panss.composite", names)
    rows = np.tile(np.r_[np.arange(1.0, 8), np.full(7, 2.0)], (3, 1))
    rows[1, 6] = np.nan
    rows[2, 7:9] = np.nan
    with pytest.raises(InputError, match="it subtracts items"):
        resolve_target("percent_change(panss.composite)", names)
    scores = score_rows(target, rows, missing_items="prorate")
    np.testing.assert_allclose(scores.values[:2], [28 - 14, 21 / 6 * 7 - 14])
    assert np.isnan(scores.values[2])
    assert scores.prorated.tolist() == [False, True, False]


def test_five_items_of_which_four_are_there_reach_four_fifths():
    target = resolve_target("bnss.exp", [f"BNSS{k}" for k in range(9, 14)])
    scores = score_rows(target, np.array([[1, 2, 3, 4, np.nan]]), missing_items="prorate")
    assert scores.values.tolist() == [12.5]


def test_percent_change_takes_off_the_minimum_of_k_items():
    # Leucht et al. 2010: from 100 to 65 is 50 % with the 30 points taken off, 35 % without.
    assert percent_change(np.array([100.0]), np.array([65.0]), floor=30)[0] == 50
    assert percent_change(np.array([49.0]), np.array([7.0]), floor=7)[0] == 100
    change = percent_change(np.array([7.0, 21.0]), np.array([9.0, 28.0]), floor=7)
    assert np.isnan(change[0])
    assert change[1] == -50


def test_change_is_a_target_counted_from_the_first_visit(tmp_path):
    frame = items([4] * 7, [2] * 7, [4] * 7, [5] * 7, [1] * 7, [2] * 7, [3] * 7).astype(object)
    frame.insert(0, "participant_id", ["a", "a", "b", "b", "c", "c", "d"])
    frame.insert(1, "session_id", ["1", "10", "1", "2", "1", "2", "1"])
    path = save(frame, tmp_path)
    ratings = read_ratings(path, target="percent_change(negative_symptoms)")
    assert ratings.target == "percent_change(panss.negative_symptoms)"
    assert ratings.keys.to_numpy().tolist() == [["sub-a", "ses-10"], ["sub-b", "ses-2"]]
    # (28 - 14) / (28 - 7) and (28 - 35) / (28 - 7)
    np.testing.assert_allclose(ratings.values, [100 * 14 / 21, -100 * 7 / 21])
    assert (ratings.minimum, ratings.maximum) == (None, 100)
    reasons = ratings.excluded.set_index(["participant_id", "session_id"])["reason"].to_dict()
    assert reasons["sub-c", "ses-2"] == "no change: the first visit has no symptoms to lose"
    assert reasons["sub-d", "ses-1"].startswith("not selected: first visit")
    assert not ratings.several_raters
    both = pd.concat([frame.assign(rater_id=name) for name in ("ann", "ben")])
    rated = read_ratings(
        save(both, tmp_path, "both.csv"), target="percent_change(negative_symptoms)"
    )
    assert rated.several_raters
    assert "no human ceiling: a change is not counted for each rater" in rated.warnings
    np.testing.assert_allclose(rated.values, ratings.values)
    frame["session_id"] = ["pre", "post", "1", "2", "1", "2", "2"]
    assert (
        "one number each, or 'baseline'"
        in refused(save(frame, tmp_path), "percent_change(negative_symptoms)")[0]
    )
    assert (
        "belongs to no scale"
        in refused(save(frame.assign(mood=1.5), tmp_path), "percent_change(mood)")[0]
    )


SIDE_CAR = {
    "sans1": {"Description": "1. Unchanging Facial Expression", "Levels": {"0": "None", "5": "S"}},
    "sans7": {"Description": "7. Global Rating of Affective Flattening"},
    "mean_all": {"Description": "average of all", "Derivative": True},
}


def phenotype(tmp_path, side_car, **columns):
    frame = pd.DataFrame({"participant_id": ["a", "b"], **columns})
    path = save(frame, tmp_path, "phenotype/sans.tsv")
    path.with_suffix(".json").write_text(json.dumps(side_car))
    return path


def test_a_side_car_that_names_another_item_is_refused(tmp_path):
    path = phenotype(tmp_path, SIDE_CAR, sans1=[1, 2], sans7=[0, 5], mean_all=[1.5, 2.5])
    assert read_ratings(path, target="sans_ds000030.SANS7").values.tolist() == [0, 5]
    assert refused(path, "sans.SANS7") == [
        "sans.tsv: its side-car calls sans7 '7. Global Rating of Affective Flattening'; in sans "
        "that is SANS8, and SANS7 is 'lack of vocal inflections'; name the form that was used"
    ]
    assert read_ratings(path, target="mean_all").values.tolist() == [1.5, 2.5]
    assert refused(path, "sans_ds000030.SANS1+mean_all") == [
        "target SANS1+mean_all: the side-car says that mean_all is derived from other columns, it "
        "is not added"
    ]


def test_levels_outside_the_forms_range_are_refused(tmp_path):
    levels = {"Description": "1. Somatic Concern", "Levels": {"1": "a", "7": "b"}}
    path = phenotype(tmp_path, {"bprs1": levels}, bprs1=[1, 6])
    assert read_ratings(path, target="bprs_18.BPRS1").values.tolist() == [1, 6]
    assert refused(path, "bprs_18_from_zero.BPRS1") == [
        "sans.tsv: its side-car lists the value 7 for bprs1, items of bprs_18_from_zero range from "
        "0 to 6; name the form that was used"
    ]


def test_descriptions_in_another_language_say_nothing(tmp_path):
    path = phenotype(tmp_path, {"sans1": {"Description": "Starrer Ausdruck"}}, sans1=[1, 2])
    assert read_ratings(path, target="sans.SANS1").values.tolist() == [1, 2]
    path.with_suffix(".json").write_text("[1]")
    assert refused(path, "sans.SANS1") == ["sans.json: a JSON object was wanted, got list"]
    path.with_suffix(".json").write_text("{")
    assert refused(path, "sans.SANS1") == ["sans.json: not a readable JSON side-car"]


def test_columns_of_another_form_are_refused(tmp_path):
    frame = pd.DataFrame(1, index=[0, 1], columns=[f"BPRS{k}" for k in range(1, 25)])
    frame.insert(0, "participant_id", ["a", "b"])
    path = save(frame, tmp_path)
    assert read_ratings(path, target="bprs_24.total").values.tolist() == [24, 24]
    assert refused(path, "bprs_18.total") == [
        "ratings.csv: there is a column 'BPRS19', which bprs_18 (18 items from 1) does not have; "
        "name the form that was used"
    ]


def test_validate_judges_by_the_form_that_fits_best(tmp_path):
    frame = pd.DataFrame(0, index=[0, 1], columns=[f"BPRS{k}" for k in range(1, 19)])
    frame.insert(0, "participant_id", ["a", "b"])
    assert validate_ratings(save(frame, tmp_path)) == []
    frame.loc[1, "BPRS4"] = 7
    assert validate_ratings(save(frame, tmp_path)) == [
        "item BPRS4 must be an integer from 0 to 6, got 7 (participant 'b', row 3 of ratings.csv)"
    ]


def test_twelve_faults_of_one_file_are_listed_at_once(tmp_path):
    lines = [
        "participant_id,session_id,N1,N2,N3,N4,N5,N6,N7,mood,mood,age",
        "s1,1,9,1,1,1,1,1,1,1,1,30",
        "s2,1,1,0,1,1,1,1,1,1,1,30",
        "s3,1,1,1,2.5,1,1,1,1,1,1,30",
        "s4,1,1,1,1,four,1,1,1,1,1,30",
        "s 5,1,1,1,1,1,1,1,1,1,1,30",
        "s6,a b,1,1,1,1,1,1,1,1,1,30",
        ",1,1,1,1,1,1,1,1,1,1,30",
        "s8,1,1,1",
        "s9,1,1,1,1,1,1,1,1,1,1,30,1",
        "s10,1,1,1,1,1,-1,1,1,1,1,30",
        "s10,1,1,1,1,1,1,1,99,1,1,30",
    ]
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(lines) + "\n")
    found = refused(path)
    assert found == [
        "ratings.csv: column 'mood' stands twice",
        "row 9 of ratings.csv has 4 cells, the header has 12",
        "row 10 of ratings.csv has 13 cells, the header has 12",
        "participant_id is empty (row 8 of ratings.csv)",
        "participant_id must be letters, digits, '.', '+' and '-' (with or without 'sub-'), got "
        "'s 5' (row 6 of ratings.csv)",
        "session_id must be letters, digits, '.', '+' and '-' (with or without 'ses-'), got 'a b' "
        "(row 7 of ratings.csv)",
        "participant 's10', session '1' stands 2 times in ratings.csv (rows 11 and 12)",
        *(
            f"item {item} must be an integer from 1 to 7, got {value} (participant '{who}', "
            f"session '1', row {row} of ratings.csv)"
            for item, value, who, row in (
                ("N1", 9, "s1", 2),
                ("N2", 0, "s2", 3),
                ("N3", 2.5, "s3", 4),
                ("N4", "'four'", "s4", 5),
                ("N5", -1, "s10", 11),
                ("N7", 99, "s10", 12),
            )
        ),
    ]
    assert len(found) == 13
    assert sorted(validate_ratings(path)) == sorted(found)
    # A target that is not there adds its own line to what is wrong with the file.
    assert refused(path, "marder_negative")[:4] == found[:4]
    assert "column 'G7' is missing" in refused(path, "marder_negative")[-2]


def test_every_item_of_a_sum_over_two_scales_is_checked(tmp_path):
    frame = pd.DataFrame({
        "participant_id": ["a", "b", "c"],
        "C10": [1, 99, 3],
        "BNSS9": [7, 2, 1.5],
        "mood": [2.5, -3, 99],
    })  # fmt: skip
    path = save(frame, tmp_path)
    with pytest.raises(InputError) as caught:
        read_ratings(path, target="C10+BNSS9")
    assert list(caught.value.faults) == [
        "item C10 must be an integer from 0 to 4, got 99 (participant 'b', row 3 of ratings.csv)",
        "item BNSS9 must be an integer from 0 to 6, got 7 (participant 'a', row 2 of ratings.csv)",
        "item BNSS9 must be an integer from 0 to 6, got 1.5 (participant 'c', row 4 of "
        "ratings.csv)",
    ]
    with pytest.raises(InputError, match="C10 must be an integer"):
        read_ratings(path, target="mood+C10")
    tidy = save(frame.assign(C10=[1, 2, 3], BNSS9=[0, 6, 2]), tmp_path)
    assert read_ratings(tidy, target="C10+BNSS9").values.tolist() == [1, 8, 5]
    assert read_ratings(tidy, target="mood+C10").values.tolist() == [3.5, -1, 102]


def test_a_column_that_is_spelled_almost_like_an_item(tmp_path):
    names = [f"PANSS_N0{k}" for k in range(1, 8)]
    frame = pd.DataFrame({"participant_id": ["a", "b"], "CGI-S": [77, 4], "mood": [1, 2]})
    path = save(frame.assign(**{name: [99, 7] for name in names}), tmp_path)
    (warning,) = read_ratings(path, target="CGI-S").warnings
    assert warning == (
        "column 'CGI-S' looks like item CGI_S of cgi_s (integers from 1 to 7) and is read as a "
        "plain column, unchecked (it would fail in row 2 of ratings.csv); call it 'CGI_S' if it is "
        "that item"
    )
    assert any("row 2 of" in w for w in read_ratings(path, target="PANSS_N01+mood").warnings)
    assert read_ratings(path, target="mood").warnings == ()
    for target, item, column in (("panss.N1", "N1", names[0]), ("cgi_s.CGI_S", "CGI_S", "CGI-S")):
        with pytest.raises(InputError) as caught:
            read_ratings(path, target=target)
        assert list(caught.value.faults) == [
            f"target {target}: column {item!r} is missing from the ratings; {column!r} may be it: "
            f"rename it to {item!r}"
        ]


def three_visits(tmp_path, **more):
    """Baselines of different severity; the follow-ups lose 14 and 7 of what could be lost."""
    frame = items([4] * 7, [2] * 7, [4] * 7, [5] * 7, [4] * 7, [3] * 7).astype(object)
    frame.insert(0, "participant_id", ["a", "a", "b", "b", "c", "c"])
    frame.insert(1, "session_id", ["1", "2", "1", "2", "1", "3"])
    frame["visit"] = ["baseline", "followup"] * 2 + ["baseline", "late"]
    return save(frame.assign(**more), tmp_path)


def test_a_selection_chooses_the_changes_and_not_their_first_visits(tmp_path):
    path = three_visits(tmp_path)
    ratings = read_ratings(
        path, target="percent_change(negative_symptoms)", where={"visit": "followup"}
    )
    # (28 - 14) / (28 - 7) and (28 - 35) / (28 - 7)
    np.testing.assert_allclose(ratings.values, [100 * 14 / 21, -100 * 7 / 21])
    assert ratings.keys["session_id"].tolist() == ["ses-2", "ses-2"]
    reasons = ratings.excluded.set_index(["participant_id", "session_id"])["reason"].to_dict()
    assert reasons == {
        ("sub-a", "ses-1"): "not selected: first visit, from which the change is counted",
        ("sub-b", "ses-1"): "not selected: first visit, from which the change is counted",
        ("sub-c", "ses-1"): "not selected: outside visit=followup",
        ("sub-c", "ses-3"): "not selected: outside visit=followup",
    }
    with pytest.raises(InputError, match="no visit has a change since a first visit"):
        read_ratings(path, target="percent_change(N1)", where={"visit": "baseline"})
    # A first visit that is counted from is checked as well; one of others is not.
    path = three_visits(tmp_path, N2=[9, 1, 1, 1, 99, 1])
    with pytest.raises(InputError) as caught:
        read_ratings(path, target="percent_change(N2)", where={"visit": "followup"})
    assert ["got 9 " in fault for fault in caught.value.faults] == [True]


def test_a_selected_rater_rates_the_first_visit_too(tmp_path):
    path = three_visits(tmp_path)
    frame = pd.read_csv(path, dtype={"session_id": str})
    harsh = frame.assign(rater_id="y", **{f"N{k}": 5 for k in range(1, 8)})
    both = save(pd.concat([frame.assign(rater_id="x"), harsh]), tmp_path)
    where = {"visit": "followup", "rater_id": "x"}
    ratings = read_ratings(both, target="percent_change(negative_symptoms)", where=where)
    np.testing.assert_allclose(ratings.values, [100 * 14 / 21, -100 * 7 / 21])


def rows_of_raters(tmp_path, header, *rows):
    path = tmp_path / "raters.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_cell_that_one_rater_filled_in_selects_the_whole_visit(tmp_path):
    path = rows_of_raters(
        tmp_path,
        "participant_id,rater_id,N1,site,age",
        "1,a,5,,", "1,b,3,X,30", "2,a,2,,", "2,b,3,Y,40", "3,a,1,,",
    )  # fmt: skip
    for where in ({"site": "X"}, {"age": 30}):
        ratings = read_ratings(path, target="N1", where=where)
        assert ratings.values.tolist() == [(5 + 3) / 2]
        assert not [w for w in ratings.warnings if "leaves out" in w]
    # What nobody filled in is not guessed, and no rating is filled in from another.
    assert read_ratings(path, target="N1", where={"site": "Y"}).values.tolist() == [(2 + 3) / 2]
    path.write_text("participant_id,rater_id,N1\n1,a,\n1,b,3\n2,a,3\n2,b,4\n")
    assert read_ratings(path, target="N1", where={"N1": 3}).values.tolist() == [3, 3]


def test_a_column_that_tells_raters_apart_is_a_condition_on_them(tmp_path):
    rows = [
        f"{subject},{session},{rater},{blinded},{value}"
        for subject in (1, 2)
        for session, scores in ((1, (5, 1)), (2, (3, 1)))
        for rater, blinded, value in zip("AB", ("yes", "no"), scores, strict=True)
    ]
    path = rows_of_raters(tmp_path, "participant_id,session_id,rater_id,blinded,N1", *rows)
    where = {"session_id": 2, "blinded": "yes"}
    ratings = read_ratings(path, target="percent_change(N1)", where=where)
    # Rater A alone: from 5 to 3, with 1 for no symptom.
    np.testing.assert_allclose(ratings.values, [100 * 2 / 4] * 2)
    told = (
        "selection blinded=yes leaves out 2 rater rows of 2 visits, whose raters differ in "
        "blinded; it is taken as a condition on raters, of first visits too"
    )
    assert told in ratings.warnings
    plain = read_ratings(path, target="N1", where=where)
    assert plain.values.tolist() == [3, 3]
    assert told in plain.warnings
    # Who asks for a rater by name is not told that the others are left out.
    by_name = read_ratings(path, target="N1", where={"session_id": 2, "rater_id": "A"})
    both = read_ratings(path, target="N1", where=where | {"rater_id": "A"})
    assert not [w for w in (*by_name.warnings, *both.warnings) if "leaves out" in w]


def test_a_missed_first_visit_is_the_same_as_an_empty_row_and_as_no_row(tmp_path):
    rows = ["1,1,5", "1,2,3", "1,3,2", "2,2,6", "2,3,5", "3,2,6", "3,3,5"]
    for more in ([], ["2,1,"], ["2,1,", "3,1,"]):
        path = rows_of_raters(tmp_path, "participant_id,session_id,N1", *rows, *more)
        ratings = read_ratings(path, target="percent_change(N1)")
        assert ratings.keys["participant_id"].tolist() == ["sub-1", "sub-1"]
        np.testing.assert_allclose(ratings.values, [100 * 2 / 4, 100 * 3 / 4])
    path = rows_of_raters(tmp_path, "participant_id,session_id,N1", *rows)
    ratings = read_ratings(path, target="percent_change(N1)", where={"session_id": 3})
    assert ratings.values.tolist() == [75]
    reasons = ratings.excluded.set_index(["participant_id", "session_id"])["reason"].to_dict()
    missed = "no change: no visit ses-1, from which the others' changes are counted"
    assert reasons["sub-2", "ses-3"] == reasons["sub-3", "ses-3"] == missed
    assert reasons["sub-2", "ses-2"] == "not selected: outside session_id=3"
    assert ratings.warnings[-1] == (
        "changes are counted from ses-1, the earliest session: 2 participants have no such visit "
        "and no change"
    )
    # One visit of one person before all others' is enough; the refusal says so.
    path = rows_of_raters(tmp_path, "participant_id,session_id,N1", *rows, "4,0,3")
    assert refused(path, "percent_change(N1)") == [
        "target percent_change(panss.N1): no visit has a change since a first visit (no visit "
        "ses-0, from which the others' changes are counted: 7 visits)"
    ]


@pytest.mark.parametrize("session", ["screening", "", "0"])
def test_sessions_of_people_who_are_not_selected_play_no_part(tmp_path, session):
    rows = ["1,1,p,5", "1,2,p,3", "2,1,p,6", "2,2,p,5", f"9,{session},c,1"]
    path = rows_of_raters(tmp_path, "participant_id,session_id,group,N1", *rows)
    ratings = read_ratings(path, target="percent_change(N1)", where={"group": "p"})
    np.testing.assert_allclose(ratings.values, [100 * 2 / 4, 100 * 1 / 5])


@pytest.mark.parametrize("wanted", ["1", "ses-1", 1])
def test_a_session_can_be_selected(tmp_path, wanted):
    path = three_visits(tmp_path)
    ratings = read_ratings(path, target="negative_symptoms", where={"session_id": wanted})
    assert ratings.values.tolist() == [28, 28, 28]
    assert set(ratings.keys["session_id"]) == {"ses-1"}
    with pytest.raises(InputError, match=r"session_id=9: no visit .* has ses-1, ses-2, ses-3"):
        read_ratings(path, target="N1", where={"session_id": "9"})
    with pytest.raises(InputError, match="session_id must be letters"):
        read_ratings(path, target="N1", where={"session_id": "a b"})
    without = save(pd.read_csv(path).drop(columns="session_id").iloc[::2], tmp_path)
    with pytest.raises(InputError, match="session_id=1: there is no such column"):
        read_ratings(without, target="N1", where={"session_id": 1})


def test_one_selected_visit_a_participant_needs_no_session_in_the_features(tmp_path):
    path = three_visits(tmp_path)
    keys = pd.DataFrame({"participant_id": ["sub-a", "sub-b", "sub-c"], "session_id": ""})
    table = FeatureTable(keys, pd.DataFrame({"f": [1.0, 2.0, 3.0]}), keys[:0].assign(reason=""))
    design = join(table, read_ratings(path, target="N1", where={"visit": "baseline"}))
    assert design.keys["session_id"].tolist() == ["ses-1"] * 3
    assert design.X[:, 0].tolist() == [1, 2, 3]
    assert set(design.excluded["stage"]) == {"not selected"}
    late = join(table, read_ratings(path, target="N1", where={"visit": "late"}))
    assert late.keys.to_numpy().tolist() == [["sub-c", "ses-3"]]
    assert set(late.excluded["stage"]) == {"not selected"}
    with pytest.raises(InputError, match="participants have several visits in the ratings"):
        join(table, read_ratings(path, target="N1"))


def test_covariates_in_which_raters_differ_are_told(two_raters, tmp_path):
    two_raters["P1"] = [1, 2, 3, 4, 5]  # a rating is the rater's own
    two_raters.loc[1, "age"] = 99
    two_raters["sex"] = ["f", "m", "f", None, "f"]
    path = save(two_raters, tmp_path)
    told = (
        "the raters of a visit differ in age (1 visit), sex (2 visits): the value of the one who "
        "stands first in the file is taken"
    )
    for raters in ("mean", "first"):
        ratings = read_ratings(path, target="N1", rules=RatingRules(raters=raters))
        assert told in ratings.warnings
        assert ratings.covariates["age"].tolist() == [40, 30, 50]
    every = read_ratings(path, target="N1", rules=RatingRules(raters="repeated"))
    assert told not in every.warnings
    # Amy's rating of sub-a is incomplete, and so is not compared.
    whole = read_ratings(path, target="negative_symptoms")
    assert told.replace("sex (2 visits)", "sex (1 visit)") in whole.warnings
