"""What is wrong with the values of a target's items: ranges, forms, side-cars, text."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoclip_clinical.regression.keyed import LARGEST_NUMBER, KeyedTable
from emoclip_clinical.regression.labels import label_of
from emoclip_clinical.regression.likeness import items_like
from emoclip_clinical.regression.missing_codes import code_warnings
from emoclip_clinical.regression.rating_tables import RatingTables
from emoclip_clinical.regression.scales import Registry, Scale
from emoclip_clinical.regression.side_cars import SideCar, derived_columns, side_car_faults
from emoclip_clinical.regression.targets import Target
from emoclip_clinical.tables import FEW_SHOWN, limit_faults

ROWS_SHOWN = 10
"""Rows that a warning names before it breaks off."""


def target_faults(
    tables: RatingTables, target: Target, selected: pd.DataFrame, registry: Registry
) -> list[str]:
    """Return every fault of a target's columns in the selected rows.

    Parameters
    ----------
    tables : RatingTables
    target : Target
        Found in the tables.
    selected : DataFrame
        Keys of the rows that count (with ``rater_id`` where raters are named); rows whose
        identifiers are faulty are always checked.
    registry : mapping of str to Scale
        The known scales.
    """
    faults: list[str] = []
    checked: set[tuple[int, str]] = set()
    chosen = pd.MultiIndex.from_frame(selected)
    for item, name, scale in zip(target.items, target.columns, target.scales, strict=True):
        column = tables.columns[name]
        source = tables.sources[column.source]
        if scale is not None and (column.source, scale.name) not in checked:
            checked.add((column.source, scale.name))
            faults += _form_faults(tables, column.source, target, scale, registry)
        identified = (source.keys["participant_id"] != "").to_numpy()
        keys = source.row_keys if "rater_id" in selected else source.keys
        rows = pd.MultiIndex.from_frame(keys[list(selected.columns)]).isin(chosen) | ~identified
        if scale is not None:
            faults += _range_faults(source, column.name, item, scale, rows=rows)
        elif not source.table.is_numeric(column.name):
            faults += _number_faults(source, column.name, rows=rows)
    return faults + _derived_faults(tables, target)


def unchecked_warnings(tables: RatingTables, target: Target, registry: Registry) -> list[str]:
    """Name the plain columns of a target that look like items of a scale, whose range they escape.

    Parameters
    ----------
    tables : RatingTables
    target : Target
        Found in the tables.
    registry : mapping of str to Scale
        The known scales.
    """
    warnings = []
    for name, scale in zip(target.columns, target.scales, strict=True):
        column = tables.columns[name]
        source = tables.sources[column.source]
        alike = [] if scale is not None else items_like(column.name, registry)
        if not alike:
            continue
        values = source.table.frame[column.name].tolist()
        strange = [
            str(source.table.rows[row])
            for row, value in enumerate(values)
            if not _is_missing(value) and not any(_fits(value, s) for s, _ in alike)
        ]
        items = " or ".join(
            f"{code} of {s.name} (integers from {s.item_minimum} to {s.item_maximum})"
            for s, code in alike
        )
        shown = ", ".join(strange[:ROWS_SHOWN]) + (" ..." if len(strange) > ROWS_SHOWN else "")
        rows = "row" if len(strange) == 1 else "rows"
        failing = f" (it would fail in {rows} {shown} of {source.table.name})" if strange else ""
        warnings.append(
            f"column {column.name!r} looks like item {items} and is read as a plain column, "
            f"unchecked{failing}; call it {alike[0][1]!r} if it is that item"
        )
    return warnings


def code_warnings_of(tables: RatingTables, target: Target) -> list[str]:
    """Name the plain columns of a target that seem to hold codes of missing values.

    Parameters
    ----------
    tables : RatingTables
    target : Target
        Found in the tables.
    """
    warnings: list[str] = []
    for name, scale in zip(target.columns, target.scales, strict=True):
        column = tables.columns[name]
        if scale is None:
            warnings += code_warnings(tables.sources[column.source].table, [column.name])
    return warnings


def source_faults(source: KeyedTable, side_car: SideCar, registry: Registry) -> list[str]:
    """Return the faults of every scale of which a table holds all items, or a whole score.

    Of several forms of one scale that the columns allow, the one with the fewest faults counts.
    """
    families: dict[str, list[Scale]] = {}
    for scale in registry.values():
        have = set(_columns_of(source, scale))
        scores = [{*s.items, *s.minus} for s in scale.sums]
        if any(wanted <= have for wanted in (*scores, set(scale.codes))):
            families.setdefault(scale.family or scale.name, []).append(scale)
    faults: list[str] = []
    for forms in families.values():
        candidates = [form for form in forms if not _strange_columns(source, form, registry)]
        found = [_scale_faults(source, side_car, form) for form in candidates or forms]
        fewest = min(found, key=len)
        faults += fewest
    return faults


def number_or_none(value: object) -> float | None:
    """Return a cell as a number that may be a measurement; None where it is none."""
    if value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= LARGEST_NUMBER else None


def _scale_faults(source: KeyedTable, side_car: SideCar, scale: Scale) -> list[str]:
    columns = _columns_of(source, scale)
    faults = side_car_faults(side_car, scale, columns=columns, file=source.table.name)
    for code, column in columns.items():
        faults += _range_faults(source, column, code, scale, rows=None)
    return faults


def _columns_of(source: KeyedTable, scale: Scale) -> dict[str, str]:
    by_fold = {column.casefold(): column for column in source.columns}
    found = {code: by_fold.get(code.casefold()) for code in scale.codes}
    ordered = sorted((source.columns.index(c), code, c) for code, c in found.items() if c)
    return {code: column for _, code, column in ordered}


def _form_faults(
    tables: RatingTables, index: int, target: Target, scale: Scale, registry: Registry
) -> list[str]:
    source = tables.sources[index]
    located = zip(target.items, target.columns, target.scales, strict=True)
    columns = {code: tables.columns[name].name for code, name, of in located
               if of is scale and tables.columns[name].source == index}  # fmt: skip
    faults = side_car_faults(
        tables.side_cars[index], scale, columns=columns, file=source.table.name
    )
    strange = _strange_columns(source, scale, registry)
    if strange:
        faults.append(
            f"{source.table.name}: there is a column {strange[0]!r}, which {scale.name} "
            f"({scale.form}) does not have; name the form that was used"
        )
    return faults


def _strange_columns(source: KeyedTable, scale: Scale, registry: Registry) -> list[str]:
    """Columns that are items of another form of the scale and not of this one."""
    if scale.family is None:
        return []
    own = {code.casefold() for code in scale.codes}
    others = {
        code.casefold()
        for other in registry.values()
        if other.family == scale.family
        for code in other.codes
    }
    return [c for c in source.columns if c.casefold() in others - own]


def _derived_faults(tables: RatingTables, target: Target) -> list[str]:
    if len(target.items) < 2:
        return []
    derived = [
        name
        for name in target.columns
        if derived_columns(
            tables.side_cars[tables.columns[name].source], [tables.columns[name].name]
        )
    ]
    return [
        f"target {target.name}: the side-car says that {name} is derived from other columns, it is "
        "not added"
        for name in derived
    ]


def _range_faults(
    source: KeyedTable, column: str, item: str, scale: Scale, *, rows: np.ndarray | None
) -> list[str]:
    wanted = f"item {item} must be an integer from {scale.item_minimum} to {scale.item_maximum}"
    faults = []
    for index, value in enumerate(source.table.frame[column].tolist()):
        if _is_missing(value) or (rows is not None and not rows[index]) or _fits(value, scale):
            continue
        number = number_or_none(value)
        shown = repr(value) if number is None else label_of(number)
        faults.append(f"{wanted}, got {shown} ({source.visit(index)})")
    return limit_faults(faults)


def _is_missing(value: object) -> bool:
    return value is None or value != value


def _fits(value: object, scale: Scale) -> bool:
    number = number_or_none(value)
    if number is None or not number.is_integer():
        return False
    return scale.item_minimum <= number <= scale.item_maximum


def _number_faults(source: KeyedTable, column: str, *, rows: np.ndarray) -> list[str]:
    return limit_faults(
        [
            f"target {column!r} must be a number, got {value!r} ({source.visit(index)})"
            for index, value in enumerate(source.table.frame[column].tolist())
            if rows[index] and value is not None and number_or_none(value) is None
        ],
        shown=FEW_SHOWN,
    )
