"""What reading an interview asks of the model's side, in this process or in another one."""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np


class ReadingModel(Protocol):
    """What reading asks of a model; an `Embedder`, or what stands for one in another process."""

    @property
    def embedding_width(self) -> int:
        """Width d of every vector."""

    @property
    def temperature(self) -> float:
        """Divides the cosines before the softmax."""

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Make a square, uint8 (3, s, s), of an RGB picture, uint8 (height, width, 3)."""

    def encode_sequences(self, frame_vectors: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Embed sequences (n, t, d) of frame vectors, of which `valid` (n, t) ones are real."""


class PictureTicket(Protocol):
    """One prepared picture on its way to its vector."""

    @property
    def is_done(self) -> bool:
        """Whether its vector is there."""


TicketT = TypeVar("TicketT", bound=PictureTicket)


class PictureLane(Protocol[TicketT]):
    """One interview's way to the image tower; see `encoding.Lane`."""

    @property
    def is_full(self) -> bool:
        """Whether an earlier picture should be collected before another one is handed in."""

    def submit(self, picture: np.ndarray) -> TicketT:
        """Hand in a prepared picture, uint8 of shape (3, s, s)."""

    def collect(self, ticket: TicketT) -> np.ndarray:
        """Wait for the vector of a picture that was handed in, float32 of shape (d,)."""

    def flush(self) -> None:
        """Say that no further picture comes for now."""
