"""Reading features from the files that hold them, before anything is left out of them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS, FeatureTable, InputError
from emoclip_clinical.regression.keyed import key_table
from emoclip_clinical.tables import Table, read_table, scan_table

TABLE = "interviews.parquet"
SETTINGS = "features.json"
EMBEDDINGS = "embeddings.parquet"
EMBEDDING = "embedding"

Amend = Callable[[pd.DataFrame], pd.DataFrame]
"""Changes the rows of ``interviews.parquet`` before the recordings of a visit are averaged."""


def read_feature_files(
    path: Path, *, columns: Sequence[str], amend: Amend | None = None
) -> tuple[FeatureTable, str]:
    """Read the chosen columns of a features folder or table, whatever is missing in them.

    Parameters
    ----------
    path : Path
        A folder that ``extract`` wrote, its embeddings, or any table.
    columns : sequence of str
        Patterns; empty means all.
    amend : callable, optional
        For a folder; see `Amend`.

    Returns
    -------
    FeatureTable
        Visits without any usable segment are in `excluded`.
    str
        Name of the file that was read.

    Raises
    ------
    InputError
        With every fault of the file.
    """
    if not path.exists():
        raise InputError(f"{path.name}: no such features folder or table")
    if path.is_dir():
        return _read_folder(path, columns=columns, amend=amend)
    if path.name == EMBEDDINGS:
        return _read_embeddings(path, columns=columns)
    return _read_any_table(path, columns=columns)


def _read_any_table(path: Path, *, columns: Sequence[str]) -> tuple[FeatureTable, str]:
    table, faults = scan_table(path)
    if table is not None and "participant_id" in table.frame:
        keyed, key_faults = key_table(table)
        faults += key_faults
    if any(" times in " in fault for fault in faults):
        faults.append(
            f"{path.name}: one row a visit is wanted; pool the segments of an interview first"
        )
    if faults:
        raise InputError(faults)
    candidates = [c for c in keyed.columns if c != "rater_id"]
    chosen = _chosen(candidates, columns, file=path.name)
    frame = keyed.table.frame
    text = [c for c in chosen if not _is_number_column(keyed.table, c)]
    warnings = [f"feature columns left out because they hold text: {', '.join(text)}"]
    values = frame[[c for c in chosen if c not in text]].astype(np.float64)
    nobody = excluded_visits(keyed.keys[:0], [])
    return FeatureTable(keyed.keys, values, nobody, {}, tuple(warnings if text else ())), path.name


def _read_folder(
    path: Path, *, columns: Sequence[str], amend: Amend | None
) -> tuple[FeatureTable, str]:
    if not (path / TABLE).is_file() or not (path / SETTINGS).is_file():
        raise InputError(f"{path.name}: {TABLE} and {SETTINGS} are wanted here; run extract first")
    settings = _settings(path)
    pooled = settings.get("pooled_features")
    if not isinstance(pooled, list) or not pooled:
        raise InputError(f"{SETTINGS}: 'pooled_features' must list the feature columns")
    table = read_table(path / TABLE)
    wanted = [str(c) for c in pooled]
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
    excluded = excluded_visits(keys, reasons)
    usable = np.array([not reason for reason in reasons], dtype=bool)
    kept = FeatureTable(
        keys[usable].reset_index(drop=True),
        means[usable].reset_index(drop=True),
        excluded,
        _without_inputs(settings),
    )
    return kept, TABLE


def _read_embeddings(path: Path, *, columns: Sequence[str]) -> tuple[FeatureTable, str]:
    """Average the embeddings of each visit's segments."""
    settings = _settings(path.parent) if (path.parent / SETTINGS).is_file() else {}
    try:
        raw = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name}: not a readable Parquet file") from error
    absent = [c for c in ("participant_id", EMBEDDING) if c not in raw]
    if absent:
        raise InputError([f"{path.name}: column {c!r} is missing" for c in absent])
    there = raw[EMBEDDING].notna().to_numpy()
    widths = {len(vector) for vector in raw.loc[there, EMBEDDING]}
    if len(widths) != 1:
        raise InputError(f"{path.name}: embeddings of one width are wanted, got {sorted(widths)}")
    (width,) = widths
    rows = np.full((len(raw), width), np.nan)
    rows[there] = np.stack(raw.loc[there, EMBEDDING].to_list())
    names = [f"{EMBEDDING}_{k:03d}" for k in range(width)]
    chosen = _chosen(names, columns, file=path.name)
    keyed = [c for c in KEY_COLUMNS if c in raw]
    table = Table(raw[keyed].astype(object), np.arange(len(raw)) + 2, path.name)
    values = pd.DataFrame(rows, columns=names)[chosen]
    keys, means, reasons = _average_rows(
        table, values, there.astype(np.float64), lambda _: "no usable segment"
    )
    usable = np.array([not reason for reason in reasons], dtype=bool)
    source = {**_without_inputs(settings), "pooled_features": names} if settings else {}
    kept = FeatureTable(
        keys[usable].reset_index(drop=True),
        means[usable].reset_index(drop=True),
        excluded_visits(keys, reasons),
        source,
    )
    return kept, path.name


def _settings(folder: Path) -> dict[str, object]:
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{SETTINGS}: not a readable JSON file") from error
    if not isinstance(settings, dict):
        raise InputError(f"{SETTINGS}: a JSON object was wanted, got {type(settings).__name__}")
    return settings


def _without_inputs(settings: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in settings.items() if name != "inputs"}


def _is_number_column(table: Table, column: str) -> bool:
    return table.is_numeric(column) or bool(table.frame[column].isna().all())


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
    """Average the rows of each visit that have a value, with their weights.

    Returned beside the keys and means: for each visit the reason why it is left out, if none of
    its rows with weight has a value.
    """
    keyed, faults = key_table(table)
    faults = [fault for fault in faults if " times in " not in fault]
    if faults:
        raise InputError(faults)
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
            means.append(np.average(numbers[good], axis=0, weights=weight[good]))
            reasons.append("")
        else:
            means.append(np.full(values.shape[1], np.nan))
            reasons.append(why(table.frame.iloc[rows]))
    keys = pd.DataFrame(visits, columns=list(KEY_COLUMNS), dtype=object)
    return keys, pd.DataFrame(np.array(means), columns=list(values.columns)), reasons


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
