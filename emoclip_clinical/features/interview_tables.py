"""Tables of interviews, an interviews.csv above all: which one is read, and what is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

from emoclip_clinical.tables import is_file, scan_table

TABLE_ENDINGS = frozenset({".csv", ".tsv"})
TABLE_COLUMNS = (
    "path",
    "participant_id",
    "session_id",
    "run",
    "patient",
    "start_seconds",
    "stop_seconds",
)
FOLDER_TABLE = "interviews.csv"
"""A table of this name at the top of a folder says which interviews it holds."""

_SMALLEST_LIKENESS = 0.8


def table_in(folder: Path) -> Path | None:
    """Return the interviews.csv of a folder; None where it holds none."""
    table = folder / FOLDER_TABLE
    return table if is_file(table) else None


def unread_table_fault(folder: Path, videos: Iterable[Path]) -> str | None:
    """Say that an interviews.csv beside a folder names its videos, where it does.

    Videos of the folder are taken by their names; who the patient is and which part of a video is
    theirs would be read from nowhere.

    Parameters
    ----------
    folder : Path
        A folder without an interviews.csv.
    videos : iterable of Path
        What was found in it.
    """
    table = table_in(folder.absolute().parent)
    if table is None or not _names_one_of(table, videos):
        return None
    return (
        f"{FOLDER_TABLE} beside the folder {folder} names videos of it and would not be read: pass "
        f"it in place of the folder (data.interviews: {FOLDER_TABLE}), or move it into the folder"
    )


def table_instead(folder: Path) -> str:
    """Say what to write where an interviews.csv lies beside a folder without videos.

    Parameters
    ----------
    folder : Path
        Need not be there.

    Returns
    -------
    str
        To be added to a fault; empty where no such table lies there.
    """
    if table_in(folder.absolute().parent) is None:
        return ""
    return (
        f"; {FOLDER_TABLE} beside it is read where it is named: set data.interviews: "
        f"{FOLDER_TABLE}, and pass it to extract"
    )


def table_warnings(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Name what a table says and nobody reads, though it was perhaps meant to be read.

    Parameters
    ----------
    paths : iterable of str or Path
        As for `find_interviews`, which accepts them.

    Returns
    -------
    tuple of str
        One line a column, such as ``interviews.csv: the column 'stop_second' is not read; is
        'stop_seconds' meant?``, and one for each table that names a video given by itself.
    """
    given = dict.fromkeys(map(Path, paths))
    videos = [p for p in given if not p.is_dir() and p.suffix.lower() not in TABLE_ENDINGS]
    found = [warning for path in given if path not in videos for warning in _columns(path)]
    read = {path.absolute() for path in given}
    near = (table_in(level) for video in videos for level in video.absolute().parents[:2])
    found += [
        f"{table} names videos that were given by themselves, and is not read"
        for table in dict.fromkeys(near)
        if table is not None and table not in read and _names_one_of(table, videos)
    ]
    return tuple(found)


def _names_one_of(table: Path, videos: Iterable[Path]) -> bool:
    # The faults of a table that is not used are nobody's concern.
    read, _ = scan_table(table, required=(), text=("path",))
    if read is None or "path" not in read.frame:
        return False
    named = {(table.parent / str(path)).resolve() for path in read.frame["path"].dropna()}
    return any(video.resolve() in named for video in videos)


def _columns(path: Path) -> Iterator[str]:
    table = table_in(path) if path.is_dir() else path
    if table is None:
        return
    read, _ = scan_table(table, required=())
    columns = [] if read is None else [str(name) for name in read.frame.columns]
    missing = [name for name in TABLE_COLUMNS if name not in columns]
    for column in columns:
        meant = None if column in TABLE_COLUMNS else _meant(column, missing)
        if meant is not None:
            yield f"{table.name}: the column {column!r} is not read; is {meant!r} meant?"


def _meant(column: str, missing: list[str]) -> str | None:
    """Return the known column, one that the table lacks, that a name is nearly."""
    plain = column.strip().casefold().replace(" ", "_").replace("-", "_")
    begun = [name for name in missing if name.startswith(f"{plain}_")]
    near = difflib.get_close_matches(plain, missing, n=1, cutoff=_SMALLEST_LIKENESS)
    return next(iter([*begun, *near]), None)
