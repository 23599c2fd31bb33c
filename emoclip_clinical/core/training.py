"""Contrastive training of EmoCLIP on captioned clips: from a manifest to a model folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from emoclip_clinical.core.checkpoint import read_card, save_checkpoint
from emoclip_clinical.core.clip_reading import Sampling
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.datasets.validation import cut_validation
from emoclip_clinical.core.distributed import World, joined_world, own_device
from emoclip_clinical.core.model import build_model, derived_seed, resolve_device
from emoclip_clinical.core.training_config import WITHOUT_INFLUENCE, TrainingConfig
from emoclip_clinical.core.training_data import clip_sha256, short_hashes
from emoclip_clinical.core.training_log import TrainingLog
from emoclip_clinical.core.training_run import Epoch, Run
from emoclip_clinical.core.training_selection import TEST_DATA_WARNING, Selected
from emoclip_clinical.core.training_sides import TrainingClips, TrainingSides, judged_labels
from emoclip_clinical.core.training_state import TrainingState
from emoclip_clinical.core.training_texts import caption_clips
from emoclip_clinical.file_hashes import file_sha256
from emoclip_clinical.people import hash_people
from emoclip_clinical.records import InputError, Progress, PromptSet, no_progress

Resume = bool | Literal["if_it_fits"]
NOTHING_TO_RESUME = "there was no interrupted training to go on with: it began from the start"


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
    n_trained_values : int
        Numbers in those tensors.
    selected : Selected
        Whose weights the model has.
    warnings : tuple of str
        What the user should know.
    histogram : mapping of str to mapping of str to int
        Clips of each label in each split, of a data set; see `ClipSet`.
    """

    folder: Path
    epochs: tuple[Epoch, ...]
    n_training: int
    n_validation: int
    trained_tensors: tuple[str, ...]
    n_trained_values: int
    selected: Selected
    warnings: tuple[str, ...] = ()
    histogram: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def train(
    clips: Sequence[Clip],
    *,
    model: ModelConfig,
    training: TrainingConfig,
    folder: Path,
    state_folder: Path,
    seed: int,
    device: str = "auto",
    resume: Resume = False,
    prompts: PromptSet | None = None,
    cache_folder: Path | None = None,
    progress: Progress = no_progress,
) -> Trained:
    """Train a model on captioned clips and write its folder.

    Clips of split `train` (or without a split) are learned from; those of `validation` give a
    loss after each epoch, and choose the epoch where `training.select` says so; those of `test`
    are not opened, unless `training.faithful` lets them choose the epoch.

    Under `torchrun` each process takes its part of every batch and the first one writes the
    files; the result is that of one process up to rounding. Towers with batch normalisation are
    the exception: each process normalises its own part.

    Parameters
    ----------
    clips : sequence of Clip
        From `read_clips` or `load_clips`. Not looked at when `training` asks for no epoch at all.
    model, training : config
        What to build and how to train it.
    folder : Path
        The model folder to write; `training.jsonl` in it has the curves, step by step.
    state_folder : Path
        Where the unfinished state is kept until the end, for `resume`.
    seed : int
        Of initial weights, order, texts, views and choice of frames.
    device : str
        `auto`, `cpu` or `cuda[:k]`; under `torchrun` each process takes a GPU of its own.
    resume : bool or 'if_it_fits'
        Go on with an interrupted run of the same settings, from its last saved state;
        `if_it_fits` begins anew, without a word, where the state is of another run or unreadable.
    prompts : PromptSet, optional
        Class descriptions, for `captions: class_descriptions` and for a choice by recall.
    cache_folder : Path, optional
        Where frame vectors are kept for other trainings when towers are frozen from the start;
        None keeps them in memory.
    progress : callable
        Called with (task, clips done, clips in all).

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        If clips can not be read or are too few, a text or label is missing, or the state to
        resume from is of other settings.
    """
    environment = os.environ  # torchrun speaks to its processes through nothing else
    place = resolve_device(own_device(device, environment=environment))
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    seen = _seen(clips, training)
    contents = {c.path: clip_sha256(c.path) for c in seen}
    data, warnings = _sort_clips(
        seen, training=training, prompts=prompts, seed=seed, contents=contents
    )
    identity = _identity(
        model, training=training, seed=seed, prompts=prompts, digest=_digest(seen, contents)
    )
    with joined_world(place, environment=environment) as world:
        _check_size(data, training, world)
        built = build_model(model, seed=derived_seed(seed, 0))
        built.model.to(place)
        sides = TrainingSides(
            data,
            built=built,
            training=training,
            tower=model.tower,
            sampling=Sampling.of(model, built.preprocessing),
            seed=seed,
            world=world,
            cache_folder=cache_folder,
        )
        run = Run(
            built=built,
            training=training,
            sides=sides,
            seed=seed,
            device=place,
            world=world,
            progress=progress if world.writes else no_progress,
        )
        # Vectors from a cache on disk are rounded, those in memory are not.
        fingerprint = json.dumps([identity, world.size, cache_folder is not None], sort_keys=True)
        state = TrainingState(state_folder / "state.pt", fingerprint, writes=world.writes)
        begun_anew = resume is True and not state.path.is_file()
        epochs, log = _fit(run, state, training=training, world=world, resume=resume)
        selected = run.selected()
        warnings += sides.warnings + ((TEST_DATA_WARNING,) if selected.by_test_data else ())
        if world.writes:
            card = {
                **_card(run, data, epochs=epochs, selected=selected, warnings=warnings),
                **{k: identity[k] for k in ("seed", "clips_sha256", "prompts_sha256")},
                "training": training.model_dump(mode="json"),
                "training_clips": short_hashes(
                    data.contents[: len(data.learn) + len(data.validate)]
                ),
                "training_people": hash_people(
                    [c.group for c in seen], salt=str(identity["clips_sha256"])
                ).as_card(),
                "n_processes": world.size,
            }
            save_checkpoint(folder, built=built, config=_portable(model), card=card)
            log.finish(folder)
            state.remove()
        world.wait()
    return Trained(
        folder,
        tuple(epochs),
        len(data.learn),
        len(data.validate),
        tuple(run.trained),
        sum(run.trained.values()),
        selected,
        (*warnings, NOTHING_TO_RESUME) if begun_anew else warnings,
    )


def _fit(
    run: Run, state: TrainingState, *, training: TrainingConfig, world: World, resume: Resume
) -> tuple[list[Epoch], TrainingLog]:
    payload = state.load_if_it_fits() if resume == "if_it_fits" else None
    if resume is True:
        payload = state.load()
    world.wait()  # nobody writes a new state before everybody has read the old one
    log = TrainingLog(
        state.path.parent,
        writes=world.writes,
        tensorboard=training.tensorboard,
        n_bytes=payload["log_bytes"] if payload else 0,
    )
    return run.fit(state, log, payload=payload), log


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
    prompts: PromptSet | None = None,
) -> bool:
    """Say whether `folder` holds just the model that `train` would make of these arguments."""
    try:
        card = read_card(folder)
    except InputError:
        return False
    seen = _seen(clips, training)
    wanted = _identity(
        model, training=training, seed=seed, prompts=prompts, digest=clips_digest(seen)
    )
    found = {key: card.get(key) for key in wanted}
    if isinstance(found["training"], dict):
        found["training"] = _binding(found["training"])
    return found == wanted


def clips_digest(clips: Sequence[Clip]) -> str:
    """Return a SHA-256 over what the manifest says of the clips and over their content."""
    return _digest(clips, {c.path: clip_sha256(c.path) for c in clips})


def _digest(clips: Sequence[Clip], contents: Mapping[Path, str]) -> str:
    digest = hashlib.sha256()
    for clip in clips:
        row = [clip.caption, clip.label, clip.group, clip.split, contents[clip.path]]
        if clip.path.is_dir():
            row.append(repr(clip.folder_fps))
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _seen(clips: Sequence[Clip], training: TrainingConfig) -> list[Clip]:
    """Return the clips that a training opens."""
    if training.frame_epochs + training.epochs == 0:
        return []
    return [c for c in clips if c.split != "test" or training.selection == "test_war"]


def _sort_clips(
    seen: Sequence[Clip],
    *,
    training: TrainingConfig,
    prompts: PromptSet | None,
    seed: int,
    contents: Mapping[Path, str],
) -> tuple[TrainingClips, tuple[str, ...]]:
    """Part clips by what they are for, find their texts, and check what `select` needs."""
    by_class = training.captions == "class_descriptions"
    parted = cut_validation(
        [c for c in seen if c.split != "test"], fraction=training.validation_fraction, seed=seed
    )
    learn = [c for c in parted if c.split != "validation"]
    validate = [c for c in parted if c.split == "validation"]
    captioned = caption_clips(
        [*learn, *validate], training=training, prompts=prompts if by_class else None, seed=seed
    )
    n_learn = sum(c.split != "validation" for c in captioned.clips)
    test = tuple(c for c in seen if c.split == "test")
    data = TrainingClips(
        learn=captioned.clips[:n_learn],
        validate=captioned.clips[n_learn:],
        test=test,
        texts=captioned.texts,
        prompts=prompts,
        contents=tuple(contents[c.path] for c in (*captioned.clips, *test)),
    )
    _check_selection(data, training, asked=bool(seen))
    return data, captioned.warnings


def _check_selection(data: TrainingClips, training: TrainingConfig, *, asked: bool) -> None:
    rule = training.selection
    if not asked or rule == "last":
        return
    if rule == "validation_loss" and len(data.validate) < 2:
        raise InputError(
            "select: validation_loss needs two or more clips of split validation, got "
            f"{len(data.validate)}: mark some, or set training.validation_fraction"
        )
    if rule in ("validation_uar", "test_war"):
        judged_labels(data, rule)


def _check_size(data: TrainingClips, training: TrainingConfig, world: World) -> None:
    if training.frame_epochs + training.epochs == 0:
        return
    if len(data.learn) < 2:
        raise InputError(f"training needs at least two clips of split train, got {len(data.learn)}")
    batch = min(training.batch_clips, len(data.learn))
    if batch < 2 * world.size:
        raise InputError(
            f"a batch needs at least two clips for each of the {world.size} processes, got {batch}"
        )


def _identity(
    model: ModelConfig,
    *,
    training: TrainingConfig,
    seed: int,
    prompts: PromptSet | None,
    digest: str,
) -> dict[str, Any]:
    """Return all that the weights of a training follow from, as model.json has it."""
    return {
        "architecture": _portable(model).model_dump(mode="json"),
        "training": _binding(training.model_dump(mode="json")),
        "seed": seed,
        "clips_sha256": digest,
        "prompts_sha256": _prompts_sha256(training, prompts),
    }


def _binding(training: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in training.items() if k not in WITHOUT_INFLUENCE}


def _prompts_sha256(training: TrainingConfig, prompts: PromptSet | None) -> str | None:
    uses = training.captions == "class_descriptions" or training.selection in (
        "validation_uar",
        "test_war",
    )
    if prompts is None or not uses:
        return None
    content = [list(prompts.classes.items()), list(prompts.compounds.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _card(
    run: Run,
    data: TrainingClips,
    *,
    epochs: Sequence[Epoch],
    selected: Selected,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Return what model.json says of a training beside its settings."""
    learned = {t for choices in data.texts.choices[: len(data.learn)] for t in choices}
    return {
        "vocabulary": vocabulary([data.texts.texts[t] for t in sorted(learned)]),
        "trained_tensors": list(run.trained),
        "n_trained_values": sum(run.trained.values()),
        "adapters_merged_into": run.merged,
        "n_training_clips": len(data.learn),
        "n_validation_clips": len(data.validate),
        "selected": {**asdict(selected), "by_test_data": selected.by_test_data},
        "epochs": [asdict(e) for e in epochs],
        "warnings": list(warnings),
        "torch": torch.__version__,
        "made_by": metadata.version("emoclip-clinical"),
    }


def _portable(model: ModelConfig) -> ModelConfig:
    """Name a file of weights by its content: a model folder holds no path of a machine."""
    weights = Path(model.tower.pretrained)
    if not weights.is_file():
        return model
    tower = model.tower.model_copy(update={"pretrained": f"sha256:{file_sha256(weights)}"})
    return model.model_copy(update={"tower": tower})
