"""From drawn clips to embeddings: single frames, whole clips, or cached frame vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from emoclip_clinical.core.embedder import pad_sequences
from emoclip_clinical.core.frame_vectors import PLAIN, FrameVectors
from emoclip_clinical.core.model import EmoCLIP
from emoclip_clinical.core.preprocessing import Preprocessing, normalise
from emoclip_clinical.core.training_data import ClipFrames
from emoclip_clinical.core.training_plan import Draw


@dataclass(frozen=True)
class Loaded:
    """What of some clips goes to the device.

    Attributes
    ----------
    values : Tensor
        Prepared frames, uint8 (n, 3, s, s) over all clips, or padded vectors, float32 (n, t, d).
    lengths : tuple of int
        Frames of each clip.
    """

    values: Tensor
    lengths: tuple[int, ...]


class ClipSide(Protocol):
    """How a stage turns clips into embeddings."""

    def load(self, draw: Draw) -> Loaded:
        """Fetch what a batch needs; no use of the model, so that a thread can do it ahead."""
        ...

    def embed(self, loaded: Loaded) -> Tensor:
        """Return L2-normalised embeddings of shape (n, d)."""
        ...


Vary = Callable[[np.ndarray, int], np.ndarray]


class ImageTower:
    """The image tower with the preprocessing before it.

    Parameters
    ----------
    model : EmoCLIP
        On its device.
    preprocessing : Preprocessing
        Its own.
    device : torch.device
        Where.
    """

    def __init__(
        self, model: EmoCLIP, *, preprocessing: Preprocessing, device: torch.device
    ) -> None:
        self._model = model
        self._preprocessing = preprocessing
        self._device = device

    def __call__(self, pictures: Tensor) -> Tensor:
        """Encode prepared pictures, uint8 (n, 3, s, s), as (n, d), not normalised."""
        pictures = pictures.to(self._device, non_blocking=True)
        return self._model.encode_frames(normalise(pictures, self._preprocessing))


class SingleFrames:
    """Stage `frames`: one frame from the middle of each clip."""

    def __init__(self, frames: ClipFrames, *, tower: ImageTower, window: float, vary: Vary) -> None:
        self._frames = frames
        self._tower = tower
        self._window = window
        self._vary = vary

    def load(self, draw: Draw) -> Loaded:
        """Decode the clips and take a frame of each."""
        chosen = []
        clips = self._frames.get(draw.rows.tolist())
        for frames, place, view in zip(clips, draw.places, draw.views, strict=True):
            at = int(len(frames) * ((1 - self._window) / 2 + self._window * place))
            frame = frames[at : at + 1]
            chosen.append(frame if view == PLAIN else self._vary(frame, int(view)))
        return Loaded(torch.from_numpy(np.concatenate(chosen)), (1,) * len(chosen))

    def embed(self, loaded: Loaded) -> Tensor:
        """Return the frames' directions."""
        return nn.functional.normalize(self._tower(loaded.values).float(), dim=-1)


class WholeClips:
    """Stage `clips` through the image tower, which learns or does not."""

    def __init__(
        self,
        frames: ClipFrames,
        *,
        model: EmoCLIP,
        tower: ImageTower,
        tower_learns: bool,
        device: torch.device,
        vary: Vary,
    ) -> None:
        self._frames = frames
        self._model = model
        self._tower = tower
        self._tower_learns = tower_learns
        self._device = device
        self._vary = vary

    def load(self, draw: Draw) -> Loaded:
        """Decode and vary the clips."""
        clips = self._frames.get(draw.rows.tolist())
        seen = [
            frames if view == PLAIN else self._vary(frames, int(view))
            for frames, view in zip(clips, draw.views, strict=True)
        ]
        values = torch.from_numpy(np.concatenate(seen))
        if self._device.type == "cuda":
            values = values.pin_memory()
        return Loaded(values, tuple(len(frames) for frames in seen))

    def embed(self, loaded: Loaded) -> Tensor:
        """Encode every frame, then each clip."""
        with torch.set_grad_enabled(self._tower_learns and torch.is_grad_enabled()):
            vectors = self._tower(loaded.values).split(loaded.lengths)
            frames = nn.utils.rnn.pad_sequence(list(vectors), batch_first=True)
        valid = _valid(loaded.lengths, frames.shape[1], self._device)
        return self._model.encode_sequences(frames, valid)


class CachedClips:
    """Stage `clips` on vectors that the frozen image tower gave once."""

    def __init__(
        self,
        vectors: FrameVectors,
        *,
        model: EmoCLIP,
        device: torch.device,
    ) -> None:
        self._vectors = vectors
        self._model = model
        self._device = device

    def load(self, draw: Draw) -> Loaded:
        """Look the clips' vectors up."""
        found = self._vectors.get(draw.rows.tolist(), draw.views.tolist())
        frames, _ = pad_sequences(found)
        return Loaded(torch.from_numpy(frames), tuple(len(v) for v in found))

    def embed(self, loaded: Loaded) -> Tensor:
        """Encode each clip."""
        frames = loaded.values.to(self._device)
        valid = _valid(loaded.lengths, frames.shape[1], self._device)
        return self._model.encode_sequences(frames, valid)


class TextSide:
    """Embeddings of texts: from a table where the text tower is frozen, else made anew.

    Parameters
    ----------
    model : EmoCLIP
        On its device.
    tokenizer : callable
        The model's.
    texts : sequence of str
        All that can be asked for, by position.
    device : torch.device
        Where.
    """

    def __init__(
        self, model: EmoCLIP, *, tokenizer: Any, texts: Sequence[str], device: torch.device
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._texts = texts
        self._device = device
        self._table: Tensor | None = None

    def freeze(self) -> None:
        """Embed every text once, for all epochs with a frozen text tower."""
        with torch.no_grad():
            parts = [
                self.encode(self._texts[start : start + 32])
                for start in range(0, len(self._texts), 32)
            ]
        self._table = torch.cat(parts)

    def embed(self, positions: np.ndarray) -> Tensor:
        """Return L2-normalised embeddings of shape (n, d)."""
        if self._table is not None:
            return self._table[torch.from_numpy(positions).to(self._device)]
        return self.encode([self._texts[i] for i in positions])

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embed any texts, (n, d), L2-normalised."""
        return self._model.encode_text(self._tokenizer(list(texts)).to(self._device))


def _valid(lengths: Sequence[int], longest: int, device: torch.device) -> Tensor:
    places = torch.arange(longest, device=device)
    return places < torch.tensor(lengths, device=device)[:, None]


@dataclass(frozen=True)
class Sides:
    """The two sides of a batch in one stage.

    Attributes
    ----------
    clips : ClipSide
    texts : TextSide
    """

    clips: ClipSide
    texts: TextSide
