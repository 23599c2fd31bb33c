"""A training in a process of its own: killed half-way, or one of several that train together.

Run as ``python training_worker.py FOLDER``, with `arguments.json` in FOLDER.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from emoclip_clinical.core.clips import read_clips
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.distributed import World, joined_world
from emoclip_clinical.core.loss import gathered_loss
from emoclip_clinical.core.training import train
from emoclip_clinical.core.training_config import TrainingConfig


def gradients(path: Path, world: World) -> None:
    """Compute the loss and the gradients of a batch in parts, one a process."""
    batch = torch.load(path, weights_only=True)
    layers = {k: batch[k].clone().requires_grad_() for k in ("clip_map", "text_map", "scale")}
    own = world.part(len(batch["clips"]))
    normalise = torch.nn.functional.normalize
    loss = gathered_loss(
        normalise(batch["clips"][own] @ layers["clip_map"], dim=-1),
        normalise(batch["texts"][own] @ layers["text_map"], dim=-1),
        layers["scale"],
        batch["meanings"],
        world=world,
        sizes=world.sizes(len(batch["clips"])),
        faithful=batch["faithful"],
    )
    loss.backward()
    world.sum_gradients(layers.values())
    found = {k: v.grad for k, v in layers.items()} | {"loss": loss.detach()}
    torch.save(found, path.with_name(f"{path.stem}-{world.rank}.found"))


def main(folder: Path) -> None:
    """Do what `arguments.json` says."""
    torch.set_num_threads(1)
    arguments = json.loads((folder / "arguments.json").read_text())
    with joined_world(torch.device("cpu"), environment=os.environ) as world:
        for path in sorted(folder.glob("*.batch")):
            gradients(path, world)
        run_training(folder, arguments)


def run_training(folder: Path, arguments: dict[str, Any]) -> None:
    """Train, and be killed at the step that `kill_at` names."""

    def progress(task: str, done: int, total: int) -> None:
        if [task, done] == arguments.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    train(
        read_clips(Path(arguments["manifest"])),
        model=ModelConfig.model_validate(arguments["model"]),
        training=TrainingConfig.model_validate(arguments["training"]),
        folder=folder / "model",
        state_folder=folder / "state",
        seed=arguments["seed"],
        device="cpu",
        resume=arguments.get("resume", False),
        progress=progress,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
