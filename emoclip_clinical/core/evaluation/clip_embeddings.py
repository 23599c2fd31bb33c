"""Embeddings of labelled clips, each computed once however many tasks ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emoclip_clinical.core.clip_reading import Sampling
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.embedder import Embedder, pad_sequences
from emoclip_clinical.core.training_data import ClipFrames
from emoclip_clinical.records import Progress, no_progress

CHUNK = 64
"""Clips that are decoded together."""


class ClipEmbeddings:
    """The clip embeddings of one model, kept in memory by clip.

    Parameters
    ----------
    embedder : Embedder
        The model.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[Path, np.ndarray] = {}

    def get(self, clips: Sequence[Clip], *, progress: Progress = no_progress) -> np.ndarray:
        """Embed clips, or return what is known of them.

        Parameters
        ----------
        clips : sequence of Clip
            In any order; labels and splits are not looked at.
        progress : callable
            Called with (`evaluate`, clips done, clips in all) while clips are decoded.

        Returns
        -------
        float32 ndarray of shape (n_clips, d)
            L2-normalised.

        Raises
        ------
        InputError
            Naming the clips that can not be read.
        """
        new = list({c.path: c for c in clips if c.path not in self._known}.values())
        sampling = Sampling(
            self._embedder.sample_fps,
            self._embedder.frames_per_clip,
            self._embedder.image_size_pixels,
        )
        frames = ClipFrames(new, sampling=sampling, memory_megabytes=0)
        for start in range(0, len(new), CHUNK):
            rows = range(start, min(start + CHUNK, len(new)))
            vectors = [self._embedder.encode_prepared(f) for f in frames.get(rows)]
            embedded = self._embedder.encode_sequences(*pad_sequences(vectors))
            self._known |= {new[row].path: e for row, e in zip(rows, embedded, strict=True)}
            progress("evaluate", rows.stop, len(new))
        if not clips:
            return np.empty((0, self._embedder.embedding_width), dtype=np.float32)
        return np.stack([self._known[clip.path] for clip in clips])
