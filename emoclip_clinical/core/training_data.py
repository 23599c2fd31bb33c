"""Clips as the training loop sees them: sampled, prepared frames, decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from emoclip_clinical.core.clip_reading import Sampling, read_frames
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.records import InputError, Progress, no_progress


class ClipFrames:
    """The prepared frames of a list of clips, decoded by threads and kept while memory allows.

    Parameters
    ----------
    clips : sequence of Clip
        What can be asked for, by position.
    sampling : Sampling
        What of each clip is seen.
    memory_megabytes : int
        Clips decoded after this is full are decoded again whenever they are asked for.
    """

    def __init__(self, clips: Sequence[Clip], *, sampling: Sampling, memory_megabytes: int) -> None:
        self._clips = clips
        self._sampling = sampling
        self._room_bytes = memory_megabytes * 2**20
        self._kept: dict[int, np.ndarray] = {}
        self._pool = ThreadPoolExecutor(max_workers=2)

    def get(self, positions: Sequence[int]) -> list[np.ndarray]:
        """Return the frames of some clips, each uint8 of shape (t_i, 3, s, s).

        Raises
        ------
        InputError
            Naming every clip among them that can not be read.
        """
        faults: list[str] = []
        frames: list[np.ndarray] = []
        for position, outcome in zip(positions, self._pool.map(self._read, positions), strict=True):
            if isinstance(outcome, InputError):
                clip = self._clips[position]
                faults.append(f"{clip.where}: {clip.path}: {outcome}")
            else:
                frames.append(outcome)
                self._keep(position, outcome)
        if faults:
            raise InputError(faults)
        return frames

    def check(self, *, task: str = "decode", progress: Progress = no_progress) -> None:
        """Decode every clip once, so that all that can not be read are named before training."""
        faults: list[str] = []
        for start in range(0, len(self._clips), 64):
            positions = range(start, min(start + 64, len(self._clips)))
            try:
                self.get(positions)
            except InputError as error:
                faults += error.faults
            progress(task, positions.stop, len(self._clips))
        if faults:
            raise InputError(faults)

    def _read(self, position: int) -> np.ndarray | InputError:
        if position in self._kept:
            return self._kept[position]
        try:
            return read_frames(self._clips[position].path, self._sampling)
        except InputError as error:
            return error

    def _keep(self, position: int, frames: np.ndarray) -> None:
        if position not in self._kept and frames.nbytes <= self._room_bytes:
            self._kept[position] = frames
            self._room_bytes -= frames.nbytes
