"""Reading features from the files that hold them, before anything is left out of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from emoclip_clinical.records import FeatureTable, InputError
from emoclip_clinical.regression.feature_rows import (
    EMBEDDINGS,
    SETTINGS,
    TABLE,
    Amend,
    embedding_features,
    interview_features,
    pooled_columns,
    visit_features,
)
from emoclip_clinical.tables import read_table, scan_table


def read_feature_files(
    path: Path,
    *,
    columns: Sequence[str],
    needed: Sequence[str] = (),
    amend: Amend | None = None,
) -> tuple[FeatureTable, str]:
    """Read the chosen columns of a features folder or table, whatever is missing in them.

    Parameters
    ----------
    path : Path
        A folder that ``extract`` wrote, its embeddings, or any table.
    columns : sequence of str
        Patterns; empty means all.
    needed : sequence of str
        Columns that a table must have, with numbers alone; each cell that is none is told.
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
    return _read_any_table(path, columns=columns, needed=needed)


def _read_any_table(
    path: Path, *, columns: Sequence[str], needed: Sequence[str]
) -> tuple[FeatureTable, str]:
    table, faults = scan_table(path)
    made = visit_features(table, columns=columns, needed=needed, faults=faults, name=path.name)
    return made, path.name


def _read_folder(
    path: Path, *, columns: Sequence[str], amend: Amend | None
) -> tuple[FeatureTable, str]:
    if not (path / TABLE).is_file() or not (path / SETTINGS).is_file():
        raise InputError(f"{path.name}: {TABLE} and {SETTINGS} are wanted here; run extract first")
    settings = _settings(path)
    pooled_columns(settings)  # before the table is read, which takes longer
    table = read_table(path / TABLE)
    return interview_features(table, settings, columns=columns, amend=amend), TABLE


def _read_embeddings(path: Path, *, columns: Sequence[str]) -> tuple[FeatureTable, str]:
    settings = _settings(path.parent) if (path.parent / SETTINGS).is_file() else {}
    try:
        raw = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name}: not a readable Parquet file") from error
    return embedding_features(raw, settings, columns=columns, name=path.name), path.name


def _settings(folder: Path) -> dict[str, object]:
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{SETTINGS}: not a readable JSON file") from error
    if not isinstance(settings, dict):
        raise InputError(f"{SETTINGS}: a JSON object was wanted, got {type(settings).__name__}")
    return settings
