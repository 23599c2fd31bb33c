"""Settings of the protocol that say how ratings and features are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.study.checks import validate_study
from emoclip_clinical.study.protocol import open_study
from emoclip_clinical.study.rated import (
    result_folders,
    scale_hashes,
    study_features,
    study_targets,
)

SCALE = """
name: mood
title: Mood scale
source: "A. Uthor (2020)."
item_minimum: 0
item_maximum: 3
prorate_minimum_share: 0.5
items: [{code: M1, name: one, face: visible}, {code: M2, name: two, face: not_visible}]
sums: [{name: total, title: total, items: [M1, M2]}]
"""
PROTOCOL = """
data: {scales: [own/mood.yaml], features: features.csv}
regression: {targets: [mood.total], raters: first, missing_items: prorate, impute: median}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mood.yaml").write_text(SCALE)
    (tmp_path / "protocol.yaml").write_text(PROTOCOL)
    (tmp_path / "ratings.csv").write_text(
        "participant_id,rater_id,m1,m2\na,x,1,2\na,y,3,3\nb,x,2,\nc,x,,\n"
    )
    (tmp_path / "features.csv").write_text("participant_id,f,g\na,1,\nb,2,3\nc,4,5\n")
    return tmp_path


def test_the_protocols_scales_raters_and_missing_rules_hold(folder: Path) -> None:
    study = open_study(folder)
    (rated,) = study_targets(study, folder / "ratings.csv")
    assert rated.values.tolist() == [3, 4]
    assert rated.prorated is not None
    assert rated.prorated.tolist() == [False, True]
    assert rated.maximum == 6
    assert study_features(study, folder / "features.csv").values["g"].isna().tolist() == [
        True, False, False,
    ]  # fmt: skip


def test_a_scale_file_is_an_input_of_the_result(folder: Path) -> None:
    before = scale_hashes(open_study(folder))
    (folder / "own" / "mood.yaml").write_text(SCALE + "# a note\n")
    after = scale_hashes(open_study(folder))
    assert list(before) == list(after) == ["scales"]
    assert before != after
    (folder / "protocol.yaml").write_text("")
    assert scale_hashes(open_study(folder)) == {}


def test_validate_knows_the_studys_scales(folder: Path) -> None:
    (folder / "interviews").mkdir()
    (folder / "ratings.csv").write_text("participant_id,M1,M2\na,1,4\nb,0,0\n")
    with pytest.raises(InputError) as caught:
        validate_study(folder)
    wanted = "item M2 must be an integer from 0 to 3, got 4 (participant 'a', row 2 of ratings.csv)"
    assert caught.value.faults.count(wanted) == 1
    (folder / "own" / "mood.yaml").unlink()
    with pytest.raises(InputError, match=r"scale mood\.yaml: no such file"):
        validate_study(folder)


def targets_of(folder: Path, *targets: str) -> list[str]:
    study = open_study(folder, settings={"regression.targets": targets})
    return [rated.target for rated in study_targets(study, folder / "ratings.csv")]


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        (("negative_symptoms", "panss.negative_symptoms", "PANSS.Negative_Symptoms"),
         "negative_symptoms"),
        (("N1", "n1", "panss.N1", "Panss.n1"), "N1"),
        (("N1+N3", "n1+N3", "panss.N1+N3", "N1 + N3"), "N1+N3"),
        (("percent_change(negative_symptoms)", "percent_change(panss.negative_symptoms)"),
         "percent_change_negative_symptoms_"),
        (("bnss.total", "BNSS.total"), "bnss.total"),
        (("mood.gap", "gap", "Gap"), "gap"),
        # Nobody knows whose it is, and what is no name of a scale is a column's own.
        (("total",), "total"),
        (("panss2.N1",), "panss2.N1"),
        (("My mood",), "My_mood"),
    ],
)  # fmt: skip
def test_a_target_has_one_folder_however_it_is_spelled(
    tmp_path: Path, spelled: tuple[str, ...], name: str
) -> None:
    (tmp_path / "mood.yaml").write_text(
        "{name: mood, title: t, source: s, item_minimum: 0, item_maximum: 3, items: "
        "[{code: M1, name: one, face: visible}, {code: M2, name: two, face: visible}], "
        "sums: [{name: gap, title: t, items: [M1], minus: [M2]}]}"
    )
    for target in spelled:
        settings = {"regression.targets": [target], "data.scales": ["mood.yaml"]}
        folders = result_folders(open_study(tmp_path, settings=settings))
        assert folders == {target: tmp_path / "results" / name}


def test_a_target_counts_once_however_it_is_spelled(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(
        "participant_id,N1,N2,N3,mood,Mood,a b,a_b\na,1,2,3,1,2,3,4\nb,2,2,2,2,3,4,5\n"
    )
    with pytest.raises(InputError) as caught:
        targets_of(tmp_path, "N1", "panss.N1", "n1", "N2+N3", "N3+N2", "mood", "Mood", "a b", "a_b")
    assert list(caught.value.faults) == [
        "targets 'N1' and 'panss.N1' are the same: name it once",
        "targets 'N1' and 'n1' are the same: name it once",
        "targets 'N2+N3' and 'N3+N2' are the same: name it once",
        "targets 'mood' and 'Mood' would both be written to the folder 'Mood': rename a column of "
        "the ratings, or estimate them apart",
        "targets 'a b' and 'a_b' would both be written to the folder 'a_b': rename a column of the "
        "ratings, or estimate them apart",
    ]
    assert targets_of(tmp_path, "N1", "N2", "N2+N3") == ["panss.N1", "panss.N2", "panss.N2+N3"]
