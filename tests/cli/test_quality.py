"""`quality` and `prompts` as a user types them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.study.history import record_look

MEASURES = ("FaceRectHeight", "FaceScore", "sharpness", "brightness", "head_motion")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Write a study with features of fifteen interviews with the longest names there are."""
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "features"
    folder.mkdir()
    names = [f"sub-{k:04d}_ses-baseline_run-1" for k in range(15)]
    coverage = np.arange(15) / 14
    status = np.where(coverage < 0.4, "low_coverage", "ok")
    shared = {
        "interview": names,
        "status": status,
        "face_coverage": coverage,
        **dict.fromkeys(MEASURES, 1234.5),
    }
    pd.DataFrame(shared).to_parquet(folder / "segments.parquet")
    more = {
        "participant_id": [name[:8] for name in names],
        "session_id": "ses-baseline",
        "reason": "",
        "seconds": 3600.0,
        "n_segments": 1,
        "n_ok": (status == "ok").astype(int),
        **dict.fromkeys(("n_faces", "tracked_share", "patient_confidence"), 1),
    }
    pd.DataFrame(shared | more).to_parquet(folder / "interviews.parquet")
    (folder / "features.json").write_text(json.dumps({"quality": {}}))
    return tmp_path


def test_quality_fits_eighty_columns_and_needs_no_ratings(study):
    made = CliRunner().invoke(app, ["quality", "--study", str(study)])
    assert made.exit_code == 0, made.output
    assert all(len(line.rstrip()) <= 80 for line in made.stdout.splitlines())
    assert "15 interviews, 15 segments: 9 ok, 6 low_coverage" in made.stdout
    assert "other thresholds" in made.stderr
    assert "0000" in made.stdout
    assert "0012" not in made.stdout
    assert not (study / "history.jsonl").exists()


def test_thresholds_after_a_look_at_ratings_are_called_late(study):
    moment = datetime(2026, 2, 3, tzinfo=UTC)
    for _ in range(2):
        record_look(study, command="regress", targets=["N1"], settings_sha256="0", now=moment)
    made = CliRunner().invoke(app, ["quality", "--study", str(study)])
    assert made.exit_code == 0
    assert "used 2 times since 2026-02-03" in made.stderr
    assert len((study / "history.jsonl").read_text().splitlines()) == 2


def test_quality_as_json_and_csv(study):
    table = study / "quality.csv"
    made = CliRunner().invoke(
        app,
        [
            *("quality", str(study / "features"), "--json", "--worst", "2", "--csv", str(table)),
            *("--set", "extraction.quality.minimum_face_height_pixels=2000"),
        ],
    )
    assert made.exit_code == 0, made.output
    summary = json.loads(made.stdout)
    assert summary["n_segments"] == 15
    assert [row["interview"][:8] for row in summary["worst"]] == ["sub-0000", "sub-0001"]
    chosen = [t for t in summary["thresholds"] if t["set"] and "height" in t["setting"]]
    assert [(t["level"], t["n_beyond"], t["n_beyond_ok"]) for t in chosen] == [(2000, 15, 9)]
    assert len(pd.read_csv(table)) == 15


def test_quality_without_features_is_bad_input(tmp_path):
    made = CliRunner().invoke(app, ["quality", "--study", str(tmp_path)])
    assert made.exit_code == 2
    assert made.stderr.count("error: ") == 3
    assert "emoclip-clinical extract" in made.stderr


def test_prompts_are_listed_shown_and_checked(tmp_path):
    listed = CliRunner().invoke(app, ["prompts"])
    assert listed.exit_code == 0
    for name in ("actions", "basic_seven", "class_names", "clinical", "mafw_compounds"):
        assert name in listed.stdout
    shown = CliRunner().invoke(app, ["prompts", "clinical", "--json"])
    (clinical,) = json.loads(shown.stdout)
    assert len(clinical["classes"]) == 21
    assert "not checked by clinicians" in clinical["author"]
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nclasses: {a: '[bold]x[/bold]', b: y}\ncompounds: {c: [a, b]}\n")
    shown = CliRunner().invoke(app, ["prompts", str(own)])
    assert shown.exit_code == 0
    assert "[bold]x[/bold]" in shown.stdout
    own.write_text("name: Own\nclasses: {a: 1}\nmore: 2\n")
    faulty = CliRunner().invoke(app, ["prompts", str(own), "clinicl"])
    assert faulty.exit_code == 2
    assert faulty.stderr.count("error: ") == 3
