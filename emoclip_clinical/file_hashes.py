"""Hashes of files, remembered so that large videos are not read at every run.

What is remembered goes by the file's number on the disk, its size and its times, never by its
name: the memory names nobody, and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SETTLED_SECONDS = 2.0
"""A file that changed less than this ago may change again without its times showing it."""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FileHashes:
    """SHA-256 of files, each read once while it stays as it is.

    Threads may ask at the same time.

    Parameters
    ----------
    memory : Path, optional
        A JSON file; made when something is saved. None remembers nothing beyond this process.
    wall_seconds : callable
        The clock that files are stamped with, seconds since 1970.
    """

    def __init__(
        self, memory: Path | None = None, *, wall_seconds: Callable[[], float] = time.time
    ) -> None:
        self._memory = memory
        self._wall_seconds = wall_seconds
        self._known = {} if memory is None else _read(memory)
        self._used: dict[str, str] = {}
        self.n_read = 0

    def file(self, path: Path) -> str:
        """Return the SHA-256 of a file's bytes, in hexadecimal."""
        found = path.stat()
        fields = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        key = "-".join(map(str, fields))
        sha256 = self._used.get(key) or self._known.get(key)
        if sha256 is None:
            sha256 = file_sha256(path)
            self.n_read += 1
        changed_seconds = max(found.st_mtime_ns, found.st_ctime_ns) / 1e9
        if self._wall_seconds() - changed_seconds > SETTLED_SECONDS:
            self._used[key] = sha256
        return sha256

    def save(self) -> None:
        """Keep what was asked for; what nobody asked for is kept too while it is not too much."""
        if self._memory is None:
            return
        # Other processes may have saved theirs since.
        known = {**self._known, **_read(self._memory)}
        kept = {**known, **self._used} if len(known) < 100_000 else self._used
        # Where nothing can be written, files are read again.
        with suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            part = self._memory.with_name(f"{self._memory.name}.{os.getpid()}.part")
            part.write_text(json.dumps(kept), encoding="utf-8")
            part.replace(self._memory)


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
