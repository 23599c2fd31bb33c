"""One recording under two participants is refused where it could be learned from and predicted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.study.checks import validate_study
from emoclip_clinical.study.protocol import open_study
from emoclip_clinical.study.recordings import check_recordings
from emoclip_clinical.study.regress import run_regress

PROTOCOL = "{regression: {targets: [marder_negative]}, data: {features: features}}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "protocol.yaml").write_text(PROTOCOL)
    items = [f"{letter}{k}" for letter, last in (("P", 7), ("N", 7), ("G", 16))
             for k in range(1, last + 1)]  # fmt: skip
    rows = "".join(f"0{who}{',1' * len(items)}\n" for who in range(1, 6))
    (tmp_path / "ratings.csv").write_text(f"participant_id,{','.join(items)}\n{rows}")
    (tmp_path / "interviews").mkdir()
    (tmp_path / "interviews" / "sub-01.mp4").write_bytes(b"film")
    for who in range(3, 6):
        (tmp_path / "interviews" / f"sub-0{who}.mp4").write_bytes(b"film of %d" % who)
    return tmp_path


def faults_of_validation(folder: Path) -> list[str]:
    try:
        validate_study(folder, values=False)
    except InputError as error:
        return list(error.faults)
    return []


def test_validate_names_the_pair(folder: Path) -> None:
    (folder / "interviews" / "sub-02.mp4").write_bytes(b"else")
    before = faults_of_validation(folder)
    (folder / "interviews" / "sub-02.mp4").write_bytes(b"film")
    added = [fault for fault in faults_of_validation(folder) if fault not in before]
    assert added == ["sub-01 and sub-02 are the same recording of two participants"]


def test_validate_warns_of_one_participants_and_of_columns(folder: Path) -> None:
    (folder / "interviews" / "interviews.csv").write_text(
        "path,participant_id,session,run\nsub-01.mp4,01,,1\nsub-01.mp4,01,,2\nsub-02.mp4,02,,\n"
        "sub-03.mp4,03,,\nsub-04.mp4,04,,\nsub-05.mp4,05,,\n"
    )
    (folder / "interviews" / "sub-02.mp4").write_bytes(b"another")
    told = validate_study(folder, values=False).splitlines()
    assert "6 interviews" in told[0]
    assert told[1:] == [
        "warning: interviews.csv: the column 'session' is not read; is 'session_id' meant?",
        "warning: sub-01_run-1 and sub-01_run-2 are the same recording, twice",
    ]


def described(folder: Path, *interviews: str) -> Path:
    features = folder / "features"
    features.mkdir(exist_ok=True)
    entries = [{"interview": name, "sha256": "ab", "patient": "longest"} for name in interviews]
    (features / "features.json").write_text(json.dumps({"inputs": entries}))
    return features


def test_features_of_one_recording_are_refused(folder: Path, monkeypatch) -> None:
    assert check_recordings(folder / "features.csv") == ()
    assert check_recordings(described(folder, "sub-01")) == ()
    same = check_recordings(described(folder, "sub-01_ses-1", "sub-01_ses-2"))
    assert same == ("sub-01_ses-1 and sub-01_ses-2 are the same recording, twice",)
    described(folder, "sub-01_ses-1", "sub-02")
    # Before any rating is read.
    monkeypatch.setattr("emoclip_clinical.study.regress.study_features", lambda *_: None)
    with pytest.raises(InputError, match="sub-01_ses-1 and sub-02 are the same recording"):
        run_regress(open_study(folder))
    assert not (folder / "history.jsonl").exists()
