from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.features import read_features
from emoclip_clinical.regression.ratings import read_ratings, validate_ratings

ITEMS = [f"N{k}" for k in range(1, 8)]


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(1, 8, (6, 7)), columns=ITEMS).astype(object)
    frame.insert(0, "participant_id", ["s014", "sub-s015", "s016", "s016", "s017", "s018"])
    frame.insert(1, "session_id", ["1", "ses-1", "1", "2", "1", "1"])
    frame["age"] = [30, 31, 32, 32, 40, 41]
    frame["diagnosis"] = ["SCHZ", "SCHZ", "SCHZ", "SCHZ", "CONTROL", None]
    return frame


def save(frame, tmp_path, name="ratings.csv"):
    path = tmp_path / name
    frame.to_csv(path, index=False, na_rep="n/a", sep="\t" if name.endswith("tsv") else ",")
    return path


def faults(path, **options):
    with pytest.raises(InputError) as caught:
        read_ratings(path, **{"target": "negative_symptoms", **options})
    return list(caught.value.faults)


def test_sum_of_complete_items(table, tmp_path):
    table.loc[1, ["N2", "N5"]] = None
    ratings = read_ratings(save(table, tmp_path), target="negative_symptoms")
    assert (ratings.target, ratings.items) == ("panss.negative_symptoms", tuple(ITEMS))
    assert (ratings.minimum, ratings.maximum) == (7, 49)
    wanted = [sum(row) for row in table.drop(index=1)[ITEMS].to_numpy().tolist()]
    np.testing.assert_array_equal(ratings.values, wanted)
    assert ratings.keys["participant_id"].tolist()[:2] == ["sub-s014", "sub-s016"]
    assert ratings.keys["session_id"].tolist()[:3] == ["ses-1", "ses-1", "ses-2"]
    assert ratings.excluded.to_dict("records") == [
        {
            "participant_id": "sub-s015",
            "session_id": "ses-1",
            "reason": "rating incomplete: N2, N5 missing",
        }
    ]
    assert ratings.covariates["age"].tolist() == [30, 32, 32, 40, 41]


def test_selection(table, tmp_path):
    path = save(table, tmp_path)
    ratings = read_ratings(path, target="N1", where={"diagnosis": "SCHZ", "age": "32"})
    assert ratings.keys["participant_id"].tolist() == ["sub-s016", "sub-s016"]
    assert set(ratings.excluded["reason"]) == {"not selected: outside diagnosis=SCHZ, age=32"}
    assert faults(path, where={"diagnosis": "SCZ", "agee": 3}) == [
        "selection diagnosis=SCZ: no visit has this value; the column has CONTROL, SCHZ",
        "selection agee=3: there is no such column; near names: age",
    ]
    assert "no visit has all" in faults(path, where={"diagnosis": "CONTROL", "age": 30})[0]


def test_every_faulty_item_is_listed(table, tmp_path):
    table.loc[0, "N1"] = 9
    table.loc[2, "N3"] = 4.5
    table.loc[4, "N7"] = "seven"
    assert faults(save(table, tmp_path)) == [
        "item N1 must be an integer from 1 to 7, got 9 (participant 's014', session '1', row 2 of "
        "ratings.csv)",
        "item N3 must be an integer from 1 to 7, got 4.5 (participant 's016', session '1', row 4 "
        "of ratings.csv)",
        "item N7 must be an integer from 1 to 7, got 'seven' (participant 's017', session '1', row "
        "6 of ratings.csv)",
    ]


def test_only_selected_rows_are_checked_for_an_analysis(table, tmp_path):
    table.loc[4, "N7"] = "unknown"
    path = save(table, tmp_path)
    ratings = read_ratings(path, target="negative_symptoms", where={"diagnosis": "SCHZ"})
    assert len(ratings.values) == 4
    assert len(validate_ratings(path)) == 1


def test_a_visit_that_stands_twice(table, tmp_path):
    table.loc[3, "session_id"] = "ses-1"
    table.loc[5, "participant_id"] = "s 18"
    assert faults(save(table, tmp_path)) == [
        "participant_id must be letters, digits, '.', '+' and '-' (with or without 'sub-'), got "
        "'s 18' (row 7 of ratings.csv)",
        "participant 's016', session '1' stands 2 times in ratings.csv (rows 4 and 5)",
    ]
    table["rater_id"] = ["a", "a", "a", "a", "a", "a"]
    assert faults(save(table, tmp_path))[1] == (
        "participant 's016', session '1', rater 'a' stands 2 times in ratings.csv (rows 4 and 5)"
    )


def test_missing_columns_and_unknown_targets(table, tmp_path):
    path = save(table.drop(columns=["N2", "N6"]), tmp_path)
    assert faults(path) == [
        "target panss.negative_symptoms: column 'N2' is missing from the ratings",
        "target panss.negative_symptoms: column 'N6' is missing from the ratings",
    ]
    assert "near names: age" in faults(path, target="aged")[0]
    no_key = save(table.drop(columns="participant_id"), tmp_path)
    assert "column 'participant_id' is missing" in faults(no_key)[0]
    assert validate_ratings(no_key) == faults(no_key)


def test_plain_columns_must_be_numbers(table, tmp_path):
    table.insert(2, "mood", ["1.5", "2.25", "low", "n/a", "-3", "4"])
    path = save(table, tmp_path)
    assert faults(path, target="mood") == [
        "target 'mood' must be a number, got 'low' (participant 's016', session '1', row 4 of "
        "ratings.csv)"
    ]
    words = save(table.assign(sex=["f", "m"] * 3), tmp_path)
    assert len(faults(words, target="sex")) == 4
    assert faults(words, target="sex")[-1] == "... and 3 more faults of this kind"
    table.loc[2, "mood"] = None
    ratings = read_ratings(save(table, tmp_path), target="mood")
    np.testing.assert_array_equal(ratings.values, [1.5, 2.25, -3, 4])
    assert (ratings.minimum, ratings.excluded["reason"].tolist()) == (
        None,
        ["no rating: mood is missing"] * 2,
    )


def test_invisible_targets_are_warned_about(table, tmp_path):
    path = save(table, tmp_path)
    assert read_ratings(path, target="N1").warnings == ()
    assert "shows none of its items (N6)" in read_ratings(path, target="N6").warnings[0]
    path = save(table.assign(C10=2, C13=1, mood=1.5), tmp_path)
    assert "shows none of its items (N6, C13)" in read_ratings(path, target="N6+C13").warnings[0]
    for target in ("N6+C10", "N6+mood"):
        told = read_ratings(path, target=target).warnings
        assert not [w for w in told if "shows none" in w]


def test_validate_lists_faults_of_whole_scales_only(table, tmp_path):
    table.loc[0, "N1"] = 0
    table["P1"] = [9, 1, 1, 1, 1, 1]
    path = save(table, tmp_path)
    assert [f.split(",")[0] for f in validate_ratings(path)] == [
        "item N1 must be an integer from 1 to 7",
        "item P1 must be an integer from 1 to 7",
    ]
    other = save(table[["participant_id", "session_id", "P1"]], tmp_path, "other.csv")
    assert validate_ratings(other) == []


def write_phenotype(tmp_path, table):
    folder = tmp_path / "study" / "phenotype"
    folder.mkdir(parents=True)
    save(table.drop(columns=["age", "diagnosis"]), folder, "panss.tsv")
    people = table.drop_duplicates("age")[["participant_id", "age"]]
    save(people.assign(note="x"), folder, "demographics.tsv")
    save(people.assign(group=["a", "a", "b", "b", "b"]), folder.parent, "participants.tsv")
    return folder


def test_phenotype_folder(table, tmp_path):
    folder = write_phenotype(tmp_path, table)
    for path in (folder, folder.parent):
        ratings = read_ratings(path, target="negative_symptoms", where={"group": "a"})
        assert ratings.keys["participant_id"].tolist() == ["sub-s014", "sub-s015"]
        assert ratings.covariates["participants.age"].tolist() == [30, 31]
    everyone = read_ratings(folder, target="panss.N1")
    # Covariates by participant are joined to each of a participant's visits.
    assert everyone.covariates["demographics.age"].tolist() == [30, 31, 32, 32, 40, 41]
    assert everyone.covariates["age"].tolist() == [30, 31, 32, 32, 40, 41]
    assert read_ratings(folder, target="age").values.tolist() == [30, 31, 32, 40, 41]
    assert read_ratings(folder, target="participants.age").values.tolist() == [30, 31, 32, 40, 41]
    single = read_ratings(folder / "panss.tsv", target="N1", where={"group": "b"})
    assert len(single.values) == 4
    assert validate_ratings(folder) == []


def test_no_ratings_there(tmp_path):
    assert "no such file" in faults(tmp_path / "none.csv")[0]
    assert "holds no phenotype tables" in faults(tmp_path)[0]


def test_real_phenotype_folder(assets):
    folder = assets / "ratings" / "ds000030"
    ratings = read_ratings(folder, target="global_bluntaffect", where={"diagnosis": "SCHZ"})
    raw = pd.read_csv(folder / "phenotype" / "sans.tsv", sep="\t", na_values="n/a")
    people = pd.read_csv(folder / "participants.tsv", sep="\t", na_values="n/a")
    raw = raw.merge(people[people["diagnosis"] == "SCHZ"][["participant_id"]])
    raw = raw.sort_values("participant_id")
    assert ratings.keys["participant_id"].tolist() == raw["participant_id"].tolist()
    np.testing.assert_array_equal(ratings.values, raw["global_bluntaffect"])
    assert len(ratings.values) == 50
    assert validate_ratings(folder) == []


@pytest.mark.parametrize("kind", ["csv", "xlsx", "parquet"])
def test_numbers_too_large_to_be_measured_are_all_named(tmp_path, kind):
    values = [1e49, 1e160, -1.797693134862315e308, 2.0, -1e51]
    frame = pd.DataFrame({"participant_id": list("abcde"), "x": values, "y": [1.0, 2, 3, 4, 1e300]})
    path = tmp_path / f"t.{kind}"
    write = {"csv": frame.to_csv, "xlsx": frame.to_excel, "parquet": frame.to_parquet}[kind]
    write(path, index=False)
    wanted = [
        f"column {c!r} holds a number beyond ±1e+50 (row {row} of t.{kind})"
        for c, row in (("x", 3), ("x", 4), ("x", 6), ("y", 6))
    ]
    for found in (validate_ratings(path), faults(path, target="x"), faults_of_features(path)):
        assert [f.partition("; ")[0] for f in found[:4]] == wanted
    mixed = save(frame.assign(x=["low", "1e300", 3, 4, 5]).drop(columns="y"), tmp_path)
    assert faults(mixed, target="x")[1] == (
        "target 'x' must be a number, got '1e300' (participant 'b', row 3 of ratings.csv)"
    )


def faults_of_features(path):
    with pytest.raises(InputError) as caught:
        read_features(path)
    return list(caught.value.faults)


def test_columns_that_would_tell_doubled_rows_apart_are_named(table, tmp_path):
    alone = table.drop(columns="session_id").assign(participant_id=list("abcdef"))
    both = pd.concat([alone.assign(rater="x", Visit="1"), alone.assign(rater="y", Visit="1")])
    found = faults(save(both, tmp_path))
    assert found[2] == "participant 'a' stands 2 times in ratings.csv (rows 2 and 8)"
    assert found[:2] == [
        "ratings.csv: column 'Visit' may be the session_id that tells the rows of a participant "
        "apart: rename it to 'session_id'",
        "ratings.csv: column 'rater' may be the rater_id that tells the rows of a participant "
        "apart: rename it to 'rater_id'",
    ]
    assert len(read_ratings(save(alone.assign(rater="x"), tmp_path), target="N1").values) == 6
