"""The training loop: two stages, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emoclip_clinical.core.checkpoint import load_strictly
from emoclip_clinical.core.clip_reading import Sampling
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.embedder import pad_sequences
from emoclip_clinical.core.loss import contrastive_loss
from emoclip_clinical.core.model import BuiltModel, derived_seed
from emoclip_clinical.core.optimisation import Stepper
from emoclip_clinical.core.preprocessing import normalise
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.core.training_data import ClipFrames
from emoclip_clinical.core.training_state import TrainingState
from emoclip_clinical.records import InputError, Progress

STAGES = ("frames", "clips")

Batch = Callable[[np.ndarray, np.random.Generator], tuple[Tensor, Tensor]]
"""From positions of clips to (clip embeddings, text embeddings), both of shape (n, d)."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes
    ----------
    stage : str
        `frames` or `clips`.
    epoch : int
        From 1, within its stage.
    training_loss : float
        Mean over the epoch's batches, in nats; chance is ln(batch size).
    validation_loss : float or None
        The same on clips of split `validation`; None where there are fewer than two.
    """

    stage: str
    epoch: int
    training_loss: float
    validation_loss: float | None


class Run:
    """One training run on its data.

    Parameters
    ----------
    built : BuiltModel
        The model, which is trained in place.
    training : TrainingConfig
        How.
    learn, validate : sequence of Clip
        Clips to learn from, and clips for the validation loss.
    sampling : Sampling
        What of each clip is seen.
    seed : int
        Of order, choice of frames and dropout.
    device : torch.device
        Where.
    progress : callable
        Called with (`train frames` or `train clips`, steps done, steps in all).
    """

    def __init__(
        self,
        *,
        built: BuiltModel,
        training: TrainingConfig,
        learn: Sequence[Clip],
        validate: Sequence[Clip],
        sampling: Sampling,
        seed: int,
        device: torch.device,
        progress: Progress,
    ) -> None:
        self._model = built.model.to(device)
        self._preprocessing = built.preprocessing
        self._tokenizer = built.tokenizer
        self._training = training
        self._seed = seed
        self._device = device
        self._progress = progress
        self._n_learn = len(learn)
        self._frames = ClipFrames(
            [*learn, *validate], sampling=sampling, memory_megabytes=training.memory_megabytes
        )
        self._captions = [c.caption for c in (*learn, *validate)]
        self._caption_ids = np.unique(self._captions, return_inverse=True)[1]
        self.trained: list[str] = []

    def fit(self, state: TrainingState, *, resume: bool) -> list[Epoch]:
        """Run what is left of both stages and return the whole loss curve."""
        payload = state.load() if resume else None
        epochs = [Epoch(**e) for e in payload["epochs"]] if payload else []
        if self._n_epochs("frames") + self._n_epochs("clips"):
            self._frames.check(progress=self._progress)
        for stage in STAGES:
            if self._n_epochs(stage):
                resumed = payload if payload and payload["stage"] == stage else None
                self._fit_stage(stage, epochs, state, resumed)
        self._model.requires_grad_(False).eval()
        return epochs

    def _fit_stage(
        self,
        stage: str,
        epochs: list[Epoch],
        state: TrainingState,
        resumed: dict[str, Any] | None,
    ) -> None:
        done = sum(e.stage == stage for e in epochs)
        stepper = Stepper(
            self._choose(stage),
            config=self._training.frame_optimiser
            if stage == "frames"
            else self._training.optimiser,
            n_epochs=self._n_epochs(stage),
            steps_per_epoch=self._steps_per_epoch(),
        )
        if resumed:
            self._restore(resumed["model"])
            stepper.load(resumed["stepper"])
        if done == self._n_epochs(stage):
            return
        make_batch = self._frame_batch if stage == "frames" else self._clip_batches()
        for epoch in range(done, self._n_epochs(stage)):
            epochs.append(self._epoch(stage, epoch, stepper, make_batch))
            state.save(
                {
                    "stage": stage,
                    "epochs": [asdict(e) for e in epochs],
                    "model": self._changed(),
                    "stepper": stepper.state(),
                }
            )

    def _n_epochs(self, stage: str) -> int:
        return self._training.frame_epochs if stage == "frames" else self._training.epochs

    def _steps_per_epoch(self) -> int:
        return max(1, self._n_learn // self._training.batch_clips)

    def _trains_towers(self, stage: str) -> bool:
        return stage == "frames" or self._training.towers == "trained"

    def _choose(self, stage: str) -> list[nn.Parameter]:
        """Freeze and free parameters for a stage; remember the names of those that train."""
        chosen = []
        for name, parameter in self._model.named_parameters():
            if parameter is self._model.log_scale:
                trains = True
            elif name.startswith("clip."):
                trains = self._trains_towers(stage)
            else:
                trains = stage == "clips"
            parameter.requires_grad_(trains)
            if trains:
                chosen.append(parameter)
                if name not in self.trained:
                    self.trained.append(name)
        return chosen

    def _changed(self) -> dict[str, Tensor]:
        """Return the tensors that training can have changed, buffers of the towers included."""
        frozen = {n for n, _ in self._model.named_parameters()} - set(self.trained)
        return {n: t for n, t in self._model.state_dict().items() if n not in frozen}

    def _restore(self, changed: dict[str, Tensor]) -> None:
        load_strictly(
            self._model, {**self._model.state_dict(), **changed}, source="the training state"
        )

    def _epoch(self, stage: str, epoch: int, stepper: Stepper, make_batch: Batch) -> Epoch:
        # Everything random in an epoch follows from its number, so a resumed run repeats it.
        epoch_seed = derived_seed(self._seed, 1, STAGES.index(stage), epoch)
        rng = np.random.default_rng(epoch_seed)
        torch.manual_seed(epoch_seed)
        self._model.train()
        self._model.clip.train(self._trains_towers(stage))
        per_epoch, n_epochs = self._steps_per_epoch(), self._n_epochs(stage)
        losses = []
        for i, rows in enumerate(self._shuffled(rng)):
            loss = self._loss(rows, make_batch, rng)
            stepper.step(loss)
            self._model.clamp_scale()
            losses.append(loss.item())
            self._progress(f"train {stage}", epoch * per_epoch + i + 1, n_epochs * per_epoch)
        if not math.isfinite(sum(losses)):
            raise InputError(
                f"the training loss of stage {stage} is no longer finite in epoch {epoch + 1}: "
                "lower its learning_rate"
            )
        return Epoch(stage, epoch + 1, float(np.mean(losses)), self._validation_loss(make_batch))

    def _shuffled(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        order = rng.permutation(self._n_learn)
        size = min(self._training.batch_clips, self._n_learn)
        for start in range(0, self._n_learn - size + 1, size):
            yield order[start : start + size]

    def _validation_loss(self, make_batch: Batch) -> float | None:
        n = len(self._captions) - self._n_learn
        if n < 2:
            return None
        self._model.eval()
        size = min(self._training.batch_clips, n)
        rng = np.random.default_rng(derived_seed(self._seed, 2))
        order = self._n_learn + rng.permutation(n)
        with torch.no_grad():
            losses = [
                float(self._loss(order[i : i + size], make_batch, rng))
                for i in range(0, n - size + 1, size)
            ]
        return float(np.mean(losses))

    def _loss(self, rows: np.ndarray, make_batch: Batch, rng: np.random.Generator) -> Tensor:
        clips, texts = make_batch(rows, rng)
        ids = torch.from_numpy(self._caption_ids[rows]).to(self._device)
        return contrastive_loss(clips, texts, self._model.log_scale.exp(), ids[:, None] == ids)

    def _texts(self, rows: np.ndarray) -> Tensor:
        tokens = self._tokenizer([self._captions[r] for r in rows]).to(self._device)
        return self._model.encode_text(tokens)

    def _encode(self, frames: np.ndarray) -> Tensor:
        pictures = torch.from_numpy(frames).to(self._device)
        return self._model.encode_frames(normalise(pictures, self._preprocessing))

    def _frame_batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Embed one frame from the middle of each clip."""
        window = self._training.frame_window
        chosen = [
            frames[int(len(frames) * ((1 - window) / 2 + window * rng.random()))]
            for frames in self._frames.get(rows.tolist())
        ]
        images = nn.functional.normalize(self._encode(np.stack(chosen)), dim=-1)
        return images, self._texts(rows)

    def _clip_batches(self) -> Batch:
        return self._clip_batch if self._trains_towers("clips") else self._cached_clip_batches()

    def _clip_batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Embed whole clips through the image tower."""
        clips = self._frames.get(rows.tolist())
        lengths = [len(c) for c in clips]
        vectors = self._encode(np.concatenate(clips)).split(lengths)
        frames = nn.utils.rnn.pad_sequence(list(vectors), batch_first=True)
        places = torch.arange(frames.shape[1], device=self._device)
        valid = places < torch.tensor(lengths, device=self._device)[:, None]
        return self._model.encode_sequences(frames, valid), self._texts(rows)

    def _cached_clip_batches(self) -> Batch:
        """Encode every frame and caption once, for all epochs with frozen towers."""
        self._model.eval()
        vectors: list[np.ndarray] = []
        texts: list[Tensor] = []
        with torch.no_grad():
            for start in range(0, len(self._captions), 32):
                rows = np.arange(start, min(start + 32, len(self._captions)))
                for frames in self._frames.get(rows.tolist()):
                    vectors.append(self._encode(frames).float().cpu().numpy())
                texts.append(self._texts(rows))
                self._progress("encode clips", int(rows[-1]) + 1, len(self._captions))
        text_vectors = torch.cat(texts)

        def batch(rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            frames, valid = pad_sequences([vectors[r] for r in rows])
            clips = self._model.encode_sequences(
                torch.from_numpy(frames).to(self._device), torch.from_numpy(valid).to(self._device)
            )
            return clips, text_vectors[torch.from_numpy(rows).to(self._device)]

        return batch
