"""What a model encodes, and how what many requests hand in becomes one batch of it."""

from __future__ import annotations

import numpy as np

from emoclip_clinical.core.embedder import Embedder, pad_sequences
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.queues import Kind

PICTURES, TEXTS, SEQUENCES = "pictures", "texts", "sequences"

_SMALLEST_SHARE = 4


def model_kinds(embedder: Embedder, config: ServingConfig) -> list[Kind]:
    """Return the kinds of a model, for the threads of a `Batcher`, which alone let it encode.

    Parameters
    ----------
    embedder : Embedder
        The model.
    config : ServingConfig
        Sizes of batches and queues.

    Returns
    -------
    list of Kind
        `PICTURES`: items are prepared, uint8 (3, s, s). `TEXTS`: str. `SEQUENCES`: pairs of frame
        vectors (t, d) and of a mask (t,) of those that are real.
    """
    encoders = _Encoders(embedder)
    frames, texts = config.max_batch_frames, config.max_batch_texts
    waiting = config.max_waiting_frames
    # Half a batch costs a GPU nearly as much as a whole one.
    share = frames if embedder.device.type == "cuda" else min(_SMALLEST_SHARE, frames)
    return [
        Kind(PICTURES, encoders.pictures, frames, waiting, share),
        Kind(TEXTS, encoders.texts, texts, config.max_waiting_texts, share),
        Kind(SEQUENCES, encoders.sequences, frames, waiting, share),
    ]


class _Encoders:
    """From slices of several requests to rows."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def pictures(self, parts: list[np.ndarray]) -> np.ndarray:
        return self._embedder.encode_prepared(
            parts[0] if len(parts) == 1 else np.concatenate(parts)
        )

    def texts(self, parts: list[list[str]]) -> np.ndarray:
        return self._embedder.encode_text([text for part in parts for text in part])

    def sequences(self, parts: list[list[tuple[np.ndarray, np.ndarray]]]) -> np.ndarray:
        items = [item for part in parts for item in part]
        vectors, real = pad_sequences([vectors for vectors, _ in items])
        for row, (_, valid) in zip(real, items, strict=True):
            row[: len(valid)] = valid
        return self._embedder.encode_sequences(vectors, real)
