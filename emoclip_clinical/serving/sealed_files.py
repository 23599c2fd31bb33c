"""Files without a name: in memory while they are small, gone with their last descriptor."""

from __future__ import annotations

import os
import tempfile
from types import TracebackType
from typing import Any

_IN_MEMORY_BYTES = 2**20


class SealedFile:
    """A file that no path leads to, so that nothing is left of it however the server ends.

    Attributes
    ----------
    fd : int
        Its descriptor.
    size : int
        Bytes that were written.
    """

    def __init__(self) -> None:
        self._file = os.fdopen(os.memfd_create("upload"), "r+b", buffering=0)
        self._in_memory = True
        self.size = 0

    @property
    def fd(self) -> int:
        """Its descriptor."""
        return self._file.fileno()

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Add bytes at the end.

        Raises
        ------
        OSError
            If the disk is full.
        """
        if self._in_memory and self.size + len(content) > _IN_MEMORY_BYTES:
            self._move_to_disk()
        _write_all(self._file, content)
        self.size += len(content)

    def close(self) -> None:
        """Give it up; nothing happens where that was done."""
        self._file.close()

    def __enter__(self) -> SealedFile:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it up."""
        self.close()

    def _move_to_disk(self) -> None:
        # TemporaryFile opens with O_TMPFILE where the file system has it, and else removes the
        # name before it returns.
        on_disk = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        try:
            _write_all(on_disk, os.pread(self.fd, self.size, 0))
        except BaseException:
            on_disk.close()
            raise
        self._file.close()
        self._file, self._in_memory = on_disk, False


def _write_all(file: Any, content: bytes | bytearray | memoryview) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    rest.release()
