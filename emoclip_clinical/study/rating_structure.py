"""Who was rated, when, by whom and on what, without a single value.

A lock may be written before outcomes are known. It then holds this structure: the columns of each
table and a row a visit (and rater). Where there is no table yet, the structure is what must come:
the columns that the targets and settings need, and the visits of the interviews. A table with
empty cells is a structure like any other.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emoclip_clinical.records import InputError, InterviewKey
from emoclip_clinical.regression.config import SITE
from emoclip_clinical.regression.keyed import RATER, KeyedTable
from emoclip_clinical.regression.rating_tables import (
    RatingTables,
    find_target,
    load_rating_tables,
)
from emoclip_clinical.regression.selection import SESSION
from emoclip_clinical.regression.targets import resolve_target
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.rated import study_scales

RaterState = Literal["absent", "empty", "filled"]


@dataclass(frozen=True)
class TableStructure:
    """One table of ratings.

    Attributes
    ----------
    columns : tuple of str
        Sorted; those of the keys are left out.
    rows : tuple of tuple of str
        Visit (`sub-…[_ses-…]`) and rater (empty where none is named) of each row, sorted.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RatingStructure:
    """The structure of all tables of ratings.

    Attributes
    ----------
    state : {'absent', 'empty', 'filled'}
        Whether there is no table yet; whether any cell of the targets' columns has a value.
    tables : tuple of TableStructure
        In the order of the files; of an absent table the one that must come.
    """

    state: RaterState
    tables: tuple[TableStructure, ...]


def read_structure(study: Study, path: Path, *, visits: Iterable[str] = ()) -> RatingStructure:
    """Read the structure of ratings, or say what must come where there are none.

    Parameters
    ----------
    study : Study
        Its targets and settings say which columns are needed.
    path : Path
        The ratings.
    visits : iterable of str
        Visits that an absent table must hold.

    Raises
    ------
    InputError
        With every fault of the tables' keys, and every column that is needed and not there.
    """
    if not path.exists():
        expected = TableStructure(
            tuple(sorted(needed_columns(study))), tuple((v, "") for v in sorted(set(visits)))
        )
        return RatingStructure("absent", (expected,))
    tables = load_rating_tables(path, encoding=study.protocol.data.encoding)
    faults: list[str] = []
    needed = _setting_columns(study)
    try:
        needed |= needed_columns(study, tables)
    except InputError as error:
        faults += error.faults
    faults += [_absent(name, tables) for name in sorted(needed - set(tables.columns))]
    if faults:
        raise InputError(faults)
    filled = any(_has_values(tables, name) for name in _target_columns(study, tables))
    return RatingStructure(
        "filled" if filled else "empty", tuple(_table(source) for source in tables.sources)
    )


def _absent(name: str, tables: RatingTables) -> str:
    if name in tables.ambiguous:
        return f"{name!r} stands in several files: write {' or '.join(tables.ambiguous[name])}"
    near = difflib.get_close_matches(name, list(tables.columns), n=4)
    return f"the ratings have no column {name!r}, which the protocol names" + (
        f"; near names: {', '.join(near)}" if near else ""
    )


def needed_columns(study: Study, tables: RatingTables | None = None) -> set[str]:
    """Return the columns of ratings that the protocol can not do without.

    Parameters
    ----------
    study : Study
    tables : RatingTables, optional
        Those that there are; without them, items go by the scales' own codes.

    Raises
    ------
    InputError
        With every target that the tables do not hold.
    """
    config = study.protocol.regression
    registry = study_scales(study)
    codes = [code for scale in registry.values() for code in scale.codes]
    needed = _setting_columns(study)
    faults: list[str] = []
    for name in config.targets:
        try:
            target = (
                resolve_target(name, codes, registry=registry)
                if tables is None
                else find_target(tables, name, registry=registry)
            )
            needed |= set(target.columns)
        except InputError as error:
            if tables is not None:
                faults += error.faults
            else:
                needed |= {part.strip() for part in name.split("+")}
    if faults:
        raise InputError(faults)
    return needed


def _setting_columns(study: Study) -> set[str]:
    """Return the columns that settings name beside the targets; keys are none of them."""
    config = study.protocol.regression
    selected = {str(name) for name in config.where} - {SESSION, RATER}
    named = {*config.confounds, *config.subgroups, *selected}
    if config.site is None and config.cv == "leave_one_site_out":
        return named | {SITE}
    return named | ({config.site} if config.site else set())


def target_items(study: Study, name: str) -> frozenset[str]:
    """Return the items that a target counts, in one spelling, so that targets can be compared."""
    registry = study_scales(study)
    codes = [code for scale in registry.values() for code in scale.codes]
    try:
        items = resolve_target(name, codes, registry=registry).items
    except InputError:
        items = tuple(part.strip() for part in name.split("+"))
    return frozenset(item.casefold() for item in items)


def row_label(row: tuple[str, str]) -> str:
    """Name a row of the ratings; who rated is not said."""
    return f"{row[0]} (of one rater)" if row[1] else row[0]


def _target_columns(study: Study, tables: RatingTables) -> set[str]:
    registry = study_scales(study)
    names = study.protocol.regression.targets
    found = [find_target(tables, n, registry=registry).columns for n in names]
    return {column for columns in found for column in columns}


def _has_values(tables: RatingTables, name: str) -> bool:
    column = tables.columns[name]
    return bool(tables.sources[column.source].table.frame[column.name].notna().any())


def _table(source: KeyedTable) -> TableStructure:
    visits = [
        InterviewKey(participant, session).name
        for participant, session in zip(
            source.keys["participant_id"], source.keys["session_id"], strict=True
        )
    ]
    raters = [""] * len(visits) if source.raters is None else [str(r) for r in source.raters]
    return TableStructure(
        tuple(sorted(source.columns)), tuple(sorted(zip(visits, raters, strict=True)))
    )
