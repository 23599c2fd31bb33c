"""Comparing the numbers of two results."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from emoclip_clinical.records import InputError

PREDICTION_TOLERANCE_POINTS = 0.01
"""Largest difference of two predictions on different platforms or versions, in scale points."""
METRIC_TOLERANCE = 0.01
"""The same of a figure: absolute, or relative for figures above 1."""
_TABLE = "predictions.csv"
_METRICS = "metrics.json"
_SHOWN = 20


def number_differences(old: Path, new: Path, *, exact: bool) -> tuple[str, ...]:
    """Return which predictions and figures of two results differ.

    Parameters
    ----------
    old, new : Path
        Folders of results.
    exact : bool
        Whether they must agree to the last digit; else within `PREDICTION_TOLERANCE_POINTS` and
        `METRIC_TOLERANCE`.

    Raises
    ------
    InputError
        If a folder lacks its predictions or its metrics, or they can not be read.
    """
    tables = _read(old / _TABLE), _read(new / _TABLE)
    found = [] if tables[0] == tables[1] else list(_rows(*map(_table, tables), exact=exact))
    if tables[0] != tables[1] and exact and not found:
        found.append("predictions.csv: not the same bytes")
    metrics = flat(read_metrics(old)), flat(read_metrics(new))
    found += _figures(*metrics, exact=exact)
    if len(found) > _SHOWN:
        found[_SHOWN:] = [f"... and {len(found) - _SHOWN} more"]
    return tuple(found)


def read_metrics(folder: Path) -> Mapping[str, Any]:
    """Return the content of a result's metrics.json.

    Raises
    ------
    InputError
        If it is not there, or not JSON.
    """
    try:
        return dict(json.loads(_read(folder / _METRICS)))
    except (ValueError, TypeError):
        raise InputError(f"{folder / _METRICS} is damaged: it is not JSON") from None


def flat(value: object, prefix: str = "") -> dict[str, Any]:
    """Return nested records and lists as one mapping by dotted key."""
    if isinstance(value, Mapping):
        pairs = [(str(k), v) for k, v in value.items()]
    elif isinstance(value, list):
        pairs = [(str(k), v) for k, v in enumerate(value)]
    else:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inside in pairs:
        found |= flat(inside, f"{prefix}.{key}" if prefix else key)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} is missing or can not be read") from None


def _table(text: str) -> pd.DataFrame:
    try:
        return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except ValueError:
        raise InputError("predictions.csv is damaged: it is no table") from None


def _rows(old: pd.DataFrame, new: pd.DataFrame, *, exact: bool) -> Iterator[str]:
    if list(old) != list(new) or len(old) != len(new):
        yield f"predictions.csv: {len(old)} rows → {len(new)} rows, or other columns"
        return
    number = {"observed", "predicted"}
    for index in range(len(old)):
        for column in old:
            before, after = old[column].iloc[index], new[column].iloc[index]
            if before == after or (column in number and not exact and _near_points(before, after)):
                continue
            who = "_".join(filter(None, (new["participant_id"].iloc[index],
                                         new["session_id"].iloc[index])))  # fmt: skip
            repeat = new["repeat"].iloc[index]
            yield f"predictions.csv: {who}, repeat {repeat}: {column} {before} → {after}"


def _near_points(before: str, after: str) -> bool:
    try:
        return abs(float(before) - float(after)) <= PREDICTION_TOLERANCE_POINTS
    except ValueError:
        return False


def _figures(old: Mapping[str, Any], new: Mapping[str, Any], *, exact: bool) -> Iterator[str]:
    for key in [*old, *(k for k in new if k not in old)]:
        before, after = old.get(key), new.get(key)
        if key in old and key in new and before == after:
            continue
        if not exact and _near(before, after):
            continue
        shown = json.dumps(before, ensure_ascii=False), json.dumps(after, ensure_ascii=False)
        yield f"metrics.json: {key}: {shown[0]} → {shown[1]}"


def _near(before: object, after: object) -> bool:
    if isinstance(before, str) and isinstance(after, str):
        # Sentences of warnings quote figures.
        return True
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return False
    return math.isclose(before, after, rel_tol=METRIC_TOLERANCE, abs_tol=METRIC_TOLERANCE)
