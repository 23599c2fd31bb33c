"""Files that are there whole or not at all, and disks on which they can not be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from emoclip_clinical.records import InputError

_NOT_OURS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
)


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Say of a full disk or a folder that may not be written what it is.

    Parameters
    ----------
    folder : Path
        Named in the message.

    Raises
    ------
    InputError
        In place of the system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        raise InputError(f"can not write to {folder}: {os.strerror(error.errno)}") from None


@contextmanager
def replacing(folder: Path, names: Sequence[str]) -> Iterator[tuple[Path, ...]]:
    """Give temporary files that take the place of others when all of them went well.

    Parameters
    ----------
    folder : Path
        Where.
    names : sequence of str
        Of the files. The last is the one without which no reader takes the others: it is away
        while they change, so that old and new ones are never read together.

    Yields
    ------
    tuple of Path
        One for each name.
    """
    temporaries = tuple(folder / f".{name}.unfinished" for name in names)
    try:
        yield temporaries
        for temporary in temporaries:
            sync_file(temporary)
        if len(names) > 1:
            (folder / names[-1]).unlink(missing_ok=True)
            sync_folder(folder)
        for temporary, name in zip(temporaries[:-1], names[:-1], strict=True):
            os.replace(temporary, folder / name)
        sync_folder(folder)
        os.replace(temporaries[-1], folder / names[-1])
        sync_folder(folder)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Have a file's content on the disk before what comes next."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Have a folder's names on the disk before what comes next, where a system can."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
