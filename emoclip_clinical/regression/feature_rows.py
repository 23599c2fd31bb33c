"""From the rows of a table of features to one row a visit, whatever is missing in them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS, FeatureTable, InputError
from emoclip_clinical.regression.keyed import key_table
from emoclip_clinical.regression.missing_codes import code_warnings
from emoclip_clinical.tables import FEW_SHOWN, Table, is_number, limit_faults
from emoclip_clinical.tables.parquet import infinite_faults

TABLE = "interviews.parquet"
SETTINGS = "features.json"
EMBEDDINGS = "embeddings.parquet"
EMBEDDING = "embedding"
CELLS_SHOWN = 3
"""Cells of one column that are no numbers and are named before the rest is only counted."""

Amend = Callable[[pd.DataFrame], pd.DataFrame]
"""Changes the rows of ``interviews.parquet`` before the recordings of a visit are averaged."""


def visit_features(
    table: Table | None,
    *,
    columns: Sequence[str] = (),
    needed: Sequence[str] = (),
    faults: Sequence[str] = (),
    source: Mapping[str, object] | None = None,
    name: str = "features",
) -> FeatureTable:
    """Take the chosen columns of a table with one row a visit, whatever is missing in them.

    Parameters
    ----------
    table : Table or None
        With a column ``participant_id``; None where it could not be read, for `faults`.
    columns : sequence of str
        Patterns; empty means all.
    needed : sequence of str
        Columns that must be there and hold numbers alone.
    faults : sequence of str
        What is known to be wrong with it.
    source : mapping, optional
        What made the features; unknown by default.
    name : str
        What messages call it.

    Raises
    ------
    InputError
        With every fault.
    """
    faults = list(faults)
    if table is not None and "participant_id" in table.frame:
        keyed, key_faults = key_table(table)
        faults += key_faults
    if any(" times in " in fault for fault in faults):
        faults.append(f"{name}: one row a visit is wanted; pool the segments of an interview first")
    if faults:
        raise InputError(faults)
    candidates = [c for c in keyed.columns if c != "rater_id"]
    chosen = _chosen(candidates, columns, file=name)
    frame = keyed.table.frame
    text = [c for c in chosen if not _is_number_column(keyed.table, c)]
    lacking = _lacking(keyed.table, needed, chosen=chosen, text=text)
    if lacking:
        raise InputError(lacking)
    warnings = [f"feature columns left out because they hold text: {', '.join(text)}"] * bool(text)
    warnings += code_warnings(keyed.table, [c for c in chosen if c not in text])
    values = frame[[c for c in chosen if c not in text]].astype(np.float64)
    nobody = excluded_visits(keyed.keys[:0], [])
    return FeatureTable(keyed.keys, values, nobody, _without_inputs(source or {}), tuple(warnings))


def pooled_columns(settings: Mapping[str, object]) -> list[str]:
    """Return the feature columns that ``features.json`` names.

    Raises
    ------
    InputError
        If it names none.
    """
    pooled = settings.get("pooled_features")
    if not isinstance(pooled, list) or not pooled:
        raise InputError(f"{SETTINGS}: 'pooled_features' must list the feature columns")
    return [str(c) for c in pooled]


def interview_features(
    table: Table,
    settings: Mapping[str, object],
    *,
    columns: Sequence[str] = (),
    amend: Amend | None = None,
) -> FeatureTable:
    """Average the interviews of each visit, as ``interviews.parquet`` holds them.

    Parameters
    ----------
    table : Table
        A row an interview.
    settings : mapping
        What ``features.json`` says of them.
    columns : sequence of str
        Patterns; empty means all pooled features.
    amend : callable, optional
        See `Amend`.

    Raises
    ------
    InputError
        With every fault.
    """
    wanted = pooled_columns(settings)
    absent = [c for c in (*wanted, "n_ok", "status") if c not in table.frame]
    if absent:
        raise InputError([f"{TABLE}: column {c!r} is missing" for c in absent])
    text = [c for c in (*wanted, "n_ok") if not _is_number_column(table, c)]
    if text:
        raise InputError([f"{TABLE}: column {c!r} must hold numbers" for c in text])
    if amend is not None:
        table = replace(table, frame=amend(table.frame))
    chosen = _chosen(wanted, columns, file=SETTINGS)
    weight = table.frame["n_ok"].astype(np.float64).fillna(0.0).to_numpy()
    values = table.frame[chosen].astype(np.float64)
    keys, means, reasons = _average_rows(table, values, weight, _why)
    return _visits(keys, means, reasons, source=_without_inputs(settings))


def embedding_features(
    raw: pd.DataFrame,
    settings: Mapping[str, object],
    *,
    columns: Sequence[str] = (),
    name: str = EMBEDDINGS,
    first_row: int = 2,
) -> FeatureTable:
    """Average the embeddings of each visit's segments.

    Parameters
    ----------
    raw : DataFrame
        A row a segment, in the layout of ``embeddings.parquet``; None where there is no vector.
    settings : mapping
        What ``features.json`` says of them; empty where their origin is not known.
    columns : sequence of str
        Patterns of ``embedding_000`` and so on; empty means all.
    name : str
        What messages call it.
    first_row : int
        The number that messages give its first row.

    Raises
    ------
    InputError
        With every fault.
    """
    absent = [c for c in ("participant_id", EMBEDDING) if c not in raw]
    if absent:
        raise InputError([f"{name}: column {c!r} is missing" for c in absent])
    there = raw[EMBEDDING].notna().to_numpy()
    widths = {len(vector) for vector in raw.loc[there, EMBEDDING]}
    if len(widths) != 1:
        raise InputError(f"{name}: embeddings of one width are wanted, got {sorted(widths)}")
    (width,) = widths
    rows = np.full((len(raw), width), np.nan)
    rows[there] = np.stack(raw.loc[there, EMBEDDING].to_list())
    numbers = np.arange(len(raw)) + first_row
    if infinite := infinite_faults(rows, rows=numbers, column=EMBEDDING, name=name):
        raise InputError(infinite)
    names = [f"{EMBEDDING}_{k:03d}" for k in range(width)]
    chosen = _chosen(names, columns, file=name)
    keyed = [c for c in KEY_COLUMNS if c in raw]
    table = Table(raw[keyed].astype(object), numbers, name)
    values = pd.DataFrame(rows, columns=names)[chosen]
    keys, means, reasons = _average_rows(
        table, values, there.astype(np.float64), lambda _: "no usable segment"
    )
    source = {**_without_inputs(settings), "pooled_features": names} if settings else {}
    return _visits(keys, means, reasons, source=source)


def _visits(
    keys: pd.DataFrame,
    means: pd.DataFrame,
    reasons: list[str],
    *,
    source: Mapping[str, object],
) -> FeatureTable:
    """Divide visits into those with features and those with a reason why they have none."""
    usable = np.array([not reason for reason in reasons], dtype=bool)
    return FeatureTable(
        keys[usable].reset_index(drop=True),
        means[usable].reset_index(drop=True),
        excluded_visits(keys, reasons),
        source,
    )


def _without_inputs(settings: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in settings.items() if name != "inputs"}


def _is_number_column(table: Table, column: str) -> bool:
    return table.is_numeric(column) or bool(table.frame[column].isna().all())


def _lacking(
    table: Table, needed: Sequence[str], *, chosen: Sequence[str], text: Sequence[str]
) -> list[str]:
    """Return a fault for each needed column that is not there, and each cell that is no number."""
    there, texts = set(chosen), set(text)
    absent = absent_columns([n for n in needed if n not in there], file=table.name)
    cells = [fault for n in needed if n in texts for fault in _cell_faults(table, n)]
    return [*absent, *limit_faults(cells)]


def absent_columns(names: Sequence[str], *, file: str) -> list[str]:
    """Say in one line which needed columns are not there; nothing where all are.

    Parameters
    ----------
    names : sequence of str
        Those that are not there.
    file : str
        What the message calls the table.
    """
    if not names:
        return []
    if len(names) == 1:
        return [f"{file}: there is no numeric feature column {names[0]!r}"]
    shown = ", ".join(map(repr, names[:FEW_SHOWN]))
    more = f" and {len(names) - FEW_SHOWN} more" if len(names) > FEW_SHOWN else ""
    return [f"{file}: {len(names)} numeric feature columns are not there: {shown}{more}"]


def _cell_faults(table: Table, column: str) -> list[str]:
    cells = [(i, c) for i, c in enumerate(table.frame[column].tolist()) if c is not None]
    wrong = [(i, c) for i, c in cells if not is_number(str(c))] or cells
    faults = [
        f"feature {column} must be a number, got {c!r} ({table.place(i)})"
        for i, c in wrong[:CELLS_SHOWN]
    ]
    more = len(wrong) - CELLS_SHOWN
    return faults if more <= 0 else [*faults, f"... and {more} more in {column}"]


def _chosen(candidates: list[str], patterns: Sequence[str], *, file: str) -> list[str]:
    if not patterns:
        return candidates
    faults = []
    for pattern in patterns:
        if not any(fnmatchcase(c, pattern) for c in candidates):
            near = difflib.get_close_matches(pattern, candidates, n=4)
            hint = f"; near names: {', '.join(near)}" if near else ""
            faults.append(f"{file}: no feature column matches {pattern!r}{hint}")
    if faults:
        raise InputError(faults)
    return [c for c in candidates if any(fnmatchcase(c, p) for p in patterns)]


def _average_rows(
    table: Table, values: pd.DataFrame, weight: np.ndarray, why: Callable[[pd.DataFrame], str]
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Average each column over the rows of a visit that have a value there, with their weights.

    Returned beside the keys and means: for each visit the reason why it is left out, if none of
    its rows with weight has a value.
    """
    keyed, faults = key_table(table)
    faults = [fault for fault in faults if " times in " not in fault]
    if faults:
        raise InputError(faults)
    # Row by row, a wide table takes seconds.
    said = table.frame[[c for c in ("status", "reason") if c in table.frame]]
    numbers = values.to_numpy(dtype=np.float64)
    usable = (weight > 0) & ~np.isnan(numbers).all(axis=1)
    visits: list[tuple[str, str]] = []
    means: list[np.ndarray] = []
    reasons: list[str] = []
    for visit, part in keyed.keys.groupby(list(KEY_COLUMNS), sort=True):
        rows = part.index.to_numpy()
        good = rows[usable[rows]]
        visits.append((str(visit[0]), str(visit[1])))
        if good.size:
            means.append(mean_of_those_there(numbers[good], weights=weight[good]))
            reasons.append("")
        else:
            means.append(np.full(values.shape[1], np.nan))
            reasons.append(why(said.iloc[rows]))
    keys = pd.DataFrame(visits, columns=list(KEY_COLUMNS), dtype=object)
    return keys, pd.DataFrame(np.array(means), columns=list(values.columns)), reasons


def mean_of_those_there(values: np.ndarray, *, weights: np.ndarray) -> np.ndarray:
    """Average each column over the rows that have a value there.

    A recording of a single segment has no standard deviation; that of a visit is then the one of
    its other recordings.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
        NaN where a row has none.
    weights : ndarray of shape (n_rows,)
        Positive.

    Returns
    -------
    ndarray of shape (n_columns,)
        NaN where no row has a value.
    """
    there = ~np.isnan(values)
    total = (weights[:, None] * there).sum(axis=0)
    summed = (np.where(there, values, 0.0) * weights[:, None]).sum(axis=0)
    found = np.full(len(total), np.nan)
    np.divide(summed, total, out=found, where=total > 0)
    return found


def _why(runs: pd.DataFrame) -> str:
    texts = []
    for _, run in runs.iterrows():
        reason = run.get("reason")
        status = run["status"] or "no usable segment"
        texts.append(f"{status}: {reason}" if isinstance(reason, str) and reason else str(status))
    return "no usable features (" + "; ".join(dict.fromkeys(texts)) + ")"


def excluded_visits(keys: pd.DataFrame, reasons: list[str]) -> pd.DataFrame:
    """Return ``participant_id, session_id, reason`` of the visits that have a reason."""
    listed = keys.assign(reason=reasons)
    return listed[listed["reason"] != ""].reset_index(drop=True)
