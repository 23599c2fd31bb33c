"""Clips as the training loop sees them: sampled, prepared frames, decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from emoclip_clinical.core.clip_reading import Sampling, read_frames
from emoclip_clinical.core.clips import Clip, frame_files
from emoclip_clinical.file_hashes import file_sha256
from emoclip_clinical.records import InputError, Progress, no_progress

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

SHORT_HASH_DIGITS = 16


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
    decode_threads : int
        Clips that are decoded at once.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        sampling: Sampling,
        memory_megabytes: int,
        decode_threads: int = 2,
    ) -> None:
        self._clips = clips
        self._sampling = sampling
        self._room_bytes = memory_megabytes * 2**20
        self._kept: dict[int, np.ndarray] = {}
        self._pool = ThreadPoolExecutor(max_workers=decode_threads)

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
            clip = self._clips[position]
            return read_frames(clip.path, self._sampling, folder_fps=clip.folder_fps)
        except InputError as error:
            return error

    def _keep(self, position: int, frames: np.ndarray) -> None:
        if position not in self._kept and frames.nbytes <= self._room_bytes:
            self._kept[position] = frames
            self._room_bytes -= frames.nbytes


def load_ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded]
) -> Iterator[tuple[Item, Loaded]]:
    """Yield (item, loaded), with the next item being loaded by a thread in the meantime."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = None
        for item in items:
            coming = (item, pool.submit(load, item))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = coming
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def clip_sha256(path: Path) -> str:
    """Return the SHA-256 of a clip's file, or of the names and bytes of a folder's pictures."""
    if not path.is_dir():
        return file_sha256(path)
    digest = hashlib.sha256()
    for picture in frame_files(path):
        digest.update(f"{picture.name}\0{file_sha256(picture)}\n".encode())
    return digest.hexdigest()


def short_hashes(contents: Iterable[str]) -> list[str]:
    """Return the beginnings of clips' SHA-256, sorted and each once: enough to know a clip by."""
    return sorted({content[:SHORT_HASH_DIGITS] for content in contents})
