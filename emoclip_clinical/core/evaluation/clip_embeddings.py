"""Embeddings of labelled clips, each computed once however many tasks ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from emoclip_clinical.core.clip_reading import Sampling, read_views
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.embedder import Embedder, pad_sequences
from emoclip_clinical.records import InputError, Progress, no_progress

CHUNK = 64
"""Clips that are decoded together."""
DECODE_THREADS = 2


class ClipEmbeddings:
    """The clip embeddings of one model, kept in memory by clip.

    Parameters
    ----------
    embedder : Embedder
        The model.
    views : int
        Most windows of a clip whose embeddings are averaged; one is the clip's middle.
    """

    def __init__(self, embedder: Embedder, *, views: int = 1) -> None:
        self._embedder = embedder
        self._views = views
        self._known: dict[Path, np.ndarray] = {}
        stride = embedder.config.stride_frames
        self._sampling = Sampling(
            sample_fps=embedder.sample_fps,
            frames_per_clip=embedder.frames_per_clip,
            image_size_pixels=embedder.image_size_pixels,
            resize=embedder.resize,
            start_seed=None if stride is None else 0,
            faithful_stride_frames=stride,
        )

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
            Naming the clips that can not be read, after all have been tried.
        """
        new = list({c.path: c for c in clips if c.path not in self._known}.values())
        faults: list[str] = []
        with ThreadPoolExecutor(DECODE_THREADS) as pool:
            for start in range(0, len(new), CHUNK):
                chunk = new[start : start + CHUNK]
                faults += self._embed(chunk, list(pool.map(self._read, chunk)))
                progress("evaluate", start + len(chunk), len(new))
        if faults:
            raise InputError(faults)
        if not clips:
            return np.empty((0, self._embedder.embedding_width), dtype=np.float32)
        return np.stack([self._known[clip.path] for clip in clips])

    def _read(self, clip: Clip) -> list[np.ndarray] | InputError:
        try:
            return read_views(
                clip.path, self._sampling, views=self._views, folder_fps=clip.folder_fps
            )
        except InputError as error:
            return error

    def _embed(
        self, chunk: Sequence[Clip], read: Sequence[list[np.ndarray] | InputError]
    ) -> list[str]:
        """Remember the embeddings of what could be read; return the faults of the rest."""
        owners = [
            clip.path
            for clip, windows in zip(chunk, read, strict=True)
            if not isinstance(windows, InputError)
            for _ in windows
        ]
        vectors = [
            self._embedder.encode_prepared(frames)
            for windows in read
            if not isinstance(windows, InputError)
            for frames in windows
        ]
        if vectors:
            embedded = self._embedder.encode_sequences(*pad_sequences(vectors))
            for path in dict.fromkeys(owners):
                own = embedded[[i for i, owner in enumerate(owners) if owner == path]]
                # One window stays as it came, to the bit.
                mean = own[0] if len(own) == 1 else own.mean(axis=0)
                self._known[path] = mean if len(own) == 1 else mean / np.linalg.norm(mean)
        return [
            f"{clip.where}: {clip.path}: {fault}"
            for clip, error in zip(chunk, read, strict=True)
            if isinstance(error, InputError)
            for fault in error.faults
        ]
