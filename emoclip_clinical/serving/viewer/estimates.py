"""What the results of a study say of its interviews: out-of-fold estimates and moments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from emoclip_clinical.study.moments import MOMENTS_FILE

_VISIT = ["participant_id", "session_id"]


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
        columns = ["segment", "onset", "duration", "influence", "rank"]
        found: list[dict[str, object]] = json.loads(rows[columns].to_json(orient="records"))
        return found


def read_estimates(results: Path) -> tuple[TargetEstimates, ...]:
    """Read the estimates of every target that has a result, in order of their names."""
    found = []
    for path in sorted(results.glob("*/predictions.csv")):
        try:
            record = json.loads((path.parent / "metrics.json").read_text(encoding="utf-8"))
            # Of the predictions alone: looking at ratings is not what the viewer is for.
            table = pd.read_csv(
                path, usecols=[*_VISIT, "predicted"], dtype=dict.fromkeys(_VISIT, str)
            )
        except (OSError, ValueError):
            continue
        table[_VISIT] = table[_VISIT].fillna("")
        means = table.groupby(_VISIT, as_index=False)["predicted"].mean()
        visits = {(p, s): float(v) for p, s, v in means.itertuples(index=False)}
        people = [p for p, _ in visits]
        found.append(
            TargetEstimates(
                target=str(record.get("target", path.parent.name)),
                by_visit=visits,
                by_person={p: v for (p, _), v in visits.items() if people.count(p) == 1},
                moments=_moments(path.with_name(MOMENTS_FILE)),
            )
        )
    return tuple(found)


def _moments(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()
