"""What the results of a study say of its interviews: out-of-fold estimates and moments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.study.moments import MOMENTS_FILE

_METRICS_FILE, _PREDICTIONS_FILE = "metrics.json", "predictions.csv"
_VISIT = ["participant_id", "session_id"]
# Of the predictions alone: looking at ratings is not what the viewer is for.
_PREDICTIONS = {**dict.fromkeys(_VISIT, "str"), "predicted": "float64"}
_MOMENTS = {
    "interview": "str",
    "segment": "int64",
    "onset": "float64",
    "duration": "float64",
    "influence": "float64",
    "rank": "int64",
}


@dataclass(frozen=True)
class TargetEstimates:
    """Estimates of one target; no rating is kept.

    Attributes
    ----------
    target : str
        Its name.
    by_visit : mapping of (str, str) to float
        Mean over repeats of the out-of-fold predictions, scale points.
    by_person : mapping of str to float
        The same for people with one visit, where only one side names sessions.
    moments : DataFrame
        ``interview, segment, onset, duration, influence, rank``; no rows where there are none.
    """

    target: str
    by_visit: Mapping[tuple[str, str], float]
    by_person: Mapping[str, float]
    moments: pd.DataFrame = field(default_factory=pd.DataFrame)

    def of(self, participant_id: str, session_id: str) -> float | None:
        """Return the estimate of a visit; None where there is none."""
        found = self.by_visit.get((participant_id, session_id))
        if found is None and session_id == "":
            return self.by_person.get(participant_id)
        return found

    def moments_of(self, interview: str) -> list[dict[str, object]]:
        """Return the moments of an interview, the strongest first."""
        if self.moments.empty:
            return []
        rows = self.moments[self.moments["interview"] == interview].sort_values("rank")
        shown = rows.drop(columns="interview")
        found: list[dict[str, object]] = json.loads(shown.to_json(orient="records"))
        return found


def read_estimates(results: Path) -> tuple[tuple[TargetEstimates, ...], tuple[str, ...]]:
    """Read the estimates of every target that has a result.

    Parameters
    ----------
    results : Path
        The folder with a folder for each target; it need not be there.

    Returns
    -------
    tuple of TargetEstimates
        In order of the names of their folders.
    tuple of str
        Which results can not be read.
    """
    found, warnings = [], []
    for folder in sorted(path for path in results.glob("*") if path.is_dir()):
        try:
            files = {path.name for path in folder.iterdir()}
            if files & {_METRICS_FILE, _PREDICTIONS_FILE}:
                found.append(_read_target(folder))
        except (OSError, ValueError, OverflowError):  # JSON, encodings and pandas raise these
            warnings.append(
                f"the result of {folder.name} can not be read and is not shown; run regress again"
            )
    return tuple(found), tuple(warnings)


def _read_target(folder: Path) -> TargetEstimates:
    record = json.loads((folder / _METRICS_FILE).read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ValueError(f"{_METRICS_FILE} must hold an object")
    table = _read_columns(folder / _PREDICTIONS_FILE, _PREDICTIONS)
    moments = folder / MOMENTS_FILE
    means = table.groupby(_VISIT, as_index=False)["predicted"].mean()
    visits = {(p, s): float(v) for p, s, v in means.itertuples(index=False)}
    people = [p for p, _ in visits]
    return TargetEstimates(
        target=str(record.get("target", folder.name)),
        by_visit=visits,
        by_person={p: v for (p, _), v in visits.items() if people.count(p) == 1},
        moments=_read_columns(moments, _MOMENTS) if moments.exists() else pd.DataFrame(),
    )


def _read_columns(path: Path, types: Mapping[str, str]) -> pd.DataFrame:
    """Read columns of a table; ValueError where one is missing or holds something else."""
    table = pd.read_csv(path, usecols=list(types), dtype=dict(types))
    numbers = table.select_dtypes("number").to_numpy(dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{path.name} must hold numbers")
    texts = [column for column, kind in types.items() if kind == "str"]
    return table.fillna(dict.fromkeys(texts, ""))
