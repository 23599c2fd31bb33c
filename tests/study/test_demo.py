"""The whole road in miniature: drawn, trained, extracted, regressed, reported; twice alike."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.records import InputError
from emoclip_clinical.study.demo import Demo, run_demo
from emoclip_clinical.study.synthetic import SyntheticConfig

SMALL = SyntheticConfig(
    n_training_clips=66,
    n_validation_clips=11,
    n_test_clips=22,
    n_training_people=6,
    n_validation_people=2,
    n_test_people=2,
    n_subjects=24,
    interview_seconds=8,
    n_population=20_000,
)
QUICK = (
    "training.frame_epochs=1",
    "training.epochs=1",
    "training.batch_clips=33",
    "training.threads=1",
    "regression.repeats=2",
    "regression.permutations=39",
    "regression.bootstrap=200",
)


def _demo(folder: Path, **more: bool) -> Demo:
    return run_demo(folder, config=SMALL, overrides=QUICK, workers=1, **more)


@pytest.mark.slow
def test_the_road_from_drawing_to_report_is_whole_and_repeats_itself(tmp_path: Path) -> None:
    first, second = _demo(tmp_path / "first"), _demo(tmp_path / "second")
    assert [r.name for r in first.results] == ["negative_symptoms", "P1"]
    for result in first.results:
        for name in ("predictions.csv", "metrics.json", "folds.csv"):
            other = tmp_path / "second" / "results" / result.name / name
            assert (result.folder / name).read_bytes() == other.read_bytes()
    assert first.zero_shot.predicted.tolist() == second.zero_shot.predicted.tolist()

    folder = tmp_path / "first"
    truth = pd.read_csv(folder / "truth.csv")
    segments = pd.read_parquet(folder / "features" / "segments.parquet")
    assert set(segments["participant_id"]) == set(truth["participant_id"])
    metrics = json.loads((folder / "results" / "P1" / "metrics.json").read_text())
    assert metrics["n_subjects"] == SMALL.n_subjects
    report = (folder / "results" / "P1" / "report.html").read_text(encoding="utf-8")
    assert "research use only" in report.lower()
    assert str(tmp_path) not in report

    # What is done is not done again, and a changed setting is.
    protocol = str(folder / "protocol.yaml")
    quick = [word for key in QUICK for word in ("--set", key)]
    done = CliRunner().invoke(app, ["run", protocol, *quick])
    assert done.exit_code == 0, done.output
    assert "the model is there already" in done.stderr
    assert "the results are there already" in done.stderr
    changed = CliRunner().invoke(app, ["run", protocol, *quick, "--set", "regression.repeats=3"])
    assert "the model is there already" in changed.stderr
    assert "the results are there already" not in changed.stderr

    with pytest.raises(InputError, match="--overwrite replaces it"):
        _demo(folder)


def test_a_folder_with_other_things_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="holds something that is not a demo"):
        _demo(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
