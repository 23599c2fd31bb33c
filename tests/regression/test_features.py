from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.features import read_features, read_same_features


def save(frame, tmp_path, name="features.csv"):
    path = tmp_path / name
    frame.to_csv(path, index=False, na_rep="n/a")
    return path


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "participant_id": ["a", "b", "c", "d"],
            "smile_mean": [0.1, 0.2, 0.3, 0.4],
            "smile_sd": [1.0, None, 3.0, 4.0],
            "brow_mean": [5.0, 6.0, 7.0, 9.0],
            "tool": ["x", "x", "y", "y"],
            "still": [2, 2, 2, 2],
            "empty": [None] * 4,
        }
    )


def faults(path, **options):
    with pytest.raises(InputError) as caught:
        read_features(path, **options)
    return list(caught.value.faults)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_any_table(table, tmp_path, kind):
    path = save(table, tmp_path)
    if kind == "parquet":
        path = tmp_path / "features.parquet"
        table.to_parquet(path)
    features = read_features(path)
    assert list(features.values.columns) == ["smile_mean", "smile_sd", "brow_mean"]
    assert features.keys.to_numpy().tolist() == [["sub-a", ""], ["sub-c", ""], ["sub-d", ""]]
    np.testing.assert_array_equal(features.values["smile_sd"], [1, 3, 4])
    assert features.excluded.to_numpy().tolist() == [["sub-b", "", "feature missing: smile_sd"]]
    assert features.warnings == (
        "feature columns left out because they hold text: tool",
        "feature columns left out because they are empty: empty",
        "feature columns left out because they are constant: still",
    )


def test_patterns_narrow_the_columns(table, tmp_path):
    path = save(table, tmp_path)
    features = read_features(path, columns=["*_mean"])
    assert list(features.values.columns) == ["smile_mean", "brow_mean"]
    assert (len(features.keys), features.warnings) == (4, ())
    assert faults(path, columns=["smile_men", "x*"]) == [
        "features.csv: no feature column matches 'smile_men'; near names: smile_mean, smile_sd",
        "features.csv: no feature column matches 'x*'",
    ]
    assert "no numeric feature column that varies" in faults(path, columns=["still"])[0]


def test_no_row_is_complete(table, tmp_path):
    table["smile_sd"] = [None, None, 1.0, 2.0]
    table["brow_mean"] = [1.0, 2.0, None, None]
    message = faults(save(table, tmp_path))[0]
    assert "no visit has a value in every feature column" in message
    assert "smile_sd (50%)" in message


def test_a_row_a_segment_is_refused(table, tmp_path):
    table["participant_id"] = ["a", "a", "b", "c"]
    assert faults(save(table, tmp_path)) == [
        "participant 'a' stands 2 times in features.csv (rows 2 and 3)",
        "features.csv: one row a visit is wanted; pool the segments of an interview first",
    ]


@pytest.fixture
def folder(tmp_path):
    frame = pd.DataFrame(
        {
            "participant_id": ["sub-a", "sub-a", "sub-b", "sub-c", "sub-d"],
            "session_id": ["ses-1", "ses-1", "ses-1", None, "ses-1"],
            "interview": ["sub-a_ses-1_run-1", "sub-a_ses-1_run-2", "sub-b", "sub-c", "sub-d"],
            "n_ok": [1, 3, 0, 5, 2],
            "status": ["ok", "partial", "no_face", "ok", "ok"],
            "reason": ["", "cut", "no face in 9 of 9 segments", None, None],
            "p": [1.0, 5.0, np.nan, 2.0, 3.0],
            "q": [10.0, 20.0, np.nan, 30.0, np.nan],
            "seconds": [1.0, 2.0, 3.0, 4.0, 5.0],
        }
    )
    frame.to_parquet(tmp_path / "interviews.parquet")
    settings = {"pooled_features": ["p", "q"], "model": {"name": "m"}, "inputs": [{"size": 1}]}
    (tmp_path / "features.json").write_text(json.dumps(settings))
    return tmp_path


def test_extracted_folder(folder):
    features = read_features(folder)
    assert features.keys.to_numpy().tolist() == [["sub-a", "ses-1"], ["sub-c", ""]]
    # Two runs of one visit, 1 and 3 usable segments.
    assert features.values.iloc[0].tolist() == [(1 * 1 + 3 * 5) / 4, (1 * 10 + 3 * 20) / 4]
    assert features.excluded.to_numpy().tolist() == [
        ["sub-b", "ses-1", "no usable features (no_face: no face in 9 of 9 segments)"],
        ["sub-d", "ses-1", "feature missing: q"],
    ]
    assert features.source == {"pooled_features": ["p", "q"], "model": {"name": "m"}}
    assert list(read_features(folder, columns=["p"]).values.columns) == ["p"]


def test_a_recording_without_a_value_leaves_those_of_the_others(folder):
    """A run of one segment has no standard deviation."""
    table = pd.read_parquet(folder / "interviews.parquet")
    table.loc[0, "q"] = np.nan
    table.to_parquet(folder / "interviews.parquet")
    features = read_features(folder)
    assert features.values.iloc[0].tolist() == [(1 * 1 + 3 * 5) / 4, 20]


def test_a_folder_without_any_usable_visit_says_why(folder):
    table = pd.read_parquet(folder / "interviews.parquet")
    table[table["reason"] != ""][1:2].to_parquet(folder / "interviews.parquet")
    with pytest.raises(InputError) as caught:
        read_same_features(folder, names=["p"])
    assert caught.value.faults == (
        "interviews.parquet: no visit can be used: no usable features (no_face: no face in 9 of 9 "
        "segments)",
    )


def test_folder_faults(folder, tmp_path):
    (folder / "features.json").write_text(json.dumps({"pooled_features": ["p", "z"]}))
    assert faults(folder) == ["interviews.parquet: column 'z' is missing"]
    (folder / "features.json").write_text("{}")
    assert "'pooled_features' must list" in faults(folder)[0]
    (folder / "features.json").unlink()
    assert "run extract first" in faults(folder)[0]
    assert "no such features folder or table" in faults(tmp_path / "none")[0]


def test_copies_of_a_column_are_named_and_left_out(table, tmp_path):
    table = table.assign(again=table["brow_mean"], also=table["brow_mean"], near=[5, 6, 7, 9.1])
    features = read_features(save(table, tmp_path))
    assert list(features.values.columns) == ["smile_mean", "smile_sd", "brow_mean", "near"]
    assert features.warnings[-1] == (
        "feature columns left out because they are copies: again (of brow_mean), also (of "
        "brow_mean)"
    )


def test_visits_with_missing_values_stay_for_the_folds_to_fill_in(table, tmp_path):
    table.loc[3, ["smile_mean", "smile_sd", "brow_mean"]] = None
    features = read_features(save(table, tmp_path), impute="median")
    assert features.keys["participant_id"].tolist() == ["sub-a", "sub-b", "sub-c"]
    np.testing.assert_array_equal(features.values["smile_sd"], [1, np.nan, 3])
    assert features.excluded["participant_id"].tolist() == ["sub-d"]
    assert "1 missing feature values in 1 visits are filled in" in features.warnings[-1]


def test_the_same_features_of_other_visits(table, tmp_path):
    one = save(table[:1], tmp_path, "one.csv")
    features = read_same_features(one, names=["brow_mean", "smile_mean"])
    assert features.values.to_numpy().tolist() == [[5.0, 0.1]]
    assert features.warnings == ()
    with pytest.raises(InputError) as caught:
        read_same_features(one, names=["brow_mean", "tool", "frown"])
    assert caught.value.faults == (
        "one.csv: there is no numeric feature column 'frown'",
        "feature tool must be a number, got 'x' (row 2 of one.csv)",
    )
    with pytest.raises(InputError) as caught:
        read_same_features(one, names=[f"absent_{i}" for i in range(5)])
    assert caught.value.faults == (
        "one.csv: 5 numeric feature columns are not there: 'absent_0', 'absent_1', 'absent_2' and "
        "2 more",
    )
    spoilt = table.astype(object)
    spoilt.loc[1, "brow_mean"] = "."
    spoilt.loc[2, "smile_mean"] = "inf"
    spoilt["still"] = ["x", "1_0", "3", "."]
    spoilt["empty"] = ["a", "b", "c", "d"]
    with pytest.raises(InputError) as caught:
        read_same_features(
            save(spoilt, tmp_path, "new.csv"), names=["brow_mean", "smile_mean", "still", "empty"]
        )
    assert caught.value.faults == (
        "feature brow_mean must be a number, got '.' (row 3 of new.csv)",
        "feature smile_mean must be a number, got 'inf' (row 4 of new.csv)",
        "feature still must be a number, got 'x' (row 2 of new.csv)",
        "feature still must be a number, got '1_0' (row 3 of new.csv)",
        "feature still must be a number, got '.' (row 5 of new.csv)",
        "feature empty must be a number, got 'a' (row 2 of new.csv)",
        "feature empty must be a number, got 'b' (row 3 of new.csv)",
        "feature empty must be a number, got 'c' (row 4 of new.csv)",
        "... and 1 more in empty",
    )
    empty = save(table[1:2], tmp_path, "empty.csv")
    with pytest.raises(InputError, match="no visit has a value in every feature column"):
        read_same_features(empty, names=["smile_sd", "smile_mean"])
    filled = read_same_features(empty, names=["smile_sd", "smile_mean"], impute="median")
    np.testing.assert_array_equal(filled.values.to_numpy(), [[np.nan, 0.2]])


def test_excel_features(table, tmp_path):
    table.to_excel(tmp_path / "features.xlsx", index=False)
    excel, text = read_features(tmp_path / "features.xlsx"), read_features(save(table, tmp_path))
    pd.testing.assert_frame_equal(excel.values, text.values)
    assert (excel.warnings, excel.keys.equals(text.keys)) == (text.warnings, True)


def test_embeddings_are_averaged_over_the_segments_of_a_visit(folder):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5, 3)).astype(np.float32)
    rows = pd.DataFrame(
        {
            "participant_id": ["sub-a", "sub-a", "sub-b", "sub-c", "sub-a"],
            "session_id": ["ses-1", "ses-1", "ses-1", None, "ses-1"],
            "interview": ["sub-a_ses-1"] * 2 + ["sub-b_ses-1", "sub-c", "sub-a_ses-1_run-2"],
            "embedding": [*vectors[:2], None, vectors[3], vectors[4]],
        }
    )
    rows.to_parquet(folder / "embeddings.parquet")
    features = read_features(folder / "embeddings.parquet")
    assert list(features.values.columns) == ["embedding_000", "embedding_001", "embedding_002"]
    assert features.keys["participant_id"].tolist() == ["sub-a", "sub-c"]
    wanted = [vectors[[0, 1, 4]].astype(float).mean(axis=0), vectors[3]]
    np.testing.assert_allclose(features.values, wanted, rtol=1e-12)
    assert features.excluded["reason"].tolist() == ["no usable segment"]
    assert features.source["model"] == {"name": "m"}
    few = read_features(folder / "embeddings.parquet", columns=["embedding_001"])
    assert few.values.shape == (2, 1)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_value_of_an_embedding_is_refused_by_its_row(folder, value):
    vectors = [np.zeros(3, np.float32), None, np.array([0.0, value, np.nan], np.float32)]
    people = ["sub-a", "sub-b", "sub-c"]
    rows = pd.DataFrame({"participant_id": people, "embedding": vectors})
    rows.to_parquet(folder / "embeddings.parquet")
    # Row 1 is the header, as a spreadsheet counts.
    wanted = "embeddings.parquet: column 'embedding' holds an infinite value (row 4)"
    assert faults(folder / "embeddings.parquet") == [wanted]
    # A column that is not chosen is no reason to take a damaged row.
    assert faults(folder / "embeddings.parquet", columns=["embedding_000"]) == [wanted]
