"""Columns of an interviews.csv whose names are nearly those that are read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from emoclip_clinical.features.interviews import TABLE_COLUMNS, TABLE_ENDINGS, table_in
from emoclip_clinical.tables import scan_table

_SMALLEST_LIKENESS = 0.8


def column_warnings(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Name columns that are left alone and were perhaps meant to be read.

    Parameters
    ----------
    paths : iterable of str or Path
        As for `find_interviews`, which accepts them.

    Returns
    -------
    tuple of str
        One line a column, such as ``interviews.csv: the column 'stop_second' is not read; is
        'stop_seconds' meant?``
    """
    found = []
    for path in dict.fromkeys(map(Path, paths)):
        table = table_in(path) if path.is_dir() else path
        if table is None or table.suffix.lower() not in TABLE_ENDINGS:
            continue
        read, _ = scan_table(table, required=())
        columns = [] if read is None else [str(name) for name in read.frame.columns]
        missing = [name for name in TABLE_COLUMNS if name not in columns]
        for column in columns:
            meant = None if column in TABLE_COLUMNS else _meant(column, missing)
            if meant is not None:
                found.append(
                    f"{table.name}: the column {column!r} is not read; is {meant!r} meant?"
                )
    return tuple(found)


def _meant(column: str, missing: list[str]) -> str | None:
    """Return the known column, one that the table lacks, that a name is nearly."""
    plain = column.strip().casefold().replace(" ", "_").replace("-", "_")
    begun = [name for name in missing if name.startswith(f"{plain}_")]
    near = difflib.get_close_matches(plain, missing, n=1, cutoff=_SMALLEST_LIKENESS)
    return next(iter([*begun, *near]), None)
