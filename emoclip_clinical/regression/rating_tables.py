"""Loading ratings from a table or from a BIDS phenotype folder, without choosing a target yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS, InputError
from emoclip_clinical.regression.keyed import RATER, KeyedTable, key_table
from emoclip_clinical.regression.scales import Registry
from emoclip_clinical.regression.side_cars import SideCar, read_side_car
from emoclip_clinical.regression.targets import Target, resolve_target
from emoclip_clinical.tables import scan_table

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
        Columns by the names under which they can be asked for: their own, and
        ``<file>.<column>`` where several files have a column of that name. Its own name then
        means the fullest column if all say the same, and that of ``participants.tsv`` otherwise.
    ambiguous : dict of str to tuple of str
        Names that several files share and fill otherwise, with the qualified names to choose from.
        One that ``participants.tsv`` has may yet be asked for, though not as a rating.
    side_cars : tuple of mapping
        What the JSON file beside each of `sources` says of its columns; empty where there is none.
    """

    sources: tuple[KeyedTable, ...]
    columns: dict[str, Column]
    ambiguous: dict[str, tuple[str, ...]]
    side_cars: tuple[SideCar, ...] = ()

    @property
    def qualified(self) -> dict[str, str]:
        """Own name of each column that is asked for by its file's name too."""
        return {name: column.name for name, column in self.columns.items() if name != column.name}


def find_target(tables: RatingTables, name: str, *, registry: Registry) -> Target:
    """Return what a target's name means in these tables; see `resolve_target`.

    Raises
    ------
    InputError
        For an unknown name, and for columns that are missing or not certain.
    """
    return resolve_target(
        name,
        tables.columns,
        registry=registry,
        qualified=tables.qualified,
        ambiguous=tables.ambiguous,
    )


def load_rating_tables(path: str | Path, *, encoding: str | None = None) -> RatingTables:
    """Read a ratings table, a phenotype TSV, or a folder of phenotype TSVs.

    ``participants.tsv`` in the folder or beside it is read for its covariates.

    Raises
    ------
    InputError
        With every fault of all files: unreadable tables, identifiers, visits that stand twice.
    """
    tables, faults = scan_rating_tables(path, encoding=encoding)
    if faults or tables is None:
        raise InputError(faults)
    return tables


def scan_rating_tables(
    path: str | Path, *, encoding: str | None = None
) -> tuple[RatingTables | None, list[str]]:
    """Read what can be read of the ratings, and say what can not.

    Returns
    -------
    RatingTables or None
        None where not every file could be read at least in part.
    list of str
        Every fault; where there is one, the tables serve only to look for more.
    """
    try:
        files = _files(Path(path))
    except InputError as error:
        return None, list(error.faults)
    faults: list[str] = []
    sources: list[KeyedTable] = []
    side_cars: list[SideCar] = []
    for file in files:
        table, found = scan_table(file, encoding=encoding)
        faults += found
        try:
            side_cars.append(read_side_car(file))
        except InputError as error:
            faults += error.faults
            side_cars.append({})
        if table is not None and "participant_id" in table.frame and len(table.frame):
            keyed, key_faults = key_table(table, raters=True)
            faults += key_faults
            sources.append(keyed)
    if len(sources) < len(files):
        return None, faults
    return _named(sources, [file.stem for file in files], side_cars), faults


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


def _named(
    sources: Sequence[KeyedTable], stems: Sequence[str], side_cars: Sequence[SideCar]
) -> RatingTables:
    places: dict[str, list[int]] = {}
    for index, source in enumerate(sources):
        for name in source.columns:
            places.setdefault(name, []).append(index)
    columns: dict[str, Column] = {}
    ambiguous: dict[str, tuple[str, ...]] = {}
    for name, indices in places.items():
        if len(indices) == 1:
            columns[name] = Column(indices[0], name)
            continue
        meant = _fullest(sources, indices, name)
        if meant is None:
            ambiguous[name] = tuple(f"{stems[i]}.{name}" for i in indices)
            meant = next((i for i in indices if sources[i].table.name == PARTICIPANTS), None)
        if meant is not None:
            columns[name] = Column(meant, name)
        columns.update({f"{stems[i]}.{name}": Column(i, name) for i in indices})
    return RatingTables(tuple(sources), columns, ambiguous, tuple(side_cars))


def _fullest(sources: Sequence[KeyedTable], indices: Sequence[int], name: str) -> int | None:
    """Return the file whose column holds all that the others' hold; None where they differ."""
    among = [sources[i] for i in indices]
    by = ["participant_id"]
    by += ["session_id"] if all(source.has_sessions for source in among) else []
    by += [RATER] if all(source.raters is not None for source in among) else []
    contents = []
    for source in among:
        told = source.row_keys[by].assign(value=source.table.frame[name].to_numpy()).dropna()
        told = told.drop_duplicates()
        if told[by].duplicated().any():
            return None
        contents.append(set(told.itertuples(index=False, name=None)))
    fullest = max(contents, key=len)
    return indices[contents.index(fullest)] if all(c <= fullest for c in contents) else None


def combine(tables: RatingTables, rated: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put the columns of all files side by side, a row for each visit that was rated.

    The visits are those of the files that hold the rated columns; where those files name raters,
    there is a row for each visit and rater. Columns of other files are joined by visit, or by
    participant where either file names no sessions and the other has one row a participant; a
    column that can not be joined without a guess is left out.

    Returns
    -------
    keys : DataFrame of shape (n_rows, 2 or 3)
        ``participant_id``, ``session_id``, and ``rater_id`` where raters are named.
    columns : DataFrame of shape (n_rows, n_columns)

    Raises
    ------
    InputError
        If of the files that hold the rated columns only some name sessions, or raters.
    """
    first = sorted({tables.columns[name].source for name in rated})
    rated_in = [tables.sources[i] for i in first]
    names = ", ".join(source.table.name for source in rated_in)
    faults = [
        f"the target's items stand in {names}, of which only some have {column}"
        for column, has in (
            ("session_id", {source.has_sessions for source in rated_in}),
            (RATER, {source.raters is not None for source in rated_in}),
        )
        if len(has) > 1
    ]
    if faults:
        raise InputError(faults)
    keys = pd.concat([source.row_keys for source in rated_in]).drop_duplicates()
    # Stable: raters of one visit keep the order of the file.
    keys = keys.sort_values(list(KEY_COLUMNS), kind="stable").reset_index(drop=True)
    parts: list[pd.DataFrame] = []
    for index, source in enumerate(tables.sources):
        named = {name: c.name for name, c in tables.columns.items() if c.source == index}
        right = source.table.frame[list(named.values())].set_axis(list(named), axis=1)
        on = _joined_by(keys, source)
        if on is None:
            continue
        right = pd.concat([source.row_keys[on], right], axis=1)
        right = right[~right.duplicated(on)]
        parts.append(keys.merge(right, on=on, how="left")[list(named)])
    return keys, pd.concat(parts, axis=1)


def _joined_by(keys: pd.DataFrame, source: KeyedTable) -> list[str] | None:
    by = list(KEY_COLUMNS)
    if source.raters is not None:
        if RATER not in keys:
            return None
        by.append(RATER)
    if source.has_sessions == bool((keys["session_id"] != "").any()):
        return by
    without = [column for column in by if column != "session_id"]
    once = not source.row_keys[without].duplicated().any()
    return without if once else None
