"""Features of the visits: from the folder that ``extract`` writes, or from any table with keys."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS, FeatureTable, InputError
from emoclip_clinical.regression.keyed import key_table
from emoclip_clinical.tables import Table, limit_faults, read_table

TABLE = "interviews.parquet"
SETTINGS = "features.json"


def read_features(path: str | Path, *, columns: Sequence[str] = ()) -> FeatureTable:
    """Read features, one row a visit.

    Parameters
    ----------
    path : path
        The folder that ``extract`` writes, or a CSV, TSV or Parquet table with ``participant_id``
        and, where there are several visits, ``session_id``.
    columns : sequence of str
        Patterns (with ``*``, ``?``, ``[]``) of the columns to use; empty means the pooled features
        of the folder, or all numeric columns of the table.

    Returns
    -------
    FeatureTable
        Visits with a missing value are left out and stand in `excluded` with the reason.

    Raises
    ------
    InputError
        With every fault of the table.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path.name}: no such features folder or table")
    if path.is_dir():
        return _read_folder(path, columns=columns)
    return _read_any_table(path, columns=columns)


def _read_any_table(path: Path, *, columns: Sequence[str]) -> FeatureTable:
    keyed, faults = key_table(read_table(path))
    if any(" times in " in fault for fault in faults):
        faults.append(
            f"{path.name}: one row a visit is wanted; pool the segments of an interview first"
        )
    if faults:
        raise InputError(faults)
    candidates = [c for c in keyed.columns if c != "rater_id"]
    chosen = _chosen(candidates, columns, file=path.name)
    numeric = [c for c in chosen if keyed.table.is_numeric(c)]
    warnings = _left_out_warnings(keyed.table, [c for c in chosen if c not in numeric])
    return _complete_rows(keyed.keys, keyed.table.frame[numeric], warnings, file=path.name)


def _read_folder(path: Path, *, columns: Sequence[str]) -> FeatureTable:
    if not (path / TABLE).is_file() or not (path / SETTINGS).is_file():
        raise InputError(f"{path.name}: {TABLE} and {SETTINGS} are wanted here; run extract first")
    settings = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
    pooled = settings.get("pooled_features")
    if not isinstance(pooled, list) or not pooled:
        raise InputError(f"{SETTINGS}: 'pooled_features' must list the feature columns")
    table = read_table(path / TABLE)
    wanted = [str(c) for c in pooled]
    absent = [c for c in (*wanted, "n_ok", "status") if c not in table.frame]
    if absent:
        raise InputError([f"{TABLE}: column {c!r} is missing" for c in absent])
    chosen = _chosen(wanted, columns, file=SETTINGS)
    keys, values, reasons = _average_runs(table, chosen)
    excluded = _excluded(keys, reasons)
    usable = np.array([not reason for reason in reasons], dtype=bool)
    kept = _complete_rows(
        keys[usable].reset_index(drop=True),
        values[usable].reset_index(drop=True),
        [],
        file=TABLE,
    )
    return FeatureTable(
        keys=kept.keys,
        values=kept.values,
        excluded=pd.concat([excluded, kept.excluded], ignore_index=True),
        source={k: v for k, v in settings.items() if k != "inputs"},
        warnings=kept.warnings,
    )


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


def _left_out_warnings(table: Table, columns: list[str]) -> list[str]:
    empty = [c for c in columns if table.frame[c].isna().all()]
    text = [c for c in columns if c not in empty]
    warnings = []
    if text:
        warnings.append(f"feature columns left out because they hold text: {', '.join(text)}")
    if empty:
        warnings.append(f"feature columns left out because they are empty: {', '.join(empty)}")
    return warnings


def _average_runs(table: Table, columns: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Average the recordings of each visit, weighted by their usable segments."""
    frame = table.frame
    sessions = frame["session_id"] if "session_id" in frame else pd.Series([None] * len(frame))
    keys = pd.DataFrame(
        {"participant_id": frame["participant_id"], "session_id": sessions.fillna("")}, dtype=object
    )
    weight = frame["n_ok"].fillna(0.0).to_numpy(dtype=np.float64)
    values = frame[columns].to_numpy(dtype=np.float64)
    usable = (weight > 0) & ~np.isnan(values).all(axis=1)
    visits: list[tuple[str, str]] = []
    means: list[np.ndarray] = []
    reasons: list[str] = []
    for visit, part in keys.groupby(list(KEY_COLUMNS), sort=True):
        rows = part.index.to_numpy()
        good = rows[usable[rows]]
        visits.append((str(visit[0]), str(visit[1])))
        if good.size:
            means.append(np.average(values[good], axis=0, weights=weight[good]))
            reasons.append("")
        else:
            means.append(np.full(len(columns), np.nan))
            reasons.append(_why(frame.iloc[rows]))
    keys = pd.DataFrame(visits, columns=list(KEY_COLUMNS), dtype=object)
    return keys, pd.DataFrame(np.array(means), columns=columns), reasons


def _why(runs: pd.DataFrame) -> str:
    texts = []
    for _, run in runs.iterrows():
        reason = run.get("reason")
        status = run["status"] or "no usable segment"
        texts.append(f"{status}: {reason}" if isinstance(reason, str) and reason else str(status))
    return "no usable features (" + "; ".join(dict.fromkeys(texts)) + ")"


def _complete_rows(
    keys: pd.DataFrame, values: pd.DataFrame, warnings: list[str], *, file: str
) -> FeatureTable:
    """Leave out columns that say nothing, then rows with a missing value."""
    warnings = list(warnings)
    with_values = values.loc[:, values.notna().any()]
    lost = [c for c in values.columns if c not in with_values]
    if lost:
        warnings.append(f"feature columns left out because they are empty: {', '.join(lost)}")
    varies = with_values.nunique() > 1
    constant = [] if len(values) < 2 else [str(c) for c in with_values.columns[~varies]]
    if constant:
        warnings.append(
            f"feature columns left out because they are constant: {', '.join(constant)}"
        )
    used = with_values.drop(columns=constant)
    if used.shape[1] == 0:
        raise InputError([f"{file}: there is no numeric feature column that varies", *warnings])
    missing = used.isna()
    complete = ~missing.any(axis=1).to_numpy()
    if not complete.any():
        worst = missing.mean().sort_values(ascending=False, kind="stable").head(5)
        raise InputError(
            f"{file}: no visit has a value in every feature column; most often missing: "
            + ", ".join(f"{c} ({share:.0%})" for c, share in worst.items())
        )
    reasons = [_missing_text(missing.columns[row].tolist()) for row in missing.to_numpy()]
    return FeatureTable(
        keys=keys[complete].reset_index(drop=True),
        values=used[complete].reset_index(drop=True),
        excluded=_excluded(keys, reasons),
        warnings=tuple(limit_faults(warnings)),
    )


def _missing_text(columns: list[str]) -> str:
    if not columns:
        return ""
    more = f" and {len(columns) - 3} more" if len(columns) > 3 else ""
    return f"feature missing: {', '.join(columns[:3])}{more}"


def _excluded(keys: pd.DataFrame, reasons: list[str]) -> pd.DataFrame:
    listed = keys.assign(reason=reasons)
    return listed[listed["reason"] != ""].reset_index(drop=True)
