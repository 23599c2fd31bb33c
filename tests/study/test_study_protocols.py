"""The shipped protocols of interviews run on a synthetic study made for them, in small sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.study.protocol import open_study
from emoclip_clinical.study.shipped import protocol_path
from emoclip_clinical.study.synthetic import SyntheticConfig, write_study
from emoclip_clinical.study.target_folders import target_folder

SMALL = SyntheticConfig(
    n_training_clips=11, n_validation_clips=11, n_test_clips=11, n_training_people=2,
    n_validation_people=1, n_test_people=1, frames_per_clip=8, n_subjects=12,
    second_visit_share=1, n_sites=3, mean_change=-0.5, with_cains=True, interview_seconds=3,
    n_population=2000,
)  # fmt: skip
ON_VIDEOS = (
    "negative_symptoms", "new_study", "ness_paper", "cains_expression", "multi_site", "longitudinal"
)  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve subjects, three sites, two visits each, rated on PANSS and CAINS; a feature table."""
    folder = tmp_path_factory.mktemp("study") / "all"
    cohort = write_study(folder, config=SMALL, workers=1).cohort
    rng = np.random.default_rng(0)
    rows = [
        {
            "participant_id": visit.key.participant_id,
            "session_id": visit.key.session_id,
            "AU01_r_mean": visit.expressivity["amplitude"],
            "AU12_r_sd": visit.expressivity["rate"] if rng.random() > 0.1 else None,
            "pose_Rx_mean": rng.normal(),
        }
        for visit in cohort.visits
    ]
    pd.DataFrame(rows).to_csv(folder / "features.csv", index=False)
    return folder


def overrides(model: ModelConfig) -> list[str]:
    settings: dict[str, Any] = {
        "model.tower": model.tower.model_dump(mode="json"),
        "model.temporal": model.temporal.model_dump(mode="json"),
        "model.frames_per_clip": 8,
        "training.epochs": 0,
        "training.threads": 1,
        "extraction.face": "whole_frame",
        "regression.inner_folds": 2,
        "regression.importance": False,
        "regression.bootstrap": 100,
        "segment_models.epochs": [1],
        "segment_models.hidden": [4],
    }
    return [w for k, v in settings.items() for w in ("--set", f"{k}={json.dumps(v)}")]


def run(name: str, study: Path, model: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run a shipped protocol; return the records of its targets, in its order."""
    monkeypatch.chdir(study)
    protocol = open_study(study, protocol_file=protocol_path(name)).protocol.regression
    words = overrides(model)
    if protocol.repeats > 1:
        words += ["--set", "regression.repeats=2"]
    if protocol.permutations:
        words += ["--set", "regression.permutations=19"]
    targets = protocol.targets
    if name == "ness_paper":
        targets = ("N1", "cains.exp")  # each report takes seconds, and its nine targets are alike
        words += ["--set", f"regression.targets={json.dumps(targets)}"]
    result = CliRunner().invoke(app, ["run", name, "--device", "cpu", *words])
    assert result.exit_code == 0, result.output
    folders = [study / "results" / target_folder(target) for target in targets]
    assert all((folder / "report.html").is_file() for folder in folders)
    plan = CliRunner().invoke(app, ["run", name, "--dry-run", "--json", *words])
    assert {step["verdict"] for step in json.loads(plan.stdout)["steps"]} == {"skip"}
    return [json.loads((folder / "metrics.json").read_text()) for folder in folders]


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_VIDEOS)
def test_it_runs(
    name: str, study: Path, small_model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = run(name, study, small_model, monkeypatch)
    for record in records:
        assert record["n_subjects"] == 12
        changed = record["target"].startswith("percent_change")
        assert record["n_interviews"] == (12 if changed else 24)
    first = records[0]
    if name == "ness_paper":
        assert first["cv"]["scheme"] == "leave_one_subject_out"
        assert (first["model"], first["cv"]["folds"]) == ("mlp_probe", 12)
        assert [r["settings"]["learnt_with"] for r in records] == [["cains.exp"], ["panss.N1"]]
        report = (study / "results/N1/report.html").read_text()
        assert "One network learnt cains.exp with it" in report
        assert any("leave-one-subject-out pulls" in w for w in first["warnings"])
        origin = json.loads((study / "results/N1/provenance.json").read_text())
        assert origin["protocol"]["regression"]["published"][0]["value"] == 0.85
    if name == "multi_site":
        assert (first["cv"]["scheme"], first["cv"]["folds"]) == ("leave_one_site_out", 3)
    if name == "cains_expression":
        assert [r["items"] for r in records] == [["C10", "C11", "C12", "C13"], ["C10"]]
    if name == "longitudinal":
        assert first["repeated_visits"] is not None


def test_features_of_other_tools_need_neither_video_nor_model(
    study: Path, small_model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (record,) = run("bring_your_own_features", study, small_model, monkeypatch)
    assert record["n_interviews"] == 24
    table = pd.read_csv(study / "results" / "negative_symptoms" / "coefficients.csv")
    assert set(table["feature"]) == {"AU01_r_mean", "AU12_r_sd"}
