"""The vectors that a frozen image tower gives of clips: made once a view, then looked up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from emoclip_clinical.core.distributed import World
from emoclip_clinical.core.frame_cache import FrameCache
from emoclip_clinical.core.training_data import ClipFrames
from emoclip_clinical.records import InputError, Progress

PLAIN = -1
"""The view of a clip that is not augmented."""

Wanted = tuple[int, int]
"""Position of a clip, and its view."""


class FrameVectors:
    """Frame vectors by clip and view: in memory, behind that on disk, behind that the tower.

    With a cache on disk all vectors are rounded to float16 before they are used, wherever they
    come from: a training is the same to the bit with a cold and a warm cache. Without one they
    are float32, and all of them stay in memory.

    Parameters
    ----------
    frames : ClipFrames
        The clips.
    encode : callable
        From prepared frames, uint8 (t, 3, s, s), to float32 vectors (t, d).
    vary : callable
        From (frames, seed) to augmented frames of the same shape.
    contents : sequence of str
        SHA-256 of each clip's content; the views of a clip follow from it, so that trainings with
        other seeds share them.
    cache : FrameCache, optional
        On disk.
    key : callable
        From (position, view) to the name of the cache's entry.
    memory_megabytes : int
        Of vectors that are also in the cache.
    """

    def __init__(
        self,
        frames: ClipFrames,
        *,
        encode: Callable[[np.ndarray], np.ndarray],
        vary: Callable[[np.ndarray, int], np.ndarray],
        contents: Sequence[str],
        cache: FrameCache | None,
        key: Callable[[int, int], str],
        memory_megabytes: int,
    ) -> None:
        self._frames = frames
        self._encode = encode
        self._vary = vary
        self._contents = contents
        self._cache = cache
        self._key = key
        self._room_bytes = memory_megabytes * 2**20
        self._kept: dict[Wanted, np.ndarray] = {}
        self._unkept: set[Wanted] = set()

    @property
    def n_unkept(self) -> int:
        """How many clips and views fit neither on disk nor in memory."""
        return len(self._unkept)

    def fill(self, wanted: Iterable[Wanted], *, world: World, progress: Progress) -> None:
        """Make what is missing, so that all clips that can not be read are named at once.

        With a cache on disk the processes of a training divide the work.

        Raises
        ------
        InputError
            Naming every such clip.
        """
        missing = [w for w in wanted if not self._has(w)]
        # Nobody adds to the cache before everybody has looked, or the parts would not fit together.
        world.wait()
        own = missing[world.part(len(missing))] if self._cache is not None else missing
        faults: list[str] = []
        for start in range(0, len(own), 32):
            try:
                self._make(own[start : start + 32])
            except InputError as error:
                faults += error.faults
            progress("encode clips", min(start + 32, len(own)), len(own))
        everybody = sorted({fault for found in world.gather(faults) for fault in found})
        if everybody:
            raise InputError(everybody if world.size > 1 else list(dict.fromkeys(faults)))

    def get(self, rows: Sequence[int], views: Sequence[int]) -> list[np.ndarray]:
        """Return the vectors of some clips, each float16 or float32 of shape (t_i, d)."""
        wanted = list(zip(rows, views, strict=True))
        found = {w: self._look_up(w) for w in wanted}
        made = self._make([w for w, vectors in found.items() if vectors is None])
        return [made[w] if w in made else _present(found[w]) for w in wanted]

    def _has(self, wanted: Wanted) -> bool:
        return self._look_up(wanted) is not None

    def _look_up(self, wanted: Wanted) -> np.ndarray | None:
        if wanted in self._kept:
            return self._kept[wanted]
        if self._cache is None:
            return None
        vectors = self._cache.get(self._key(*wanted))
        return vectors if vectors is None else self._keep(wanted, vectors)

    def _make(self, wanted: Sequence[Wanted]) -> dict[Wanted, np.ndarray]:
        made: dict[Wanted, np.ndarray] = {}
        if not wanted:
            return made
        for (row, view), frames in zip(
            wanted, self._frames.get([row for row, _ in wanted]), strict=True
        ):
            seen = frames if view == PLAIN else self._vary(frames, self._seed(row, view))
            vectors = self._encode(seen)
            if self._cache is not None:
                vectors = vectors.astype(np.float16)
                stored = self._cache.put(self._key(row, view), vectors)
                self._keep((row, view), vectors)
                if not stored and (row, view) not in self._kept:
                    self._unkept.add((row, view))
            else:
                self._kept[row, view] = vectors
            made[row, view] = vectors
        return made

    def _seed(self, row: int, view: int) -> int:
        digest = hashlib.sha256(f"{self._contents[row]}/{view}".encode()).digest()
        return int.from_bytes(digest[:4], "little")

    def _keep(self, wanted: Wanted, vectors: np.ndarray) -> np.ndarray:
        if vectors.nbytes <= self._room_bytes:
            vectors = np.array(vectors)
            self._kept[wanted] = vectors
            self._room_bytes -= vectors.nbytes
        return vectors


def _present(vectors: np.ndarray | None) -> np.ndarray:
    assert vectors is not None
    return vectors
