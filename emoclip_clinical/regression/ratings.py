"""From a table of ratings to one target: scale points by visit, checked against the scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS, InputError, Ratings
from emoclip_clinical.regression.change_ratings import changed, with_first_visits
from emoclip_clinical.regression.keyed import RATER
from emoclip_clinical.regression.rater_selection import filled_from_raters, select
from emoclip_clinical.regression.raters import CombinedRaters, combine_raters
from emoclip_clinical.regression.rating_checks import (
    code_warnings_of,
    number_or_none,
    source_faults,
    target_faults,
    unchecked_warnings,
)
from emoclip_clinical.regression.rating_tables import (
    RatingTables,
    combine,
    find_target,
    scan_rating_tables,
)
from emoclip_clinical.regression.scales import Registry, scales
from emoclip_clinical.regression.scoring import RatingRules, Scores, score_rows
from emoclip_clinical.regression.selection import (
    NOT_SELECTED,
    SESSION,
    Where,
    spelled,
)
from emoclip_clinical.regression.targets import Target

COLUMNS_SHOWN = 10
"""Columns that a warning names before it counts the others."""

__all__ = ["NOT_SELECTED", "read_ratings", "validate_ratings"]


def read_ratings(
    path: str | Path,
    *,
    target: str,
    where: Where | None = None,
    encoding: str | None = None,
    registry: Registry | None = None,
    rules: RatingRules | None = None,
) -> Ratings:
    """Read one target from a ratings table or a BIDS phenotype folder.

    Parameters
    ----------
    path : path
        A CSV, TSV, Excel or Parquet table, a phenotype TSV, or a folder of phenotype TSVs (beside
        which ``participants.tsv`` is read for its covariates, and each table's JSON side-car).
    target : str
        A name of the scale registry, a sum of items (``N1+N3``), a numeric column, or
        ``percent_change(...)`` of a score.
    where : mapping of str to value, optional
        Only visits whose columns (``session_id`` and ``rater_id`` among them) have these values;
        the others are excluded with that reason. A change of a visit that is selected may be
        counted from one that is not. An empty cell is filled from the visit's other raters where
        these agree; a column in which the raters of a visit differ is a condition on raters, also
        of the first visits.
    encoding : str, optional
        Encoding of the text; UTF-8 by default.
    registry : mapping of str to Scale, optional
        The known scales; the shipped ones by default.
    rules : RatingRules, optional
        How raters and missing items are dealt with; the mean, and complete items, by default.

    Returns
    -------
    Ratings
        A visit without a score is in `excluded`, with the reason.

    Raises
    ------
    InputError
        With every fault at once: unreadable rows, identifiers, doubled visits, missing columns,
        items out of range, numbers too large to reckon with, a form that the side-car contradicts.
    """
    registry, rules, where = registry or scales(), rules or RatingRules(), where or {}
    tables, faults = scan_rating_tables(path, encoding=encoding)
    if tables is None:
        raise InputError(faults)
    try:
        resolved = _resolved(target, tables, registry)
        keys, columns = combine(tables, resolved.columns)
        by = [name for name in where if name in columns and name not in resolved.columns]
        columns = filled_from_raters(columns, keys, by)
        selection = select(_selectable(keys, columns), keys, where, ambiguous=tables.ambiguous)
    except InputError as error:
        raise InputError([*faults, *error.faults]) from None
    selected = selection.rows
    counted = with_first_visits(selection, keys) if resolved.is_change else selected
    faults += target_faults(tables, resolved, keys[counted], registry)
    if faults:
        raise InputError(faults)
    items = columns[list(resolved.columns)].map(_number_or_nan).to_numpy(dtype=np.float64)
    scores = score_rows(resolved, items, missing_items=rules.missing_items)
    kept = counted & ~np.isnan(scores.values)
    combined = combine_raters(
        keys[kept].reset_index(drop=True),
        Scores(scores.values[kept], scores.prorated[kept]),
        items[kept],
        rule=rules.raters,
    )
    used = np.flatnonzero(kept)[combined.rows]
    reasons = _reasons(resolved, np.isnan(items), selected, where)
    rated = Ratings(
        target=resolved.name,
        items=resolved.items,
        keys=keys.iloc[used][list(KEY_COLUMNS)].reset_index(drop=True),
        values=combined.values,
        minimum=resolved.minimum,
        maximum=resolved.maximum,
        excluded=_excluded(keys, kept, reasons),
        covariates=_covariates(columns, used, resolved, combined),
        warnings=(
            *_visibility_warning(resolved),
            *selection.warnings,
            *unchecked_warnings(tables, resolved, registry),
            *code_warnings_of(tables, resolved),
            *combined.warnings,
            *_differing(keys[kept], columns[kept], resolved, registry, rules),
            *_prorated_warning(combined),
        ),
        prorated=combined.prorated,
        rater_ids=tuple(keys[RATER].iloc[used]) if _repeats(rules, keys) else None,
        per_rater=combined.per_rater,
        several_raters=combined.several,
    )
    if resolved.is_change:
        rated = changed(rated, resolved, selected=keys[selected], where=where)
    if not len(rated.values):
        what = "change since a first visit" if resolved.is_change else "complete rating"
        raise InputError(f"target {resolved.name}: no visit has a {what}{_why_none(rated)}")
    return rated


def _why_none(rated: Ratings) -> str:
    """Return the commonest reason for which there is no change, to be put after a fault."""
    reasons = rated.excluded["reason"]
    counted = reasons[reasons.str.startswith("no change: ")].value_counts()
    if not len(counted):
        return ""
    n = int(counted.iloc[0])
    return f" ({str(counted.index[0]).removeprefix('no change: ')}: {n} visit{'s' * (n > 1)})"


def validate_ratings(
    path: str | Path, *, encoding: str | None = None, registry: Registry | None = None
) -> list[str]:
    """Return every fault of a ratings table or folder; an empty list if there is none.

    The items of every scale are checked that the columns hold completely, or of which they hold
    the items of a whole score.
    """
    tables, faults = scan_rating_tables(path, encoding=encoding)
    if tables is None:
        return faults
    for source, side_car in zip(tables.sources, tables.side_cars, strict=True):
        faults += source_faults(source, side_car, registry or scales())
    return faults


def _resolved(target: str, tables: RatingTables, registry: Registry) -> Target:
    resolved = find_target(tables, target, registry=registry)
    empty = []
    for item in resolved.columns:
        column = tables.columns[item]
        source = tables.sources[column.source].table
        if source.frame[column.name].isna().all():
            empty.append(f"target {target!r}: column {item!r} has no value in {source.name}")
    if empty:
        raise InputError(empty)
    return resolved


def _selectable(keys: pd.DataFrame, columns: pd.DataFrame) -> pd.DataFrame:
    """Return the columns by which visits may be selected: sessions and raters where they are."""
    named = [key for key in (SESSION, RATER) if key in keys and (keys[key] != "").any()]
    return columns.assign(**{key: keys[key] for key in named})


def _number_or_nan(value: object) -> float:
    number = number_or_none(value)
    return np.nan if number is None else number


def _repeats(rules: RatingRules, keys: pd.DataFrame) -> bool:
    return rules.raters == "repeated" and RATER in keys


def _reasons(target: Target, missing: np.ndarray, selected: np.ndarray, where: Where) -> list[str]:
    reasons = []
    for row, inside in zip(missing, selected, strict=True):
        absent = [item for item, gone in zip(target.items, row, strict=True) if gone]
        if not inside:
            reasons.append(f"{NOT_SELECTED}outside {spelled(where)}")
        elif absent and len(target.items) == 1:
            reasons.append(f"no rating: {target.items[0]} is missing")
        elif absent:
            reasons.append(f"rating incomplete: {', '.join(absent)} missing")
        else:
            reasons.append("")
    return reasons


def _excluded(keys: pd.DataFrame, kept: np.ndarray, reasons: list[str]) -> pd.DataFrame:
    """Return the visits of which no row is kept, each once; a rater's reason before a selection."""
    listed = keys[list(KEY_COLUMNS)].assign(reason=reasons)
    there = pd.MultiIndex.from_frame(keys.loc[kept, list(KEY_COLUMNS)])
    left = listed[~pd.MultiIndex.from_frame(listed[list(KEY_COLUMNS)]).isin(there)]
    outside = left["reason"].str.startswith(NOT_SELECTED)
    ordered = pd.concat([left[~outside], left[outside]])
    once = ordered[~ordered.duplicated(list(KEY_COLUMNS))]
    return once.sort_index().reset_index(drop=True)


def _covariates(
    columns: pd.DataFrame, used: np.ndarray, target: Target, combined: CombinedRaters
) -> pd.DataFrame:
    """Return every column of the rated rows; the target's items as the raters' rule made them."""
    covariates = columns.iloc[used].reset_index(drop=True)
    if combined.per_rater is None:
        return covariates
    items = {name: combined.items[:, k] for k, name in enumerate(target.columns)}
    return covariates.assign(**items)


def _differing(
    keys: pd.DataFrame,
    columns: pd.DataFrame,
    target: Target,
    registry: Registry,
    rules: RatingRules,
) -> list[str]:
    """Name the columns, other than ratings, in which the raters of a visit do not say the same."""
    if RATER not in keys or rules.raters == "repeated":
        return []
    items = {code.casefold() for scale in registry.values() for code in scale.codes}
    others = [
        str(c)
        for c in columns
        if c not in target.columns and str(c).rpartition(".")[2].casefold() not in items
    ]
    if not others:
        return []
    visits = keys.groupby(list(KEY_COLUMNS), sort=False).ngroup().to_numpy()
    counts = columns[others].groupby(visits).nunique(dropna=False).gt(1).sum()
    differ = [f"{name} ({n} visit{'s' if n > 1 else ''})" for name, n in counts.items() if n]
    if not differ:
        return []
    more = f" and {len(differ) - COLUMNS_SHOWN} more" if len(differ) > COLUMNS_SHOWN else ""
    return [
        "the raters of a visit differ in "
        f"{', '.join(differ[:COLUMNS_SHOWN])}{more}: the value of the one who stands first in the "
        "file is taken"
    ]


def _visibility_warning(target: Target) -> tuple[str, ...]:
    if None in target.scales or target.visible_items:
        return ()
    return (
        f"{target.name}: a picture of the face shows none of its items "
        f"({', '.join(target.items)}); any correlation rests on something else",
    )


def _prorated_warning(combined: CombinedRaters) -> tuple[str, ...]:
    n = int(combined.prorated.sum())
    if not n:
        return ()
    rows = "1 rating is" if n == 1 else f"{n} ratings are"
    return (f"{rows} prorated: missing items were replaced by the mean of the others",)
