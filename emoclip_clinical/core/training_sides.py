"""The clips and texts of a training: what is learned from, what is judged, what is cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from emoclip_clinical.core.augmentation import augment
from emoclip_clinical.core.clip_reading import Sampling
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.config import TowerConfig
from emoclip_clinical.core.distributed import World
from emoclip_clinical.core.frame_cache import FrameCache, entry_key
from emoclip_clinical.core.frame_vectors import PLAIN, FrameVectors
from emoclip_clinical.core.model import BuiltModel, EmoCLIP
from emoclip_clinical.core.trained_tensors import trains_towers
from emoclip_clinical.core.training_batches import (
    CachedClips,
    ClipSide,
    ImageTower,
    Sides,
    SingleFrames,
    TextSide,
    WholeClips,
)
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.core.training_data import ClipFrames
from emoclip_clinical.core.training_plan import Draw, judged_batches, training_batches
from emoclip_clinical.core.training_selection import recalls_of
from emoclip_clinical.core.training_step import TrainingStep
from emoclip_clinical.core.training_texts import ClipTexts
from emoclip_clinical.records import InputError, Progress, PromptSet


@dataclass(frozen=True)
class TrainingClips:
    """The clips of a training, in one row of positions: learned, validated, tested.

    Attributes
    ----------
    learn, validate : tuple of Clip
        Those that have a text.
    test : tuple of Clip
        Only where test clips choose the epoch (`faithful`); else empty.
    texts : ClipTexts
        Of `learn` and `validate`, in that order.
    prompts : PromptSet or None
        Class descriptions, for a choice by recall.
    contents : tuple of str
        SHA-256 of each clip's content.
    """

    learn: tuple[Clip, ...]
    validate: tuple[Clip, ...]
    test: tuple[Clip, ...]
    texts: ClipTexts
    prompts: PromptSet | None
    contents: tuple[str, ...]

    @property
    def all(self) -> tuple[Clip, ...]:
        """Every clip, by position."""
        return (*self.learn, *self.validate, *self.test)


class TrainingSides:
    """Gives each stage its batches, and the way from them to embeddings.

    Parameters
    ----------
    clips : TrainingClips
        What is seen and said.
    built : BuiltModel
        The model, on its device.
    training : TrainingConfig
        How.
    tower : TowerConfig
        What the model's towers were built from.
    sampling : Sampling
        What of each clip is seen.
    seed : int
        Of the training.
    world : World
        The processes.
    cache_folder : Path, optional
        Where frame vectors are kept for other trainings; None keeps them in memory.
    """

    def __init__(
        self,
        clips: TrainingClips,
        *,
        built: BuiltModel,
        training: TrainingConfig,
        tower: TowerConfig,
        sampling: Sampling,
        seed: int,
        world: World,
        cache_folder: Path | None,
    ) -> None:
        self._clips = clips
        self._model = built.model
        self._preprocessing = built.preprocessing
        self._tokenizer = built.tokenizer
        self._training = training
        self._architecture = (tower.name, tower.definition)
        self._sampling = sampling
        self._seed = seed
        self._world = world
        self._device = built.model.log_scale.device
        self._cache_folder = cache_folder
        self._frames = ClipFrames(
            clips.all,
            sampling=sampling,
            memory_megabytes=training.memory_megabytes,
            decode_threads=training.decode_threads,
        )
        self._tower = ImageTower(
            built.model, preprocessing=built.preprocessing, device=self._device
        )
        self._vectors: FrameVectors | None = None

    @property
    def n_steps(self) -> int:
        """Steps in an epoch."""
        return max(1, len(self._clips.learn) // self._training.batch_clips)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the cache."""
        if self._vectors is None or self._vectors.n_unkept == 0:
            return ()
        return (
            f"{self._vectors.n_unkept} clips' vectors fit neither into cache_gigabytes = "
            f"{self._training.cache_gigabytes:g} nor into memory_megabytes = "
            f"{self._training.memory_megabytes}: they are encoded in every epoch",
        )

    def check(self, *, progress: Progress) -> None:
        """Decode every clip, where that is not done anyway by filling the cache.

        Raises
        ------
        InputError
            Naming every clip that can not be read.
        """
        if self._training.frame_epochs or not self._is_cached("clips"):
            self._frames.check(progress=progress)

    def enter(self, stage: str, *, progress: Progress) -> Sides:
        """Return how a stage turns clips and texts into embeddings; fill its caches."""
        texts = TextSide(
            self._model,
            tokenizer=self._tokenizer,
            texts=self._clips.texts.texts,
            device=self._device,
        )
        clips = self._clip_side(stage, progress)
        if not trains_towers(stage, self._training):
            self._model.eval()
            with self._arithmetic():
                texts.freeze()
        return Sides(clips, texts)

    def training_batches(self, stage: str, epoch: int) -> list[Draw]:
        """Draw an epoch of the clips that are learned from."""
        n_views: int | None = 0
        if self._augments:
            n_views = self._training.augmentation_views if self._is_cached(stage) else None
        return training_batches(
            self._clips.texts,
            n_clips=len(self._clips.learn),
            batch_clips=self._training.batch_clips,
            seed=self._seed,
            stage=stage,
            epoch=epoch,
            n_views=n_views,
        )

    def validation_batches(self) -> list[Draw]:
        """Draw the validation clips; nothing where there are fewer than two."""
        n = len(self._clips.validate)
        if n < 2:
            return []
        return judged_batches(
            self._clips.texts,
            rows=len(self._clips.learn) + np.arange(n),
            batch_clips=self._training.batch_clips,
            seed=self._seed,
        )

    def score(self, step: TrainingStep) -> float | None:
        """Return the recall that `select` looks at, in [0, 1]; None where it does not."""
        rule = self._training.selection
        if rule not in ("validation_uar", "test_war"):
            return None
        names, observed, rows = judged_labels(self._clips, rule)
        batches = judged_batches(
            None, rows=rows, batch_clips=self._training.batch_clips, seed=self._seed
        )
        found = step.clip_embeddings(batches) @ self._class_directions(step, names).T
        place = {row: i for i, row in enumerate(np.concatenate([b.rows for b in batches]))}
        order = [place[row] for row in rows]
        uar, war = recalls_of(observed, found.argmax(dim=1).cpu().numpy()[order])
        return uar if rule == "validation_uar" else war

    def _class_directions(self, step: TrainingStep, names: Sequence[str]) -> torch.Tensor:
        """Return mean text embeddings of classes, of compounds the mean of their components'."""
        prompts = self._clips.prompts
        assert prompts is not None
        normalise = torch.nn.functional.normalize
        single = {
            name: normalise(step.text_embeddings(sentences).mean(dim=0), dim=0)
            for name, sentences in prompts.classes.items()
        }
        return torch.stack(
            [
                single[name]
                if name in single
                else normalise(
                    torch.stack([single[p] for p in prompts.compounds[name]]).mean(dim=0), dim=0
                )
                for name in names
            ]
        )

    @property
    def _augments(self) -> bool:
        return not self._training.augmentation.is_off

    def _is_cached(self, stage: str) -> bool:
        frozen = not trains_towers(stage, self._training)
        return frozen and self._training.cache_frame_vectors and self._training.epochs > 0

    def _clip_side(self, stage: str, progress: Progress) -> ClipSide:
        if stage == "frames":
            return SingleFrames(
                self._frames, tower=self._tower, window=self._training.frame_window, vary=self._vary
            )
        if not self._is_cached(stage):
            return WholeClips(
                self._frames,
                model=self._model,
                tower=self._tower,
                tower_learns=trains_towers(stage, self._training),
                device=self._device,
                vary=self._vary,
            )
        self._vectors = self._make_vectors()
        n_views = self._training.augmentation_views if self._augments else 0
        n_learn = len(self._clips.learn)
        views = [(r, v) for r in range(n_learn) for v in (range(n_views) or [PLAIN])]
        judged = [(r, PLAIN) for r in range(n_learn, len(self._clips.all))]
        self._vectors.fill(views + judged, world=self._world, progress=progress)
        self._world.wait()
        return CachedClips(self._vectors, model=self._model, device=self._device)

    def _make_vectors(self) -> FrameVectors:
        cache = None
        # Towers that stage `frames` has just trained are this training's alone.
        if self._cache_folder is not None and not self._training.frame_epochs:
            cache = FrameCache(self._cache_folder, gigabytes=self._training.cache_gigabytes)
        common = {
            # Weights and printed modules do not show all that a tower computes: its pooling, say.
            "architecture": self._architecture,
            "tower": tower_sha256(self._model),
            "preprocessing": self._preprocessing.to_card(),
            "sampling": asdict(self._sampling),
            "precision": self._training.precision,
            "device": self._device.type,
        }

        def key(row: int, view: int) -> str:
            varied = None if view == PLAIN else self._training.augmentation.model_dump(mode="json")
            clip = self._clips.all[row]
            content = [self._clips.contents[row], clip.folder_fps if clip.path.is_dir() else None]
            if self._sampling.start_seed is not None:
                content.append(clip.path.name)  # the drawn start follows from the name as well
            return entry_key(**common, content=content, view=view, augmentation=varied)

        return FrameVectors(
            self._frames,
            encode=self._encode,
            vary=self._vary,
            contents=self._clips.contents,
            cache=cache,
            key=key,
            memory_megabytes=self._training.memory_megabytes,
        )

    def _encode(self, frames: np.ndarray) -> np.ndarray:
        training = self._model.clip.training
        self._model.clip.eval()
        with torch.no_grad(), self._arithmetic():
            vectors: np.ndarray = self._tower(torch.from_numpy(frames)).float().cpu().numpy()
        self._model.clip.train(training)
        return vectors

    def _vary(self, frames: np.ndarray, seed: int) -> np.ndarray:
        return augment(frames, config=self._training.augmentation, seed=seed)

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._training.precision == "bf16"
        )


def judged_labels(
    clips: TrainingClips, rule: str
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return what a choice by recall compares.

    Returns
    -------
    names : tuple of str
        Candidate classes: the prompt set's single ones, and those of its compounds that occur.
    observed, rows : int ndarray of shape (n,)
        True class and position of each clip that has one of them.

    Raises
    ------
    InputError
        If there is no prompt set, or no clip with a label in it.
    """
    if clips.prompts is None:
        raise InputError(f"select: {rule} needs a prompt set with the classes, got none")
    first = len(clips.learn) + (0 if rule == "validation_uar" else len(clips.validate))
    judged = clips.validate if rule == "validation_uar" else clips.test
    occurring = {c.label for c in judged}
    compounds = [name for name in clips.prompts.compounds if name in occurring]
    names = (*clips.prompts.classes, *compounds)
    known = [(first + i, names.index(c.label)) for i, c in enumerate(judged) if c.label in names]
    if not known:
        split = "validation" if rule == "validation_uar" else "test"
        raise InputError(
            f"select: {rule} needs {split} clips with a label of prompt set "
            f"{clips.prompts.name!r}, got none among {len(judged)}"
        )
    rows, observed = np.asarray(known).T
    return names, observed, rows


def tower_sha256(model: EmoCLIP) -> str:
    """Return a SHA-256 over all tensors of the image tower, in hexadecimal."""
    digest = hashlib.sha256()
    visual = model.clip.visual
    assert isinstance(visual, torch.nn.Module)
    digest.update(json.dumps([type(visual).__name__, str(visual)]).encode())
    for name, tensor in visual.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
