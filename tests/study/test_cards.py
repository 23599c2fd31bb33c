"""Cards say what is known, say who must fill in the rest, and name nobody."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.study.cards import (
    DATA_STATEMENT,
    MODEL_CARD,
    study_evaluations,
    write_model_documents,
)
from emoclip_clinical.study.synthetic import SyntheticConfig, write_study

CLIPS = SyntheticConfig(
    n_training_clips=11, n_validation_clips=11, n_test_clips=11, n_training_people=3,
    n_validation_people=2, n_test_people=2, frames_per_clip=8, n_subjects=2, interview_seconds=1,
    second_visit_share=0, n_population=1000,
)  # fmt: skip


def call(*arguments: str | Path) -> None:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_a_model_s_card_follows_its_training_and_its_evaluation(
    tmp_path: Path, small_model: ModelConfig
) -> None:
    folder = tmp_path / "study"
    write_study(folder, config=CLIPS, workers=1)
    settings = {
        "model": {**small_model.model_dump(mode="json"), "frames_per_clip": 8},
        "training": {"epochs": 1, "batch_clips": 6, "threads": 1},
        "extraction": {"prompts": ["prompts/synthetic.yaml"]},
        "evaluation": {"bootstrap": {"resamples": 10}},
    }
    (folder / "protocol.yaml").write_text(json.dumps(settings))
    call("train", "--study", folder, "--device", "cpu")
    model = folder / "models" / "small"
    card = (model / MODEL_CARD).read_text()
    statement = (model / DATA_STATEMENT).read_text()
    assert "Trained on 11 clips, 11 more to choose by" in card
    assert "Not judged on labelled clips" in card
    assert "Its 5 training people are known by salted hashes" in card
    assert "Clips that name no person: 0" in statement
    assert statement.count("*For the author.*") == 6
    call("evaluate", "--study", folder, "--device", "cpu")
    metrics = json.loads((folder / "evaluation/zero_shot/metrics.json").read_text())
    uar = metrics["variants"][0]["pooled"]["uar"]["value"]
    judged = (model / MODEL_CARD).read_text()
    clips = pd.read_csv(folder / "clips.csv")
    single = clips[(clips["split"] == "test") & ~clips["label"].str.contains("_")]
    assert f"| zero_shot | synthetic | {len(single)} | {single['group'].nunique()} |" in judged
    assert f"| {100 * uar:.1f} %" in judged
    before = {name: (model / name).read_bytes() for name in (MODEL_CARD, DATA_STATEMENT)}
    write_model_documents(model, evaluations=study_evaluations(folder))
    assert before == {name: (model / name).read_bytes() for name in before}
    assert str(tmp_path) not in judged + statement
    # Figures of another model are no business of this one.
    other = shutil.copytree(model, folder / "models" / "other")
    card_of = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps({**card_of, "weights_sha256": "0" * 64}))
    write_model_documents(other, evaluations=study_evaluations(folder))
    assert "Not judged on labelled clips" in (other / MODEL_CARD).read_text()


def test_a_model_of_unknown_people_says_so(tmp_path: Path, small_model: ModelConfig) -> None:
    card = {
        "format": 1,
        "architecture": small_model.model_dump(mode="json"),
        "preprocessing": {},
        "weights_sha256": "0" * 64,
        "training": None,
        "imported": {"file_sha256": "ab" * 32, "form": "downstream", "text_tower": "none"},
    }
    (tmp_path / "model.json").write_text(json.dumps(card))
    (tmp_path / "model.safetensors").touch()
    write_model_documents(tmp_path)
    text = (tmp_path / MODEL_CARD).read_text()
    assert "ab" * 32 in text
    assert "nobody said who is in them" in text
    assert "Clips that name no person: not known" in (tmp_path / DATA_STATEMENT).read_text()


def test_an_estimator_s_statement_counts_and_names_nobody(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"sub-{i:03d}" for i in range(20)]
    ratings = rng.integers(1, 8, 20)
    pd.DataFrame({"participant_id": names, "a": rng.normal(size=20), "b": rng.normal(size=20)}
                 ).to_csv(tmp_path / "features.csv", index=False)  # fmt: skip
    pd.DataFrame({"participant_id": names, "N1": ratings}).to_csv(
        tmp_path / "ratings.csv", index=False
    )
    call("regress", "--study", tmp_path, "--features", tmp_path / "features.csv", "--target", "N1",
         "--repeats", "1", "--permutations", "0", "--bootstrap", "0")  # fmt: skip
    text = (tmp_path / "results/N1/estimator" / DATA_STATEMENT).read_text()
    assert "Participants: 20" in text
    mean, sd = np.mean(ratings), np.sqrt(np.sum((ratings - np.mean(ratings)) ** 2) / 19)
    assert f"mean {mean:.2f}, standard deviation {sd:.2f}" in text
    assert "sub-" not in text
