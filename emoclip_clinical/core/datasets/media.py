"""Finding the videos and frame folders that a data set's files speak of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm", ".wmv"}
)


def first_existing(candidates: Iterable[Path]) -> Path:
    """Return the first path that is there; the first of all where none is."""
    paths = list(candidates)
    return next((p for p in paths if p.exists()), paths[0])


def find_videos(folder: Path) -> list[Path]:
    """Return every video and GIF below a folder, sorted by path."""
    return sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in VIDEO_SUFFIXES and not p.name.startswith(".")
    )


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def numbers_in(paths: Iterable[Path], pattern: str) -> tuple[int, ...]:
    """Return the numbers that the one group of `pattern` finds in whole paths, sorted."""
    found = (re.fullmatch(pattern, p.as_posix()) for p in paths)
    return tuple(sorted({int(m.group(1)) for m in found if m}))
