"""Reading a result's folder: everything that its report is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.quality import QUALITY_COLUMNS

Record = Mapping[str, Any]
METRICS_FILE, PROVENANCE_FILE = "metrics.json", "provenance.json"
_KEYS = ("participant_id", "session_id")
_NUMBERS = frozenset(
    {"repeat", "fold", "observed", "predicted", "r", "pearson_r", "mean", "low", "high",
     "share_positive", "onset", "duration", "influence", *QUALITY_COLUMNS}
)  # fmt: skip
_TABLES: Mapping[str, tuple[str, ...]] = {
    "predictions.csv": (*_KEYS, "repeat", "fold", "observed", "predicted"),
    "folds.csv": ("repeat", "fold", "r"),
    "permutation_null.csv": ("pearson_r",),
    "coefficients.csv": ("feature", "mean", "low", "high", "share_positive"),
}
_OPTIONAL_TABLES: Mapping[str, tuple[str, ...]] = {
    "quality.csv": ("participant_id",),
    "moments.csv": (*_KEYS, "interview", "onset", "duration", "influence"),
}
_RECORDS: Mapping[str, tuple[str, ...]] = {
    METRICS_FILE: ("target", "pearson_r", "settings", "flow", "observed", "repeats", "coefficients",
                   "audit", "warnings"),
    PROVENANCE_FILE: ("protocol", "packages", "started"),
}  # fmt: skip


@dataclass(frozen=True)
class ResultFolder:
    """The content of ``results/<target>/``, read and checked.

    Attributes
    ----------
    metrics, provenance : mapping
        ``metrics.json`` and ``provenance.json``.
    predictions, folds, null, coefficients : DataFrame
        The tables of these names; ids are text.
    quality : DataFrame or None
        Recording quality, a row an interview, where it is known.
    moments : DataFrame or None
        Segments and how they move the estimate of their interview, where that was computed.
    """

    metrics: Record
    provenance: Record
    predictions: pd.DataFrame
    folds: pd.DataFrame
    null: pd.DataFrame
    coefficients: pd.DataFrame
    quality: pd.DataFrame | None
    moments: pd.DataFrame | None

    @property
    def is_from_extract(self) -> bool:
        """Whether `extract` made the features; else they came from a table of unknown origin."""
        return bool(self.provenance.get("features"))

    @property
    def predictors(self) -> str:
        """What ratings were estimated from, in a word: another tool's features may be of sound."""
        return "video" if self.is_from_extract else "features"

    @property
    def visits(self) -> pd.DataFrame:
        """A row a visit: keys, observed, mean, lowest and highest prediction over the repeats.

        Rows stand in the order of the first repeat; `weight` is 1 / rows of the participant.
        """
        first = self.predictions[self.predictions["repeat"] == 0]
        repeats = len(self.predictions) // len(first)
        predicted = self.predictions["predicted"].to_numpy().reshape(repeats, len(first))
        of_subject = first.groupby("participant_id")["fold"].transform("size")
        return first[[*_KEYS, "observed"]].assign(
            predicted=predicted.mean(axis=0),
            low=predicted.min(axis=0),
            high=predicted.max(axis=0),
            weight=1.0 / of_subject,
        )


def read_result(folder: Path) -> ResultFolder:
    """Read the folder that ``regress`` wrote for one target.

    Parameters
    ----------
    folder : Path
        ``results/<target>``.

    Returns
    -------
    ResultFolder

    Raises
    ------
    InputError
        With every file that is missing, can not be read or lacks a part.
    """
    if not folder.is_dir():
        raise InputError(f"no such result folder: {folder}")
    faults: list[str] = []
    records = {name: _record(folder / name, keys, faults) for name, keys in _RECORDS.items()}
    tables = {name: _table(folder / name, columns, faults) for name, columns in _TABLES.items()}
    optional = {
        name: _table(folder / name, columns, faults) if (folder / name).is_file() else None
        for name, columns in _OPTIONAL_TABLES.items()
    }
    if not faults:
        faults += _uneven(tables["predictions.csv"])
    if faults:
        raise InputError(
            [*faults, f"{folder} is no whole result of this version: run regress again"]
        )
    return ResultFolder(
        metrics=records[METRICS_FILE],
        provenance=records[PROVENANCE_FILE],
        predictions=tables["predictions.csv"],
        folds=tables["folds.csv"],
        null=tables["permutation_null.csv"],
        coefficients=tables["coefficients.csv"],
        quality=optional["quality.csv"],
        moments=optional["moments.csv"],
    )


def _record(path: Path, wanted: tuple[str, ...], faults: list[str]) -> Record:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        faults.append(f"{path.name} is missing")
        return {}
    except ValueError as error:
        faults.append(f"{path.name} is not JSON: {error}")
        return {}
    missing = [k for k in wanted if not isinstance(found, dict) or k not in found]
    if missing:
        faults.append(f"{path.name} has no {', '.join(missing)}")
        return {}
    return dict(found)


def _table(path: Path, wanted: tuple[str, ...], faults: list[str]) -> pd.DataFrame:
    try:
        # As text, since ids such as NA or 007 are text, and numbers must come back to the bit.
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        faults.append(f"{path.name} is missing")
        return pd.DataFrame()
    except ValueError as error:
        faults.append(f"{path.name} is not a table: {str(error).splitlines()[0]}")
        return pd.DataFrame()
    missing = [c for c in wanted if c not in table]
    if missing:
        faults.append(f"{path.name} has no column {', '.join(missing)}")
    for name in (c for c in table.columns if c in _NUMBERS):
        try:
            table[name] = [float(text) if text else float("nan") for text in table[name]]
        except ValueError as error:
            faults.append(f"{path.name}: column {name} must hold numbers: {error}")
    return table


def _uneven(predictions: pd.DataFrame) -> list[str]:
    sizes = predictions.groupby("repeat").size().to_numpy()
    if len(sizes) and bool(np.all(sizes == sizes[0])):
        return []
    return ["predictions.csv must hold every visit once in each repeat"]
