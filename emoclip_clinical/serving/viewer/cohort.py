"""What the viewer shows of a study: its interviews, their timelines, its marks."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from emoclip_clinical.features.interviews import Interview, find_interviews
from emoclip_clinical.records import InputError
from emoclip_clinical.serving.viewer.estimates import TargetEstimates, read_estimates
from emoclip_clinical.study.exclusion_files import (
    add_exclusion,
    mark_id,
    present_exclusions,
    take_back_exclusion,
)
from emoclip_clinical.study.exclusions import (
    EXCLUSIONS_FILE,
    Exclusion,
    SegmentPlaces,
    covered_segments,
    segment_places,
)
from emoclip_clinical.study.protocol import Study

_COLUMNS = (
    "participant_id",
    "session_id",
    "interview",
    "n_segments",
    "n_ok",
    "seconds",
    "face_coverage",
    "status",
    "reason",
)
_SEGMENT_COLUMNS = ("segment", "onset", "duration", "face_coverage", "status", "reason")


@dataclass(frozen=True)
class Cohort:
    """A study, as the viewer knows it.

    Attributes
    ----------
    study : Study
    features : Path
        What extract wrote.
    interviews : DataFrame
        Rows of ``interviews.parquet``, by the interview's name.
    places : SegmentPlaces
    videos : mapping of str to Interview
        Those that were found again, by name.
    estimates : tuple of TargetEstimates
        Empty where there are none, or they are to be hidden.
    warnings : tuple of str
        What the user should know.
    """

    study: Study
    features: Path
    interviews: pd.DataFrame
    places: SegmentPlaces
    videos: Mapping[str, Interview]
    estimates: tuple[TargetEstimates, ...]
    warnings: tuple[str, ...] = ()
    _writing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def marks_count(self) -> bool:
        """Whether the protocol names the file that marks are written to."""
        return self.study.protocol.data.exclusions is not None

    @property
    def marks_path(self) -> Path:
        """The file that marks are written to."""
        return self.study.path(self.study.protocol.data.exclusions or EXCLUSIONS_FILE)

    def marks(self) -> tuple[Exclusion, ...]:
        """Return all marks, as they are in the file now."""
        encoding = self.study.protocol.data.encoding
        return present_exclusions(self.marks_path, places=self.places, encoding=encoding)

    def mark(self, new: Exclusion) -> None:
        """Write one more mark; see `add_exclusion`."""
        encoding = self.study.protocol.data.encoding
        with self._writing:
            add_exclusion(self.marks_path, new, places=self.places, encoding=encoding)

    def take_back(self, interview: str, mark: str) -> None:
        """Remove a mark of an interview; see `take_back_exclusion`."""
        encoding = self.study.protocol.data.encoding
        with self._writing:
            if mark not in {mark_id(e) for e in self.marks() if e.interview == interview}:
                raise InputError("there is no such mark; it may have been taken back already")
            take_back_exclusion(self.marks_path, mark, places=self.places, encoding=encoding)

    def overview(self) -> dict[str, object]:
        """Return the table of the cohort, ready for JSON."""
        lost = covered_segments(self.marks(), places=self.places)
        rows = []
        for name, row in self.interviews.iterrows():
            visit = (str(row["participant_id"]), str(row["session_id"]))
            rows.append(
                {
                    "interview": str(name),
                    "status": row["status"],
                    "n_segments": _number(row["n_segments"]),
                    "n_ok": _number(row["n_ok"]),
                    "seconds": _number(row["seconds"]),
                    "face_coverage": _number(row["face_coverage"]),
                    "n_marked": len(lost.get(str(name), ())),
                    "video": name in self.videos,
                    "estimates": [_number(e.of(*visit)) for e in self.estimates],
                }
            )
        return {
            "study": self.study.protocol.name,
            "targets": [e.target for e in self.estimates],
            "marks_count": self.marks_count,
            "marks_file": self.marks_path.name,
            "interviews": rows,
        }

    def timeline(self, name: str) -> dict[str, object]:
        """Return one interview's segments, scores, moments and marks, ready for JSON."""
        row = self.interviews.loc[name]
        path = self.features / "segments.parquet"
        table = pq.read_table(path, filters=[("interview", "==", name)]).to_pandas()
        return {
            "interview": name,
            "status": row["status"],
            "reason": row["reason"] or "",
            "video": name in self.videos,
            "segments": json.loads(table[list(_SEGMENT_COLUMNS)].to_json(orient="records")),
            "sets": _score_sets(table),
            "moments": [
                {"target": e.target, "segments": e.moments_of(name)} for e in self.estimates
            ],
            "marks": self.marks_of(name),
        }

    def marks_of(self, name: str) -> list[dict[str, object]]:
        """Return the marks of an interview, ready for JSON."""
        return [
            {
                "id": mark_id(mark),
                "onset": mark.onset,
                "duration": mark.duration,
                "segments": sorted(self.places.covered(mark)),
                "reason": mark.reason,
                "marked_at": mark.marked_at,
            }
            for mark in self.marks()
            if mark.interview == name
        ]

    def face_share(self, name: str, *, longer_side_pixels: int) -> float:
        """Return the longer side of the largest face over that of the picture; 0: none known."""
        columns = ["FaceRectWidth", "FaceRectHeight"]
        table = pq.read_table(
            self.features / "segments.parquet", columns=columns, filters=[("interview", "==", name)]
        ).to_pandas()
        largest = np.nanmax([0.0, *table[columns].to_numpy(dtype=np.float64).ravel()])
        return float(largest / longer_side_pixels)


def open_cohort(study: Study, *, hide_estimates: bool = False) -> Cohort:
    """Read what the viewer shows of a study.

    Parameters
    ----------
    study : Study
    hide_estimates : bool
        Whether estimates and moments stay out of sight, so that marks do not follow them.

    Raises
    ------
    InputError
        If nothing was extracted yet, or the file of the marks has faults.
    """
    features = study.path(study.protocol.data.features)
    for name in ("interviews.parquet", "segments.parquet"):
        if not (features / name).is_file():
            raise InputError(
                f"data.features: the folder that extract writes is wanted, with its {name}; run "
                "extract first"
            )
    table = pd.read_parquet(features / "interviews.parquet", columns=list(_COLUMNS))
    table[["session_id", "reason"]] = table[["session_id", "reason"]].fillna("")
    videos, warnings = _videos(study, set(table["interview"]))
    estimates: tuple[TargetEstimates, ...] = ()
    if not hide_estimates:
        estimates, unread = read_estimates(study.path(study.protocol.data.results))
        warnings += unread
    cohort = Cohort(
        study=study,
        features=features,
        interviews=table.set_index("interview"),
        places=segment_places(features),
        videos=videos,
        estimates=estimates,
        warnings=tuple(warnings),
    )
    cohort.marks()
    return cohort


def _videos(study: Study, wanted: set[str]) -> tuple[dict[str, Interview], list[str]]:
    try:
        found = find_interviews([study.path(study.protocol.data.interviews)])
    except InputError as error:
        return {}, [f"no video is shown: {fault}" for fault in error.faults]
    videos = {i.key.name: i for i in found if i.key.name in wanted}
    missing = len(wanted) - len(videos)
    told = f"{missing} of {len(wanted)} interviews are shown without their video: it is not there"
    return videos, [told] if missing else []


def _score_sets(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return the emotion scores of a segments table, set by set; null where there are none."""
    sets: dict[str, list[str]] = {}
    for column in map(str, table.columns):
        if column.startswith("emotion_") and "__" in column:
            sets.setdefault(column.removeprefix("emotion_").split("__", 1)[0], []).append(column)
    return [
        {
            "name": name,
            "classes": [column.split("__", 1)[1] for column in columns],
            "values": [
                [None if np.isnan(v) else round(float(v), 4) for v in table[column].astype(float)]
                for column in columns
            ],
        }
        for name, columns in sets.items()
    ]


def _number(value: object) -> float | None:
    if value is None or not isinstance(value, (int, float, np.number)) or np.isnan(value):
        return None
    return float(value)
