"""A killed training goes on to the same bytes, in the middle of an epoch too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.training import train
from emoclip_clinical.core.training_config import TrainingConfig

_LORA = pytest.mark.skipif(not find_spec("peft"), reason="peft is not installed")
WORKER = Path(__file__).with_name("training_worker.py")
TRAINING = TrainingConfig.model_validate(
    {
        "frame_epochs": 1,
        "epochs": 3,
        "towers": "trained",
        "batch_clips": 2,
        "select": "validation_loss",
        "save_every_steps": 2,
        "augmentation": {"rotation_degrees": 6},
        "threads": 1,
    }
)


@pytest.fixture(scope="module")
def dropping_model(vit_model: ModelConfig) -> ModelConfig:
    """Dropout makes the weights depend on torch's own generator."""
    temporal = vit_model.temporal.model_copy(update={"dropout": 0.2})
    return vit_model.model_copy(update={"temporal": temporal})


def _train(
    clips: list[Clip],
    model: ModelConfig,
    folder: Path,
    training: TrainingConfig = TRAINING,
    **more: Any,
) -> None:
    train(
        clips,
        model=model,
        training=training,
        folder=folder / "model",
        state_folder=folder / "state",
        seed=7,
        device="cpu",
        **more,
    )


@pytest.mark.slow
def test_a_training_killed_within_an_epoch_ends_in_the_same_bytes(
    shade_manifest: Path, shade_clips: list[Clip], dropping_model: ModelConfig, tmp_path: Path
) -> None:
    arguments = {
        "manifest": str(shade_manifest),
        "model": dropping_model.model_dump(mode="json"),
        "training": TRAINING.model_dump(mode="json"),
        "seed": 7,
        # 11 clips in batches of 2 are 5 steps an epoch: step 8 is the third of the second epoch,
        # one after the last state.
        "kill_at": ["train clips", 16],
    }
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "arguments.json").write_text(json.dumps(arguments))
    ended = subprocess.run([sys.executable, str(WORKER), str(killed)], timeout=240, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (killed / "state" / "state.pt").exists()
    assert not (killed / "model").exists()

    began: list[tuple[str, int]] = []
    _train(
        shade_clips,
        dropping_model,
        killed,
        resume=True,
        progress=lambda task, done, total: began.append((task, done)),
    )
    assert ("train clips", 14) not in began
    assert ("train clips", 16) in began
    _train(shade_clips, dropping_model, tmp_path / "whole")
    for name in ("model.safetensors", "model.json", "training.jsonl"):
        whole = (tmp_path / "whole" / "model" / name).read_bytes()
        assert (killed / "model" / name).read_bytes() == whole, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "towers"), [(3, "trained"), (5, "frozen"), pytest.param(12, "lora", marks=_LORA)]
)
def test_an_interruption_at_any_step_is_made_good(
    shade_clips: list[Clip], dropping_model: ModelConfig, tmp_path: Path, step: int, towers: str
) -> None:
    training = TRAINING.model_copy(update={"towers": towers})

    def interrupt(task: str, done: int, total: int) -> None:
        if task == "train clips" and done == 2 * step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(shade_clips, dropping_model, tmp_path / "broken", training, progress=interrupt)
    _train(shade_clips, dropping_model, tmp_path / "broken", training, resume=True)
    _train(shade_clips, dropping_model, tmp_path / "whole", training)
    for name in ("model.safetensors", "model.json", "training.jsonl"):
        whole = (tmp_path / "whole" / "model" / name).read_bytes()
        assert (tmp_path / "broken" / "model" / name).read_bytes() == whole, name


def test_the_log_has_a_line_a_step_and_a_line_an_epoch(
    shade_clips: list[Clip], dropping_model: ModelConfig, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    training = TRAINING.model_copy(update={"tensorboard": True, "epochs": 1})
    train(
        shade_clips,
        model=dropping_model,
        training=training,
        folder=tmp_path / "model",
        state_folder=tmp_path / "state",
        seed=7,
        device="cpu",
    )
    lines = [json.loads(x) for x in (tmp_path / "model/training.jsonl").read_text().splitlines()]
    steps = [x for x in lines if "step" in x]
    assert [(x["stage"], x["step"]) for x in steps] == [
        (stage, step) for stage in ("frames", "clips") for step in range(1, 6)
    ]
    card = json.loads((tmp_path / "model/model.json").read_text())
    assert [x for x in lines if "step" not in x] == card["epochs"]
    for epoch in card["epochs"]:
        own = [x["training_loss"] for x in steps if x["stage"] == epoch["stage"]]
        assert epoch["training_loss"] == pytest.approx(sum(own) / len(own))
    assert list((tmp_path / "state" / "tensorboard").iterdir())
    speeds = [json.loads(x) for x in (tmp_path / "state/speed.jsonl").read_text().splitlines()]
    assert all(x["clips_per_second"] > 0 for x in speeds)
