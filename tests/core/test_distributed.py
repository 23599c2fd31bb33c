"""Two real processes against one: same loss, same gradients, same weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import normalize

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.distributed import World, own_device
from emoclip_clinical.core.loss import contrastive_loss
from emoclip_clinical.core.training import train
from emoclip_clinical.core.training_config import OptimiserConfig, TrainingConfig

WORKER = Path(__file__).with_name("training_worker.py")


def _two_processes(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(folder)],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=240) for process in running] == [0, 0]


TRAINING = TrainingConfig(
    frame_epochs=1,
    epochs=2,
    towers="trained",
    batch_clips=5,  # 3 + 2
    select="validation_loss",
    optimiser=OptimiserConfig(name="sgd", learning_rate=0.05),
    frame_optimiser=OptimiserConfig(name="sgd", learning_rate=0.05),
    threads=1,
)


def _batch(*, faithful: bool) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "clips": torch.randn(7, 6, generator=generator),
        "texts": torch.randn(7, 5, generator=generator),
        "clip_map": torch.randn(6, 4, generator=generator),
        "text_map": torch.randn(5, 4, generator=generator),
        "scale": torch.tensor(1.7),
        "meanings": torch.tensor([0, 1, 0, 2, 3, 1, 0]),
        "faithful": faithful,
    }


@pytest.fixture(scope="module")
def together(
    shade_manifest: Path, vit_model: ModelConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What two processes came to; both are started once, for importing torch takes longest."""
    folder = tmp_path_factory.mktemp("together")
    for name, faithful in (("corrected", False), ("faithful", True)):
        torch.save(_batch(faithful=faithful), folder / f"{name}.batch")
    arguments = {
        "manifest": str(shade_manifest),
        "model": vit_model.model_dump(mode="json"),
        "training": TRAINING.model_dump(mode="json"),
        "seed": 5,
    }
    (folder / "arguments.json").write_text(json.dumps(arguments))
    _two_processes(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["corrected", "faithful"])
def test_two_processes_have_the_loss_and_gradients_of_one(together: Path, name: str) -> None:
    batch = _batch(faithful=name == "faithful")
    layers = {k: batch[k].clone().requires_grad_() for k in ("clip_map", "text_map", "scale")}
    clips = normalize(batch["clips"] @ layers["clip_map"], dim=-1)
    texts = normalize(batch["texts"] @ layers["text_map"], dim=-1)
    scale = layers["scale"].exp()
    if name == "faithful":  # each process alone with its own rows, then the mean of both
        first, second = (
            contrastive_loss(clips[p], texts[p], scale, torch.eye(len(clips[p])).bool())
            for p in (slice(0, 4), slice(4, 7))
        )
        loss = (first + second) / 2
    else:
        same = torch.tensor([[a == b for b in batch["meanings"]] for a in batch["meanings"]])
        loss = contrastive_loss(clips, texts, scale, same)
    loss.backward()
    for rank in range(2):
        found = torch.load(together / f"{name}-{rank}.found", weights_only=True)
        assert found["loss"].item() == pytest.approx(loss.item(), abs=1e-5)
        for key, layer in layers.items():
            torch.testing.assert_close(found[key], layer.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_two_processes_train_the_model_of_one(
    together: Path, shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    train(
        shade_clips,
        model=vit_model,
        training=TRAINING,
        folder=tmp_path / "model",
        state_folder=tmp_path / "state",
        seed=5,
        device="cpu",
    )
    one, two = (load_file(folder / "model/model.safetensors") for folder in (tmp_path, together))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=1e-5, msg=name)
    cards = [json.loads((f / "model/model.json").read_text()) for f in (tmp_path, together)]
    assert [card["n_processes"] for card in cards] == [1, 2]
    for ours, theirs in zip(*(card["epochs"] for card in cards), strict=True):
        assert ours["training_loss"] == pytest.approx(theirs["training_loss"], abs=1e-5)
        assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], abs=1e-5)


@pytest.mark.parametrize(("n", "size"), [(7, 2), (5, 3), (2, 4), (0, 2)])
def test_parts_hold_every_row_once(n: int, size: int) -> None:
    parts = [np.arange(n)[World(rank, size).part(n)] for rank in range(size)]
    assert np.concatenate(parts).tolist() == list(range(n))
    assert tuple(len(p) for p in parts) == World(0, size).sizes(n)


def test_each_process_takes_its_own_gpu() -> None:
    started = {"LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    assert own_device("cuda", environment=started) == "cuda:1"
    assert own_device("cuda:0", environment=started) == "cuda:0"
    assert own_device("cpu", environment=started) == "cpu"
    assert own_device("cuda", environment={}) == "cuda"
