"""Exclusions: read whole or refused whole, counted only where the protocol names them."""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError, InterviewKey
from emoclip_clinical.study.exclusion_files import (
    add_exclusion,
    mark_id,
    present_exclusions,
    take_back_exclusion,
)
from emoclip_clinical.study.exclusions import Exclusion, read_exclusions, segment_places
from emoclip_clinical.study.predict import run_predict
from emoclip_clinical.study.protocol import open_study
from emoclip_clinical.study.rated import study_features
from emoclip_clinical.study.regress import is_estimated, run_regress
from emoclip_clinical.study.segment_inputs import read_bags

QUICK = (
    "{targets: [score], folds: 3, inner_folds: 3, repeats: 2, permutations: 0, bootstrap: 0, "
    "feature_columns: [mean_*]}"
)
KEYS = [InterviewKey(f"sub-{i:02d}") for i in range(14)]
KEYS += [InterviewKey("sub-20", "", run) for run in (1, 2)]


@pytest.fixture
def folder(tmp_path: Path, write_features: Callable[..., Path]) -> Path:
    write_features(tmp_path / "features", interviews=KEYS, n_segments=6)
    rng = np.random.default_rng(1)
    people = sorted({key.participant_id for key in KEYS})
    ratings = pd.DataFrame({"participant_id": people, "score": rng.normal(size=len(people))})
    ratings.to_csv(tmp_path / "ratings.csv", index=False)
    return tmp_path


def name_file(folder: Path, name: str | None = "marks.csv") -> None:
    data = "" if name is None else f"data: {{exclusions: {name}}}\n"
    (folder / "protocol.yaml").write_text(f"{data}regression: {QUICK}\n")


def write_marks(folder: Path, *rows: str, name: str = "marks.csv") -> Path:
    head = "participant_id,session_id,interview,onset,duration,segment,reason,marked_at"
    (folder / name).write_text("\n".join([head, *rows]) + "\n")
    return folder / name


def features_of(folder: Path) -> pd.DataFrame:
    table = study_features(open_study(folder), folder / "features")
    return table.values.set_index(pd.Index(table.keys["participant_id"]))


def test_every_fault_is_told_at_once(folder: Path) -> None:
    path = write_marks(
        folder,
        "sub-00,,sub-00,0,2,,sneezed,",
        ",,sub-99,0,2,,who,",
        ",,sub-01,11,2,,late,",
        ",,sub-01,0,2,,,",
        "sub-00,,sub-00,0,2,,again,",
        ",,sub-01,,,,nowhere,",
        ",,sub-01,4,,,half,",
        ",,sub-01,,,9,number,",
        ",,sub-01,,,x,number,",
        ",,sub-01,2,-1,,backwards,",
        "sub-03,,sub-01,2,2,,other,",
        ",,sub-02,2,2,,=cmd(),",
        f",,sub-03,2,2,,{'x' * 201},",
    )
    with pytest.raises(InputError) as caught:
        read_exclusions(path, places=segment_places(folder / "features"))
    wanted = [
        "reason is empty (row 5 of marks.csv)",
        "interview: no segment of 'sub-99' is in the features (row 3",
        "11 to 13 s lies outside the segments of sub-01 (0 to 12 s) (row 4",
        "the same stretch is excluded by row 2 (row 6",
        "a place is wanted: onset and duration, or segment (row 7",
        "onset and duration belong together, got one of them (row 8",
        "sub-01 has no segment 9 (row 9",
        "segment must be a segment's number, got 'x' (row 10",
        "duration must be above 0 seconds, got -1 (row 11",
        "participant_id: sub-01 is of 'sub-01', got 'sub-03' (row 12",
        "must not begin with =, +, - or @, which spreadsheets calculate (row 13",
        "reason must have at most 200 characters, got 201 (row 14",
    ]
    assert len(caught.value.faults) == len(wanted)
    for text in wanted:
        assert any(text in fault for fault in caught.value.faults), (text, caught.value.faults)


def test_a_time_leaves_out_whatever_lies_in_it_and_a_number_one_segment(folder: Path) -> None:
    path = write_marks(folder, ",,sub-00,3.5,2.5,,a,", ",,sub-01,,,4,b,", ",,sub-02,2,2,,c,")
    places = segment_places(folder / "features")
    found = read_exclusions(path, places=places)
    # 3.5 to 6 s: segments of 2 s from 2 and from 4; the one from 6 only touches it.
    assert [sorted(places.covered(e)) for e in found] == [[1, 2], [4], [1]]


def test_a_file_that_is_not_named_changes_nothing(folder: Path) -> None:
    name_file(folder, None)
    before = features_of(folder)
    write_marks(folder, ",,sub-00,0,4,,sneezed,", name="exclusions.csv")
    pd.testing.assert_frame_equal(features_of(folder), before)
    (warning,) = study_features(open_study(folder), folder / "features").warnings
    assert warning.startswith("exclusions.csv is in the study's folder, but the protocol does not")


def test_marked_segments_have_no_share_in_the_features(folder: Path) -> None:
    name_file(folder, None)
    before = features_of(folder)
    write_marks(folder, ",,sub-00,0,4,,sneezed,", ",,sub-20_run-2,0,8,,other,")
    name_file(folder)
    after = features_of(folder)
    segments = pd.read_parquet(folder / "features" / "segments.parquet")
    column = "cosine_basic__sad"
    rest = segments[(segments["interview"] == "sub-00") & (segments["segment"] >= 2)]
    mean = after.loc["sub-00", f"mean_{column}"]
    assert mean == pytest.approx(rest[column].astype(float).mean())
    # The recordings of a visit count by their usable segments: 6 and 2.
    one = segments[segments["interview"] == "sub-20_run-1"][column].astype(float)
    two = segments[segments["interview"] == "sub-20_run-2"][column][4:].astype(float)
    expected = (one.sum() + two.sum()) / 8
    assert after.loc["sub-20", f"mean_{column}"] == pytest.approx(expected)
    others = [name for name in before.index if name not in {"sub-00", "sub-20"}]
    pd.testing.assert_frame_equal(after.loc[others], before.loc[others])
    (warning,) = study_features(open_study(folder), folder / "features").warnings
    assert warning.startswith("6 of 96 usable segments, in 2 interviews, are left out")


def test_named_without_rows_it_gives_the_same_bits(folder: Path) -> None:
    name_file(folder, None)
    before = features_of(folder)
    write_marks(folder)
    name_file(folder)
    pd.testing.assert_frame_equal(features_of(folder), before)
    values = [frame.to_numpy().tobytes() for frame in (features_of(folder), before)]
    assert values[0] == values[1]


def test_an_interview_without_a_segment_is_told_in_the_flow(folder: Path) -> None:
    write_marks(folder, ",,sub-05,0,12,,secret reason,")
    name_file(folder)
    study = open_study(folder)
    (result,) = run_regress(study)
    excluded = pd.read_csv(result.folder / "excluded.csv")
    assert excluded[["participant_id", "stage"]].values.tolist() == [["sub-05", "features"]]
    wanted = "no usable features (excluded: all 6 usable segments were marked to be left out)"
    assert excluded["reason"].tolist() == [wanted]
    flow = pd.read_csv(result.folder / "flow.csv").set_index("step")["visits"]
    assert (flow["with features"], flow["with usable features"]) == (15, 14)
    provenance = json.loads((result.folder / "provenance.json").read_text())
    assert len(provenance["inputs"]["exclusions"]) == 64
    for path in result.folder.rglob("*"):
        assert path.is_dir() or b"secret reason" not in path.read_bytes()
    assert is_estimated(study)
    write_marks(folder, ",,sub-05,0,10,,secret reason,")
    assert not is_estimated(study)


def test_models_of_segments_do_not_see_them(folder: Path) -> None:
    keys = pd.DataFrame({"participant_id": ["sub-00", "sub-01"], "session_id": ""})
    path = folder / "features" / "embeddings.parquet"
    whole = read_bags(path, keys=keys)
    bags = read_bags(path, keys=keys, left_out={"sub-00": frozenset({1, 3})})
    assert bags.starts.tolist() == [0, 4, 10]
    np.testing.assert_array_equal(bags.values, whole.values[[0, 2, 4, 5, *range(6, 12)]])


def test_predictions_leave_them_out_too(folder: Path) -> None:
    name_file(folder)
    write_marks(folder)
    (result,) = run_regress(open_study(folder))
    estimator = result.folder / "estimator"
    before = run_predict(open_study(folder), estimator=estimator).predictions.table
    write_marks(folder, ",,sub-00,0,4,,x,", ",,sub-05,0,12,,x,")
    after = run_predict(open_study(folder), estimator=estimator)
    both = before.merge(after.predictions.table, on="participant_id", suffixes=("", "_after"))
    changed = both["predicted"] != both["predicted_after"]
    assert both["participant_id"][changed].tolist() == ["sub-00"]
    assert set(before["participant_id"]) - set(both["participant_id"]) == {"sub-05"}
    assert "8 of 96 usable segments, in 2 interviews" in str(after.predictions.warnings)


def test_tables_and_missing_files_are_refused(folder: Path) -> None:
    name_file(folder)
    with pytest.raises(InputError, match=r"data\.exclusions: no such file: marks\.csv"):
        features_of(folder)
    write_marks(folder, ",,sub-00,0,4,,sneezed,")
    (folder / "features.csv").write_text("participant_id,f\nsub-00,1\n")
    with pytest.raises(InputError, match="these features have none"):
        study_features(open_study(folder), folder / "features.csv")


def test_marks_are_written_and_taken_back(folder: Path) -> None:
    places = segment_places(folder / "features")
    path = folder / "exclusions.csv"
    path.write_text("interview;onset;duration;reason;rater\nsub-00;0;2;Ünruhe, laut;Ö\n")
    new = Exclusion("sub-20_run-1", None, 4.0, 2.0, 'said "no", left', "2026-01-02", True)
    add_exclusion(path, new, places=places)
    kept, added = present_exclusions(path, places=places)
    assert (kept.reason, kept.further) == ("Ünruhe, laut", (("rater", "Ö"),))
    assert (added.reason, added.marked_at, added.estimates_shown) == (
        'said "no", left', "2026-01-02", True,
    )  # fmt: skip
    assert mark_id(added) == mark_id(new)
    table = pd.read_csv(path).iloc[1]
    assert (table["participant_id"], table["segment"]) == ("sub-20", 2)
    before = path.read_bytes()
    for bad, why in (
        (new, "excluded already"),
        (Exclusion("sub-00", None, 4.0, 2.0, " "), "must say why"),
        (Exclusion("sub-00", None, 4.0, 2.0, "a\nb"), "one line"),
        (Exclusion("sub-77", None, 4.0, 2.0, "x"), "no such interview"),
        (Exclusion("sub-00", None, 40.0, 2.0, "x"), "no segment lies there"),
        (Exclusion("sub-00", None, -5.0, 7.0, "x"), "outside the segments"),
        (Exclusion("sub-00", None, 4.0, 2.0, "n/a"), "read as nothing"),
        (Exclusion("sub-00", None, 4.0, 2.0, "\uff1d1"), "spreadsheets"),
    ):
        with pytest.raises(InputError, match=why):
            add_exclusion(path, bad, places=places)
    assert path.read_bytes() == before
    take_back_exclusion(path, mark_id(kept), places=places)
    take_back_exclusion(path, mark_id(new), places=places)
    assert present_exclusions(path, places=places) == ()
    with pytest.raises(InputError, match="no such mark"):
        take_back_exclusion(path, mark_id(new), places=places)


def test_marks_of_two_processes_are_all_kept(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from emoclip_clinical.study.exclusion_files import add_exclusion\n"
        "from emoclip_clinical.study.exclusions import Exclusion, segment_places\n"
        "folder, first = Path(sys.argv[1]), float(sys.argv[2])\n"
        "places = segment_places(folder / 'features')\n"
        "for i in range(40):\n"
        "    mark = Exclusion('sub-00', None, first + i / 100, 0.5, 'x')\n"
        "    add_exclusion(folder / 'exclusions.csv', mark, places=places)\n"
    )
    begun = [
        subprocess.Popen([sys.executable, "-c", script, str(folder), first])
        for first in ("0", "0.005")
    ]
    assert [process.wait(timeout=60) for process in begun] == [0, 0]
    places = segment_places(folder / "features")
    assert len(present_exclusions(folder / "exclusions.csv", places=places)) == 80
    assert not list(folder.glob(".exclusions*"))


def test_marks_made_before_estimates_are_told_from_those_after(folder: Path) -> None:
    places = segment_places(folder / "features")
    name_file(folder)
    for segment, shown in ((0, False), (1, True)):
        mark = Exclusion("sub-00", None, 2.0 * segment, 2.0, "x", "", shown)
        add_exclusion(folder / "marks.csv", mark, places=places)
    warnings = study_features(open_study(folder), folder / "features").warnings
    assert any("1 of 2 exclusions were marked while estimates were shown" in w for w in warnings)


OWN = ("007", "12345678901234567890", "1e3", "n/a", "TRUE", "0.10", "=1+1", "a\nb", "NaN", "")


def test_a_mark_leaves_the_cells_of_own_columns_as_they_are_written(folder: Path) -> None:
    places = segment_places(folder / "features")
    path = folder / "exclusions.csv"
    names = [f"own {i}" for i in range(len(OWN))]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["interview", "onset", "duration", "reason", *names])
        writer.writerow(["sub-00", "0", "2", "noise", *OWN])
    new = Exclusion("sub-01", None, 4.0, 2.0, "left")
    add_exclusion(path, new, places=places)
    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert [first[name] for name in names] == list(OWN)
    assert [second[name] for name in names] == [""] * len(OWN)
    take_back_exclusion(path, mark_id(new), places=places)
    with path.open(newline="") as file:
        (left,) = csv.DictReader(file)
    assert left == first


@pytest.mark.parametrize(
    "head", ["interview,reason,my note,coder", '"interview";"reason";"my note";coder']
)
def test_own_columns_are_kept_where_no_mark_is_left(folder: Path, head: str) -> None:
    places = segment_places(folder / "features")
    path = folder / "exclusions.csv"
    path.write_text(f"{head}\n")
    new = Exclusion("sub-01", None, 4.0, 2.0, "left")
    add_exclusion(path, new, places=places)
    assert pd.read_csv(path).columns[-2:].tolist() == ["my note", "coder"]
    take_back_exclusion(path, mark_id(new), places=places)
    assert pd.read_csv(path).columns[-2:].tolist() == ["my note", "coder"]
    assert present_exclusions(path, places=places) == ()


def test_a_mark_that_would_lose_an_own_cell_is_not_written(folder: Path) -> None:
    path = write_marks(folder, ",,sub-00,0,2,,noise,")
    before = path.read_bytes()
    # Cells are read stripped: this one would come back as another.
    new = Exclusion("sub-01", None, 4.0, 2.0, "left", further=(("coder", " 7"),))
    with pytest.raises(InputError, match="would not be read as it was written"):
        add_exclusion(path, new, places=segment_places(folder / "features"))
    assert path.read_bytes() == before


def test_missing_values_of_known_columns_are_still_missing(folder: Path) -> None:
    path = write_marks(folder, "n/a,NA,sub-00,n/a,n/a,1.0,noise,nan", ",,sub-01,1e0,2,,x,")
    first, second = read_exclusions(path, places=segment_places(folder / "features"))
    assert (first.segment, first.onset, first.duration, first.marked_at) == (1, None, None, "")
    assert (second.onset, second.duration) == (pytest.approx(1.0), pytest.approx(2.0))
    path = write_marks(folder, ",,n/a,0,2,,noise,", ",,sub-00,0,2,,n/a,", ",,sub-00,1_0,2,,x,")
    with pytest.raises(InputError) as caught:
        read_exclusions(path, places=segment_places(folder / "features"))
    assert caught.value.faults == (
        "interview: no segment of 'n/a' is in the features (row 2 of marks.csv)",
        "reason must say why: 'n/a' is read as nothing (row 3 of marks.csv)",
        "onset must be a number of seconds, got '1_0' (row 4 of marks.csv)",
        "onset and duration belong together, got one of them (row 4 of marks.csv)",
    )


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_a_mark_keeps_the_mode_of_the_file_and_the_link_to_it(folder: Path) -> None:
    places = segment_places(folder / "features")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    real = write_marks(folder, ",,sub-00,0,2,,noise,", name="elsewhere/real.csv")
    real.chmod(0o600)
    link = folder / "exclusions.csv"
    link.symlink_to(real)
    add_exclusion(link, Exclusion("sub-01", None, 4.0, 2.0, "left"), places=places)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert [e.interview for e in read_exclusions(real, places=places)] == ["sub-00", "sub-01"]
    assert [path.name for path in elsewhere.iterdir()] == ["real.csv"]
    assert not list(folder.glob(".exclusions*"))
