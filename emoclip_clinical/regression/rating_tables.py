"""Loading ratings from a table or from a BIDS phenotype folder, without choosing a target yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS, InputError
from emoclip_clinical.regression.keyed import KeyedTable, key_table
from emoclip_clinical.tables import read_table

PARTICIPANTS = "participants.tsv"


@dataclass(frozen=True)
class Column:
    """Where a column of the ratings stands.

    Attributes
    ----------
    source : int
        Position of its file in `RatingTables.sources`.
    name : str
        Its name in that file.
    """

    source: int
    name: str


@dataclass(frozen=True)
class RatingTables:
    """Every rating and covariate that was found, file by file.

    Attributes
    ----------
    sources : tuple of KeyedTable
        The files; ``participants.tsv`` is last where there is one.
    columns : dict of str to Column
        Columns by the name under which they can be asked for: their own, or ``<file>.<column>``
        where several files have a column of that name.
    ambiguous : dict of str to tuple of str
        Names that several files share, with the qualified names to choose from.
    """

    sources: tuple[KeyedTable, ...]
    columns: dict[str, Column]
    ambiguous: dict[str, tuple[str, ...]]


def load_rating_tables(path: str | Path, *, encoding: str | None = None) -> RatingTables:
    """Read a ratings table, a phenotype TSV, or a folder of phenotype TSVs.

    ``participants.tsv`` in the folder or beside it is read for its covariates.

    Raises
    ------
    InputError
        With every fault of all files: unreadable tables, identifiers, visits that stand twice.
    """
    files = _files(Path(path))
    faults: list[str] = []
    sources: list[KeyedTable] = []
    for file in files:
        try:
            keyed, key_faults = key_table(read_table(file, encoding=encoding))
        except InputError as error:
            faults += error.faults
            continue
        faults += key_faults
        sources.append(keyed)
    if faults:
        raise InputError(faults)
    return _named(sources, [file.stem for file in files])


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"{path.name}: no such file or folder of ratings")
    folder = path if path.is_dir() else path.parent
    if path.is_dir() and (path / "phenotype").is_dir():
        folder = path / "phenotype"
    if path.is_dir():
        files = sorted(f for f in folder.glob("*.tsv") if f.name != PARTICIPANTS)
        if not files:
            raise InputError(f"{path.name}: the folder holds no phenotype tables (*.tsv)")
    else:
        files = [path]
    bids = path.is_dir() or folder.name == "phenotype"
    beside = [f for f in (folder / PARTICIPANTS, folder.parent / PARTICIPANTS) if f.is_file()]
    return files + (beside[:1] if bids else [])


def _named(sources: Sequence[KeyedTable], stems: Sequence[str]) -> RatingTables:
    found = [(i, name) for i, source in enumerate(sources) for name in source.columns]
    count = Counter(name for _, name in found)
    columns: dict[str, Column] = {}
    ambiguous: dict[str, tuple[str, ...]] = {}
    for index, name in found:
        qualified = f"{stems[index]}.{name}"
        if count[name] == 1:
            columns[name] = Column(index, name)
        else:
            columns[qualified] = Column(index, name)
            ambiguous[name] = (*ambiguous.get(name, ()), qualified)
    return RatingTables(tuple(sources), columns, ambiguous)


def combine(tables: RatingTables, rated: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put the columns of all files side by side, a row for each visit that was rated.

    The visits are those of the files that hold the rated columns. Columns of other files are
    joined by visit, or by participant where either file names no sessions and the other has one
    row a participant; a column that can not be joined without a guess is left out.

    Returns
    -------
    keys : DataFrame of shape (n_visits, 2)
    columns : DataFrame of shape (n_visits, n_columns)
    """
    first = sorted({tables.columns[name].source for name in rated})
    sessions = {tables.sources[i].has_sessions for i in first}
    if len(sessions) > 1:
        names = ", ".join(tables.sources[i].table.name for i in first)
        raise InputError(f"the target's items stand in {names}, of which only some have session_id")
    keys = pd.concat([tables.sources[i].keys for i in first]).drop_duplicates()
    keys = keys.sort_values(list(KEY_COLUMNS)).reset_index(drop=True)
    parts: list[pd.DataFrame] = []
    for index, source in enumerate(tables.sources):
        named = {c.name: name for name, c in tables.columns.items() if c.source == index}
        right = source.table.frame[list(named)].rename(columns=named)
        on = _joined_by(keys, source)
        if on is None:
            continue
        right = pd.concat([source.keys[on], right], axis=1)
        parts.append(keys.merge(right, on=on, how="left")[list(named.values())])
    return keys, pd.concat(parts, axis=1)


def _joined_by(keys: pd.DataFrame, source: KeyedTable) -> list[str] | None:
    if source.has_sessions == bool((keys["session_id"] != "").any()):
        return list(KEY_COLUMNS)
    once = not source.keys["participant_id"].duplicated().any()
    return ["participant_id"] if once else None
