"""One step of training: a batch's embeddings, its loss and its gradients, over all processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emoclip_clinical.core.distributed import World
from emoclip_clinical.core.gradient_cache import backward_in_chunks
from emoclip_clinical.core.loss import gathered_loss
from emoclip_clinical.core.model import EmoCLIP
from emoclip_clinical.core.training_batches import Loaded, Sides
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.core.training_data import load_ahead
from emoclip_clinical.core.training_plan import Draw
from emoclip_clinical.records import InputError

Chunk = tuple[Draw, Loaded]


class TrainingStep:
    """Computes batches of one stage.

    Parameters
    ----------
    model : EmoCLIP
        On its device, its `requires_grad` flags set.
    sides : Sides
        How clips and texts become embeddings.
    training : TrainingConfig
        `chunk_clips`, `precision`, `faithful`.
    world : World
        The processes that share each batch.

    Raises
    ------
    InputError
        If chunks are asked for and a part that trains mixes clips by batch normalisation.
    """

    def __init__(
        self, model: EmoCLIP, *, sides: Sides, training: TrainingConfig, world: World
    ) -> None:
        self._model = model
        self._sides = sides
        self._training = training
        self._world = world
        self._device = model.log_scale.device
        if training.chunk_clips is not None and (names := _mixing(model)):
            raise InputError(
                "chunk_clips gives the whole batch's gradients only where clips do not meet in a "
                f"batch normalisation; these train: {', '.join(names)}"
            )

    def load(self, draw: Draw) -> list[Chunk]:
        """Fetch this process's part of a batch, in chunks."""
        own = draw.part(self._world.part(len(draw)))
        size = self._training.chunk_clips or max(1, len(own))
        parts = [own.part(slice(i, i + size)) for i in range(0, len(own), size)]
        return [(part, self._sides.clips.load(part)) for part in parts]

    def learn(self, draw: Draw, chunks: Sequence[Chunk], *, seed: int) -> float:
        """Put the gradients of the batch's loss into the parameters, summed over processes.

        Parameters
        ----------
        draw : Draw
            The whole batch.
        chunks : sequence
            From `load`.
        seed : int
            Of dropout.

        Returns
        -------
        float
            The loss in nats.
        """

        def embed(number: int, chunk: Chunk) -> tuple[Tensor, Tensor]:
            torch.manual_seed(seed + number)
            return self._embed(chunk)

        if len(chunks) == 1:
            loss = self._loss(*embed(0, chunks[0]), draw)
            loss.backward()
        else:
            loss = backward_in_chunks(
                chunks, embed=embed, loss_of=lambda clips, texts: self._loss(clips, texts, draw)
            )
        self._world.sum_gradients(p for p in self._model.parameters() if p.requires_grad)
        return float(loss.detach())

    def judged_loss(self, batches: Sequence[Draw]) -> float | None:
        """Return the loss of batches without learning from them, weighted by their clips."""
        if not batches:
            return None
        total = 0.0
        with torch.no_grad():
            for draw, chunks in load_ahead(batches, self.load):
                parts = [self._embed(chunk) for chunk in chunks]
                clips = self._stacked([c for c, _ in parts])
                texts = self._stacked([t for _, t in parts])
                total += float(self._loss(clips, texts, draw)) * len(draw)
        return total / sum(len(draw) for draw in batches)

    def clip_embeddings(self, batches: Sequence[Draw]) -> Tensor:
        """Embed clips of batches, float32 (n, d), in the batches' order, on every process."""
        rows = []
        with torch.no_grad():
            for draw, chunks in load_ahead(batches, self.load):
                own = self._stacked([self._embed_clips(loaded) for _, loaded in chunks])
                rows.append(self._world.gather_rows(own, self._world.sizes(len(draw))))
        return torch.cat(rows)

    def text_embeddings(self, texts: Sequence[str]) -> Tensor:
        """Embed any texts, float32 (n, d), L2-normalised."""
        with torch.no_grad(), self._arithmetic():
            return self._sides.texts.encode(texts).float()

    def _embed(self, chunk: Chunk) -> tuple[Tensor, Tensor]:
        draw, loaded = chunk
        clips = self._embed_clips(loaded)
        with self._arithmetic():
            return clips, self._sides.texts.embed(draw.texts).float()

    def _embed_clips(self, loaded: Loaded) -> Tensor:
        with self._arithmetic():
            return self._sides.clips.embed(loaded).float()

    def _stacked(self, parts: list[Tensor]) -> Tensor:
        # A process that has no row of a small batch still takes part in the exchange.
        return torch.cat(parts) if parts else torch.zeros(0, self._model.width).to(self._device)

    def _loss(self, clips: Tensor, texts: Tensor, draw: Draw) -> Tensor:
        return gathered_loss(
            clips,
            texts,
            self._model.log_scale,
            torch.from_numpy(draw.meanings).to(self._device),
            world=self._world,
            sizes=self._world.sizes(len(draw)),
            faithful=self._training.faithful,
        )

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._training.precision == "bf16"
        )


def _mixing(model: EmoCLIP) -> list[str]:
    """Return the names of the batch normalisations that train."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and any(p.requires_grad for p in module.parameters())
    ]
