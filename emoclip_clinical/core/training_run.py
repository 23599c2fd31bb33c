"""The training loop: two stages, epoch by epoch, step by step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emoclip_clinical.core.adapters import add_adapters, merge_adapters
from emoclip_clinical.core.checkpoint import load_strictly
from emoclip_clinical.core.distributed import World
from emoclip_clinical.core.model import BuiltModel, derived_seed
from emoclip_clinical.core.optimisation import Stepper
from emoclip_clinical.core.trained_tensors import (
    choose_tensors,
    half_precision_tensors,
    round_to_half,
    trains_towers,
)
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.core.training_data import load_ahead
from emoclip_clinical.core.training_log import TrainingLog
from emoclip_clinical.core.training_plan import STAGES
from emoclip_clinical.core.training_selection import Selected, Selector
from emoclip_clinical.core.training_sides import TrainingSides
from emoclip_clinical.core.training_state import TrainingState
from emoclip_clinical.core.training_step import TrainingStep
from emoclip_clinical.records import InputError, Progress


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
        The same on clips of split `validation`, weighted by the size of their batches; None where
        there are fewer than two.
    score : float or None
        What `select` looks at where it is a share of clips: UAR on validation clips, or WAR on
        test clips; else None.
    """

    stage: str
    epoch: int
    training_loss: float
    validation_loss: float | None
    score: float | None = None


@dataclass
class _Position:
    """Where the training stands: complete epochs of a stage, steps and losses of the next."""

    stage: str
    epoch: int
    step: int
    losses: list[float]


@dataclass(frozen=True)
class _Kept:
    """What outlasts an interruption."""

    state: TrainingState
    log: TrainingLog
    epochs: list[Epoch]


class Run:
    """One training run on its data.

    Parameters
    ----------
    built : BuiltModel
        The model, which is trained in place.
    training : TrainingConfig
        How.
    sides : TrainingSides
        The clips and texts.
    seed : int
        Of order, choice of frames, views, texts and dropout.
    device : torch.device
        Where.
    world : World
        The processes that train together.
    progress : callable
        Called with (`train frames` or `train clips`, clips done, clips in all).
    """

    def __init__(
        self,
        *,
        built: BuiltModel,
        training: TrainingConfig,
        sides: TrainingSides,
        seed: int,
        device: torch.device,
        world: World,
        progress: Progress,
    ) -> None:
        self._model = built.model.to(device)
        self._training = training
        self._sides = sides
        self._seed = seed
        self._device = device
        self._world = world
        self._progress = progress
        self._selector = Selector(training)
        self._half: list[nn.Parameter] = []
        self.trained: dict[str, int] = {}
        """Number of values of each tensor that training could change, by name."""
        self.merged: list[str] = []
        """Names of the weights that adapters were merged into."""

    def fit(
        self, state: TrainingState, log: TrainingLog, *, payload: Mapping[str, Any] | None
    ) -> list[Epoch]:
        """Run what is left of both stages and return the whole loss curve.

        Parameters
        ----------
        state, log : TrainingState, TrainingLog
            Where the unfinished state and the curves are kept.
        payload : mapping, optional
            What `state.load` returned, to go on from there.
        """
        kept = _Kept(state, log, [Epoch(**e) for e in payload["epochs"]] if payload else [])
        if self._n_epochs("frames") + self._n_epochs("clips"):
            self._sides.check(progress=self._progress)
        for stage in STAGES:
            if self._n_epochs(stage):
                self._fit_stage(stage, kept, payload)
        self._finish()
        return kept.epochs

    def selected(self) -> Selected:
        """Return whose weights the model has."""
        stage = self._training.last_stage
        return self._selector.selected(stage, self._n_epochs(stage))

    def _fit_stage(self, stage: str, kept: _Kept, payload: Mapping[str, Any] | None) -> None:
        stepper = self._prepare(stage)
        at = _Position(stage, 0, 0, [])
        if payload is not None:
            if STAGES.index(payload["stage"]) > STAGES.index(stage):
                return  # what this stage came to is in the later one's state
            if payload["stage"] == stage:
                at = _Position(stage, payload["epoch"], payload["step"], list(payload["losses"]))
                self._restore(payload["model"])
                stepper.load(payload["stepper"])
                self._selector.load(payload["selector"])
        if at.epoch == self._n_epochs(stage) or self._selector.stops:
            return
        sides = self._sides.enter(stage, progress=self._progress)
        step = TrainingStep(self._model, sides=sides, training=self._training, world=self._world)
        while at.epoch < self._n_epochs(stage) and not self._selector.stops:
            self._epoch(at, step, stepper, kept)
            at.epoch, at.step, at.losses = at.epoch + 1, 0, []
            self._save(at, stepper, kept)

    def _epoch(self, at: _Position, step: TrainingStep, stepper: Stepper, kept: _Kept) -> None:
        started, n_before = time.perf_counter(), at.step
        batches = self._sides.training_batches(at.stage, at.epoch)
        self._model.train()
        self._model.clip.train(trains_towers(at.stage, self._training))
        for draw, chunks in load_ahead(batches[at.step :], step.load):
            # Dropout follows from the step's number, so a resumed run repeats it.
            number = (STAGES.index(at.stage), at.epoch, at.step, self._world.rank)
            stepper.clear()
            loss = step.learn(draw, chunks, seed=derived_seed(self._seed, 7, *number))
            if not math.isfinite(loss):
                raise InputError(
                    f"the training loss of stage {at.stage} is no longer finite in epoch "
                    f"{at.epoch + 1}: lower its learning_rate"
                )
            self._note_step(at, loss, stepper, kept, n_steps=len(batches))
            stepper.step()
            self._model.clamp_scale()
            round_to_half(self._half)
            at.losses.append(loss)
            at.step += 1
            self._show(at, n_steps=len(batches), batch_clips=len(draw))
            every = self._training.save_every_steps
            if every is not None and at.step % every == 0 and at.step < len(batches):
                self._save(at, stepper, kept)
        n_clips = sum(len(b) for b in batches[n_before:])
        self._end_epoch(at, step, kept, n_clips / (time.perf_counter() - started))

    def _end_epoch(
        self, at: _Position, step: TrainingStep, kept: _Kept, clips_per_second: float
    ) -> None:
        self._world.spread_buffers(self._model)
        self._model.eval()
        validation_loss = step.judged_loss(self._sides.validation_batches())
        is_last_stage = at.stage == self._training.last_stage
        score = self._sides.score(step) if is_last_stage else None
        epoch = Epoch(at.stage, at.epoch + 1, float(np.mean(at.losses)), validation_loss, score)
        if is_last_stage:
            by_loss = self._training.selection == "validation_loss"
            value = validation_loss if by_loss else score
            self._selector.look(epoch.epoch, value, self._changed)
        kept.epochs.append(epoch)
        kept.log.epoch(asdict(epoch), clips_per_second=clips_per_second)

    def _note_step(
        self, at: _Position, loss: float, stepper: Stepper, kept: _Kept, *, n_steps: int
    ) -> None:
        kept.log.step(
            stage=at.stage,
            epoch=at.epoch + 1,
            step=at.epoch * n_steps + at.step + 1,
            training_loss=loss,
            learning_rate=stepper.learning_rate,
            scale=math.exp(float(self._model.log_scale.detach())),
        )

    def _show(self, at: _Position, *, n_steps: int, batch_clips: int) -> None:
        if self._world.writes:
            n_done = (at.epoch * n_steps + at.step) * batch_clips
            self._progress(
                f"train {at.stage}", n_done, self._n_epochs(at.stage) * n_steps * batch_clips
            )

    def _n_epochs(self, stage: str) -> int:
        return self._training.frame_epochs if stage == "frames" else self._training.epochs

    def _prepare(self, stage: str) -> Stepper:
        """Choose what a stage trains, remember its names, and make its optimiser."""
        training = self._training
        if stage == "clips" and training.towers == "lora":
            add_adapters(
                self._model,
                rank=training.lora_rank,
                alpha=training.lora_alpha,
                seed=derived_seed(self._seed, 8),
            )
            self._model.to(self._device)
        chosen = choose_tensors(self._model, stage=stage, training=training)
        self.trained |= {t.name: t.parameter.numel() for t in chosen}
        if training.faithful and stage == "clips" and training.towers == "trained":
            self._half = [p for p in half_precision_tensors(self._model) if p.requires_grad]
            round_to_half(self._half)
        if training.compile:
            self._compile(stage)
        return Stepper(
            chosen,
            config=training.frame_optimiser if stage == "frames" else training.optimiser,
            n_epochs=self._n_epochs(stage),
            steps_per_epoch=self._sides.n_steps,
            decay_all=training.faithful,
        )

    def _compile(self, stage: str) -> None:
        if stage == "clips":
            self._model.temporal.compile()
        if trains_towers(stage, self._training):
            image_tower = self._model.clip.visual
            assert isinstance(image_tower, nn.Module)
            image_tower.compile()

    def _changed(self) -> dict[str, Tensor]:
        """Return the tensors that training can have changed, buffers of the towers included."""
        if any(".lora_" in name for name in self.trained):
            # peft adds an attention's adapter to its weights and takes it off again in each step,
            # so that rounding moves even what is frozen.
            return dict(self._model.state_dict())
        frozen = {n for n, _ in self._model.named_parameters()} - self.trained.keys()
        return {n: t for n, t in self._model.state_dict().items() if n not in frozen}

    def _restore(self, changed: Mapping[str, Tensor]) -> None:
        load_strictly(
            self._model, {**self._model.state_dict(), **changed}, source="the training state"
        )

    def _save(self, at: _Position, stepper: Stepper, kept: _Kept) -> None:
        kept.state.save(
            {
                **asdict(at),
                "epochs": [asdict(e) for e in kept.epochs],
                "model": self._changed(),
                "stepper": stepper.state(),
                "selector": self._selector.state(),
                "log_bytes": kept.log.n_bytes,
            }
        )

    def _finish(self) -> None:
        if self._selector.best_tensors:
            self._restore(self._selector.best_tensors)
        if self._training.epochs and self._training.towers == "lora":
            self.merged = merge_adapters(self._model)
        self._model.requires_grad_(False).eval()
