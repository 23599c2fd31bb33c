"""A participant whom the model was trained on is refused, through the commands a user types."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.core.config import ModelConfig

PARTICIPANTS = [f"sub-{i:03d}" for i in range(14)]


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def done(*arguments: str | Path) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def study(tmp_path: Path, small_model: ModelConfig, write_video: Callable[..., Path]) -> Path:
    """A study with 14 interviews and ratings, and six clips whose people are to be named."""
    settings = {
        "model": small_model.model_dump(mode="json"),
        "training": {"epochs": 1, "batch_clips": 2, "threads": 1},
        "extraction": {"face": "whole_frame"},
        "regression": {"folds": 2, "repeats": 1, "permutations": 19, "bootstrap": 0},
    }
    (tmp_path / "protocol.yaml").write_text(json.dumps(settings))
    rng = np.random.default_rng(0)
    for name in PARTICIPANTS:
        frames = rng.integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
        write_video(tmp_path / "interviews" / f"{name}.mp4", frames)
    for i in range(6):
        frames = np.full((10, 64, 64, 3), 40 * i, np.uint8)
        write_video(tmp_path / "clips" / f"{i}.mp4", frames)
    ratings = {"participant_id": PARTICIPANTS, "blunting": rng.normal(size=len(PARTICIPANTS))}
    pd.DataFrame(ratings).to_csv(tmp_path / "ratings.csv", index=False)
    return tmp_path


def regress_after_training(study: Path, groups: Sequence[str], *more: str) -> Result:
    clips = pd.DataFrame(
        {
            "path": [f"clips/{i}.mp4" for i in range(6)],
            "caption": [f"Person {i} speaks. The brows rise." for i in range(6)],
            "group": groups,
            "split": ["train"] * 3 + ["validation"] + ["test"] * 2,
        }
    )
    clips.to_csv(study / "clips.csv", index=False)
    assert "clips train: no label 3" in done("train", "--study", study).stderr
    done("extract", study / "interviews", "--study", study)
    return call("regress", "--study", study, "--target", "blunting", *more)


def test_participants_among_the_training_clips_are_named(study: Path) -> None:
    result = regress_after_training(study, ["003", "x", "sub-005", "SUB-006", "sub-001", "y"])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    named = re.findall(r"participant '(sub-\d+)' is among the people", result.output)
    # 006 chose no weight here, but was looked at; 001 was only tested on.
    assert named == ["sub-003", "sub-005", "sub-006"]
    assert not (study / "results").exists()
    card = (study / "models/small/model.json").read_text()
    part = json.loads(card)["training_people"]
    assert json.loads((study / "features/features.json").read_text())["training_people"] == part
    assert (len(part["hashes"]), part["n_clips"]) == (4, 4)
    assert not re.search(r"sub-|SUB-", card)


def test_who_is_left_out_does_no_harm(study: Path) -> None:
    ratings = pd.read_csv(study / "ratings.csv")
    ratings["arm"] = ["b" if p == "sub-003" else "a" for p in ratings["participant_id"]]
    ratings.to_csv(study / "ratings.csv", index=False)
    groups = ["003", "x", "x", "z", "", ""]
    assert regress_after_training(study, groups, "--where", "arm=a").exit_code == 0
    assert call("regress", "--study", study, "--target", "blunting").exit_code == 2


def test_other_people_are_no_reason_to_refuse_or_to_warn(study: Path) -> None:
    result = regress_after_training(study, ["p1", "p2", "p3", "p4", "sub-001", "sub-002"])
    assert result.exit_code == 0, result.output
    assert "training clips" not in result.output
    folder = study / "results" / "blunting"
    text = (folder / "provenance.json").read_text()
    assert json.loads(text)["features"]["training_people"] == {
        "known": "complete", "n_people": 4, "n_clips": 4, "n_clips_without_person": 0,
    }  # fmt: skip
    card = json.loads((study / "models/small/model.json").read_text())["training_people"]
    assert not any(h in text for h in card["hashes"])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([""] * 6, "unknown (its card names no `group` of any clip)"),
        (["p1", "", "", "p4", "", ""], "unknown for 2 of 4 clips, which name no `group`"),
    ],
)
def test_what_is_unknown_is_said_in_every_place(
    study: Path, groups: list[str], message: str
) -> None:
    result = regress_after_training(study, groups)
    assert result.exit_code == 0, result.output
    assert message in " ".join(result.stderr.split())
    folder = study / "results" / "blunting"
    warnings = json.loads((folder / "metrics.json").read_text())["warnings"]
    assert any(message in w for w in warnings)
    assert "people in the model" in (folder / "report.html").read_text(encoding="utf-8")


def test_features_of_other_tools_are_not_asked_about_people(study: Path) -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.normal(size=(len(PARTICIPANTS), 3)), columns=list("abc"))
    table.insert(0, "participant_id", PARTICIPANTS)
    table.to_csv(study / "other.csv", index=False)
    result = done(
        "regress", "--study", study, "--target", "blunting", "--features", study / "other.csv"
    )
    assert "training clips" not in result.output
