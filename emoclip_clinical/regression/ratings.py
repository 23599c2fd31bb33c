"""From a table of ratings to one target: scale points by visit, checked against the scale."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError, Ratings
from emoclip_clinical.regression.keyed import KeyedTable
from emoclip_clinical.regression.rating_tables import RatingTables, combine, load_rating_tables
from emoclip_clinical.regression.scales import Scale, scales
from emoclip_clinical.regression.targets import Target, resolve_target
from emoclip_clinical.tables import limit_faults

NOT_SELECTED = "not selected: "
"""Beginning of the reason of visits that a selection (``where``) left out."""


def read_ratings(
    path: str | Path,
    *,
    target: str,
    where: Mapping[str, str | int | float] | None = None,
    encoding: str | None = None,
) -> Ratings:
    """Read one target from a ratings table or a BIDS phenotype folder.

    Parameters
    ----------
    path : path
        A CSV, TSV or Parquet table, a phenotype TSV, or a folder of phenotype TSVs (beside which
        ``participants.tsv`` is read for its covariates).
    target : str
        A name of the scale registry, a sum of items (``N1+N3``), or a numeric column.
    where : mapping of str to value, optional
        Only visits whose columns have these values; the others are excluded with that reason.
    encoding : str, optional
        Encoding of the text; UTF-8 by default.

    Returns
    -------
    Ratings
        Sums are made of complete items only; a visit with a missing item is in `excluded`.

    Raises
    ------
    InputError
        With every fault at once: identifiers, doubled visits, missing columns, items out of range.
    """
    tables = load_rating_tables(path, encoding=encoding)
    resolved = _resolved(target, tables)
    keys, columns = combine(tables, resolved.items)
    selected = _selected(columns, where or {}, tables)
    faults = _item_faults(tables, resolved, keys[selected])
    if faults:
        raise InputError(faults)
    items = columns[list(resolved.items)].map(_number_or_nan)
    missing = items.isna().to_numpy()
    kept = selected & ~missing.any(axis=1)
    excluded = keys.assign(reason=_reasons(resolved, missing, selected, where or {}))[~kept]
    if not kept.any():
        raise InputError(f"target {resolved.name}: no visit has a complete rating")
    return Ratings(
        target=resolved.name,
        items=resolved.items,
        keys=keys[kept].reset_index(drop=True),
        values=items[kept].sum(axis=1, skipna=False).to_numpy(),
        minimum=resolved.minimum,
        maximum=resolved.maximum,
        excluded=excluded.reset_index(drop=True),
        covariates=columns[kept].reset_index(drop=True),
        warnings=_visibility_warning(resolved),
    )


def validate_ratings(path: str | Path, *, encoding: str | None = None) -> list[str]:
    """Return every fault of a ratings table or folder; an empty list if there is none.

    The items of every scale are checked that the columns hold completely, or of which they hold
    the items of a whole sum.
    """
    try:
        tables = load_rating_tables(path, encoding=encoding)
    except InputError as error:
        return list(error.faults)
    faults: list[str] = []
    for source in tables.sources:
        for scale in scales().values():
            known = [c for c in source.columns if c in scale.codes]
            sums = [s.items for s in scale.sums]
            if any(set(items) <= set(known) for items in (*sums, scale.codes)):
                for item in known:
                    faults += _scale_faults(source, item, scale, rows=None)
    return faults


def _resolved(target: str, tables: RatingTables) -> Target:
    if target in tables.ambiguous:
        choices = ", ".join(tables.ambiguous[target])
        raise InputError(f"target {target!r} stands in several files: write one of {choices}")
    resolved = resolve_target(target, tables.columns)
    if resolved.scale is None and len(resolved.items) == 1:
        column = tables.columns[resolved.items[0]]
        source = tables.sources[column.source].table
        if not source.is_numeric(column.name) and source.frame[column.name].isna().all():
            raise InputError(f"target {target!r}: the column has no value in {source.name}")
    return resolved


def _selected(
    columns: pd.DataFrame, where: Mapping[str, str | int | float], tables: RatingTables
) -> np.ndarray:
    selected = np.ones(len(columns), dtype=bool)
    faults = []
    for name, wanted in where.items():
        if name not in columns:
            faults.append(f"selection {name}={wanted}: {_unknown_column(name, columns, tables)}")
            continue
        equal = _equals(columns[name], wanted)
        if not equal.any():
            values = sorted(
                {f"{v:g}" if isinstance(v, float) else str(v) for v in columns[name].dropna()}
            )
            more = ", ..." if len(values) > 10 else ""
            faults.append(
                f"selection {name}={wanted}: no visit has this value; the column has "
                f"{', '.join(values[:10]) or 'no values'}{more}"
            )
        selected &= equal
    if faults:
        raise InputError(faults)
    if not selected.any():
        raise InputError(f"selection {_spelled(where)}: no visit has all of these values")
    return selected


def _equals(column: pd.Series, wanted: str | int | float) -> np.ndarray:
    if column.dtype == np.float64:
        try:
            return np.asarray(column.to_numpy() == float(wanted))
        except ValueError:
            return np.zeros(len(column), dtype=bool)
    return np.array([value == str(wanted) for value in column.tolist()], dtype=bool)


def _unknown_column(name: str, columns: pd.DataFrame, tables: RatingTables) -> str:
    if name in tables.ambiguous:
        return (
            f"the column stands in several files: write one of {', '.join(tables.ambiguous[name])}"
        )
    near = difflib.get_close_matches(name, [str(c) for c in columns.columns], n=4)
    return "there is no such column" + (f"; near names: {', '.join(near)}" if near else "")


def _item_faults(tables: RatingTables, target: Target, selected: pd.DataFrame) -> list[str]:
    chosen = pd.MultiIndex.from_frame(selected)
    faults: list[str] = []
    for item in target.items:
        column = tables.columns[item]
        source = tables.sources[column.source]
        rows = pd.MultiIndex.from_frame(source.keys).isin(chosen)
        if target.scale is not None:
            faults += _scale_faults(source, column.name, target.scale, rows=rows)
        elif not source.table.is_numeric(column.name):
            faults += _number_faults(source, column.name, rows=rows)
    return faults


def _scale_faults(
    source: KeyedTable, item: str, scale: Scale, *, rows: np.ndarray | None
) -> list[str]:
    wanted = f"item {item} must be an integer from {scale.item_minimum} to {scale.item_maximum}"
    faults = []
    for index, value in enumerate(source.table.frame[item].tolist()):
        if value is None or value != value or (rows is not None and not rows[index]):
            continue
        number = _number(value)
        whole = number is not None and number.is_integer()
        if whole and scale.item_minimum <= number <= scale.item_maximum:  # type: ignore[operator]
            continue
        shown = f"{number:g}" if number is not None else repr(value)
        faults.append(f"{wanted}, got {shown} ({source.visit(index)})")
    return limit_faults(faults)


def _number_faults(source: KeyedTable, column: str, *, rows: np.ndarray) -> list[str]:
    return limit_faults(
        [
            f"target {column!r} must be a number, got {value!r} ({source.visit(index)})"
            for index, value in enumerate(source.table.frame[column].tolist())
            if rows[index] and value is not None and _number(value) is None
        ]
    )


def _number(value: str | float) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _number_or_nan(value: str | float | None) -> float:
    number = None if value is None else _number(value)
    return np.nan if number is None else number


def _reasons(
    target: Target,
    missing: np.ndarray,
    selected: np.ndarray,
    where: Mapping[str, str | int | float],
) -> list[str]:
    reasons = []
    for row, inside in zip(missing, selected, strict=True):
        absent = [item for item, gone in zip(target.items, row, strict=True) if gone]
        if not inside:
            reasons.append(f"{NOT_SELECTED}outside {_spelled(where)}")
        elif absent and len(target.items) == 1:
            reasons.append(f"no rating: {target.items[0]} is missing")
        elif absent:
            reasons.append(f"rating incomplete: {', '.join(absent)} missing")
        else:
            reasons.append("")
    return reasons


def _spelled(where: Mapping[str, str | int | float]) -> str:
    return ", ".join(f"{name}={value}" for name, value in where.items())


def _visibility_warning(target: Target) -> tuple[str, ...]:
    if target.scale is None or target.visible_items:
        return ()
    return (
        f"{target.name}: a picture of the face shows none of its items "
        f"({', '.join(target.items)}); any correlation rests on something else",
    )
