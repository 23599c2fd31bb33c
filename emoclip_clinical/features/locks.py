"""Keep two processes from writing the same interviews; a lock dies with its process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from emoclip_clinical.features.shards import Shard
from emoclip_clinical.records import InputError

_LOCK = ".lock"
_SHARD_LOCK = ".lock-shard-"


@contextmanager
def folder_lock(folder: Path, *, shard: Shard | None) -> Iterator[None]:
    """Hold the lock of a features folder.

    Parameters
    ----------
    folder : Path
        The features folder.
    shard : Shard or None
        None: alone. Else beside other shards, each of which is there once; shards of arrays of
        another size would share interviews, and are kept out too.

    Raises
    ------
    InputError
        If another process holds it.
    OSError
        If the folder can not be written.
    """
    busy = f"another extract is writing to {folder}: wait for it to end"
    with ExitStack() as stack:
        stack.enter_context(_file_lock(folder / _LOCK, shared=shard is not None, busy=busy))
        if shard is not None:
            name = f"{_SHARD_LOCK}{shard.number}-of-{shard.total}"
            same = f"another extract is writing shard {shard} to {folder}: wait for it to end"
            stack.enter_context(_file_lock(folder / name, shared=False, busy=same))
            for other in sorted(folder.glob(f"{_SHARD_LOCK}*")):
                if not other.name.endswith(f"-of-{shard.total}"):
                    with _file_lock(other, shared=False, busy=busy):
                        pass
        yield


@contextmanager
def _file_lock(path: Path, *, shared: bool, busy: str) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if os.name == "posix":
            import fcntl

            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(busy) from None
        yield
    finally:
        os.close(handle)
