"""Settings of the protocol that say how ratings and features are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.study.checks import validate_study
from emoclip_clinical.study.protocol import open_study
from emoclip_clinical.study.rated import scale_hashes, study_features, study_targets

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
