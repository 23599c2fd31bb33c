"""Frame vectors on disk: what a frozen image tower said of a clip, kept for the next training.

One entry a clip and view, in a file of its own: 16 bytes of header, float16 vectors that are
memory-mapped, and a SHA-256 over both. Files appear by renaming, so a reader needs no lock and
never sees half of one; what is damaged is removed and made again.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

_HEADER = struct.Struct("<8sII")
_MAGIC = b"EMOFRM01"
_DIGEST_BYTES = 32
_SUFFIX = ".frames"
_ABANDONED_SECONDS = 3600.0
_SCAN_SHARE = 0.05
"""Share of the limit that a process writes before it counts the folder again."""


def entry_key(**parts: Any) -> str:
    """Return the name of an entry: a SHA-256 over all that its vectors depend on.

    Parameters
    ----------
    **parts : anything that JSON can hold
        Content of the clip, sampling, preprocessing, view, tower, precision.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class FrameCache:
    """A folder of frame vectors that several trainings may share at once.

    Parameters
    ----------
    folder : Path
        Made where it does not exist; may be deleted at any time.
    gigabytes : float
        Largest size, in 10^9 bytes. The entries that were unused for longest go first, and never
        one that this process has used. Processes that write at the same time can exceed it by 5 %
        each until they count again.
    """

    def __init__(self, folder: Path, *, gigabytes: float) -> None:
        self._folder = folder
        self._limit_bytes = int(gigabytes * 1e9)
        self._used: set[str] = set()
        self._total_bytes = self._limit_bytes  # counted before the first entry is written
        self._uncounted_bytes = self._limit_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> np.ndarray | None:
        """Return an entry, or None where there is none or it is damaged (then it is removed).

        Parameters
        ----------
        key : str
            From `entry_key`.

        Returns
        -------
        float16 ndarray of shape (n, d) or None
            Read-only, mapped from the file.
        """
        path = self._path(key)
        try:
            with path.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            return None
        except ValueError:  # an empty file can not be mapped
            path.unlink(missing_ok=True)
            return None
        vectors = _parse(content, check=key not in self._used)
        if vectors is None:
            path.unlink(missing_ok=True)
            return None
        if key not in self._used:
            self._used.add(key)
            with suppress(FileNotFoundError):  # another process may just have removed it
                os.utime(path)
        return vectors

    def put(self, key: str, vectors: np.ndarray) -> bool:
        """Keep an entry where there is room for it.

        Parameters
        ----------
        key : str
            From `entry_key`.
        vectors : float16 ndarray of shape (n, d)
            What `get` will return.

        Returns
        -------
        bool
            False where everything in the cache is in use by this process and nothing more fits.
        """
        content = _HEADER.pack(_MAGIC, *vectors.shape) + vectors.astype("<f2").tobytes()
        content += hashlib.sha256(content).digest()
        if not self._make_room(len(content)):
            return False
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f"{key}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            part.write_bytes(content)
            os.replace(part, path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self._used.add(key)
        self._total_bytes += len(content)
        self._uncounted_bytes += len(content)
        return True

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / (key + _SUFFIX)

    def _make_room(self, n_bytes: int) -> bool:
        fits = self._total_bytes + n_bytes <= self._limit_bytes
        if fits and self._uncounted_bytes <= _SCAN_SHARE * self._limit_bytes:
            return True
        entries = self._count()
        spare = (e for e in entries if e[2].name.removesuffix(_SUFFIX) not in self._used)
        for _, size, path in sorted(spare, key=lambda e: (e[0], e[2].name)):
            if self._total_bytes + n_bytes <= self._limit_bytes:
                break
            path.unlink(missing_ok=True)
            self._total_bytes -= size
        return self._total_bytes + n_bytes <= self._limit_bytes

    def _count(self) -> list[tuple[float, int, Path]]:
        """Return (last use, bytes, path) of every entry; clear away what killed writers left."""
        entries = []
        now = time.time()
        for path in self._folder.glob("??/*"):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            if path.suffix == _SUFFIX:
                entries.append((found.st_mtime, found.st_size, path))
            elif path.suffix == ".part" and now - found.st_mtime > _ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
        self._total_bytes = sum(size for _, size, _ in entries)
        self._uncounted_bytes = 0
        return entries


def _parse(content: mmap.mmap, *, check: bool) -> np.ndarray | None:
    """Return the vectors of a file's content; None where it is not whole."""
    if len(content) < _HEADER.size + _DIGEST_BYTES:
        return None
    magic, n_rows, width = _HEADER.unpack_from(content)
    n_values = n_rows * width
    if magic != _MAGIC or len(content) != _HEADER.size + 2 * n_values + _DIGEST_BYTES:
        return None
    if check:
        body = memoryview(content)[:-_DIGEST_BYTES]
        whole = hashlib.sha256(body).digest() == content[-_DIGEST_BYTES:]
        body.release()
        if not whole:
            return None
    vectors = np.frombuffer(content, dtype="<f2", count=n_values, offset=_HEADER.size)
    return vectors.reshape(n_rows, width)
