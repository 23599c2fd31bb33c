"""Contrastive training of EmoCLIP on captioned clips: from a manifest to a model folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from emoclip_clinical.core.checkpoint import file_sha256, read_card, save_checkpoint
from emoclip_clinical.core.clip_reading import Sampling
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.model import build_model, derived_seed, resolve_device
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.core.training_run import Epoch, Run
from emoclip_clinical.core.training_state import TrainingState
from emoclip_clinical.records import InputError, Progress, no_progress


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes
    ----------
    folder : Path
        The model folder.
    epochs : tuple of Epoch
        The loss curve, over both stages.
    n_training, n_validation : int
        Clips.
    trained_tensors : tuple of str
        Names of the tensors that training could change.
    """

    folder: Path
    epochs: tuple[Epoch, ...]
    n_training: int
    n_validation: int
    trained_tensors: tuple[str, ...]


def train(
    clips: Sequence[Clip],
    *,
    model: ModelConfig,
    training: TrainingConfig,
    folder: Path,
    state_folder: Path,
    seed: int,
    device: str = "auto",
    resume: bool = False,
    progress: Progress = no_progress,
) -> Trained:
    """Train a model on captioned clips and write its folder.

    Clips of split `train` (or without a split) are learned from; those of `validation` give a
    loss after each epoch and choose nothing; those of `test` are not opened.

    Parameters
    ----------
    clips : sequence of Clip
        From `read_clips`. Not looked at when `training` asks for no epoch at all.
    model, training : config
        What to build and how to train it.
    folder : Path
        The model folder to write.
    state_folder : Path
        Where the state after each epoch is kept until the end, for `resume`.
    seed : int
        Of initial weights, order and choice of frames.
    device : str
        `auto`, `cpu` or `cuda[:k]`.
    resume : bool
        Go on after the last complete epoch of an interrupted run with the same settings.
    progress : callable
        Called with (task, steps done, steps in all).

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        If clips can not be read or are too few, or the state to resume from is of other settings.
    """
    asked = training.frame_epochs + training.epochs > 0
    seen = [c for c in clips if c.split != "test"] if asked else []
    learn = [c for c in seen if c.split != "validation"]
    if asked and len(learn) < 2:
        raise InputError(f"training needs at least two clips of split train, got {len(learn)}")
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    built = build_model(model, seed=derived_seed(seed, 0))
    digest = clips_digest(seen)
    run = Run(
        built=built,
        training=training,
        learn=learn,
        validate=[c for c in seen if c.split == "validation"],
        sampling=Sampling(
            model.sample_fps, model.frames_per_clip, built.preprocessing.image_size_pixels
        ),
        seed=seed,
        device=resolve_device(device),
        progress=progress,
    )
    settings = [model.model_dump(mode="json"), training.model_dump(mode="json"), seed, digest]
    state = TrainingState(state_folder / "state.pt", json.dumps(settings))
    epochs = run.fit(state, resume=resume)
    save_checkpoint(
        folder,
        built=built,
        config=_portable(model),
        card={
            "vocabulary": vocabulary([c.caption for c in learn]),
            "training": training.model_dump(mode="json"),
            "trained_tensors": run.trained,
            "seed": seed,
            "n_training_clips": len(learn),
            "clips_sha256": digest,
            "epochs": [asdict(e) for e in epochs],
            "torch": torch.__version__,
        },
    )
    state.remove()
    return Trained(folder, tuple(epochs), len(learn), len(seen) - len(learn), tuple(run.trained))


def vocabulary(captions: Sequence[str]) -> list[str]:
    """Return the distinct words of captions, in lower case and sorted."""
    return sorted(
        {word for caption in captions for word in re.findall(r"[^\W\d_]+", caption.lower())}
    )


def is_trained(
    folder: Path,
    *,
    clips: Sequence[Clip],
    model: ModelConfig,
    training: TrainingConfig,
    seed: int,
) -> bool:
    """Say whether `folder` holds just the model that `train` would make of these arguments."""
    try:
        card = read_card(folder)
    except InputError:
        return False
    wanted = {
        "architecture": _portable(model).model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "seed": seed,
        "clips_sha256": clips_digest([c for c in clips if c.split != "test"]),
    }
    return all(card.get(key) == value for key, value in wanted.items())


def clips_digest(clips: Sequence[Clip]) -> str:
    """Return a SHA-256 over what the manifest says of the clips and over their bytes."""
    digest = hashlib.sha256()
    for clip in clips:
        row = [clip.caption, clip.label, clip.group, clip.split, file_sha256(clip.path)]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _portable(model: ModelConfig) -> ModelConfig:
    """Name a file of weights by its content: a model folder holds no path of a machine."""
    weights = Path(model.tower.pretrained)
    if not weights.is_file():
        return model
    tower = model.tower.model_copy(update={"pretrained": f"sha256:{file_sha256(weights)}"})
    return model.model_copy(update={"tower": tower})
