"""How well a cohort was recorded, before any rating is looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emoclip_clinical.features.quality import STATUSES
from emoclip_clinical.features.quality_config import QualityConfig
from emoclip_clinical.features.thresholds import COVERAGE, OTHER_THRESHOLDS, Threshold
from emoclip_clinical.records import InputError

COVERAGE_EDGES = tuple(tenth / 10 for tenth in range(11))
"""Edges of the histograms; a bin holds its lower edge, the last one both."""

_KEYS = ("participant_id", "session_id", "interview")
_OF_SEGMENTS = (
    *("interview", "status", "face_coverage", "FaceRectHeight"),
    *("sharpness", "brightness", "head_motion"),
)
_OF_INTERVIEWS = (
    *_KEYS,
    *("status", "reason", "seconds", "n_segments", "n_ok", "face_coverage"),
    *("FaceRectHeight", "FaceScore", "sharpness", "brightness", "head_motion"),
    *("n_faces", "tracked_share", "patient_confidence"),
)


@dataclass(frozen=True)
class ThresholdEffect:
    """What one level of one threshold would leave out.

    Attributes
    ----------
    threshold : Threshold
        Which.
    level : float
        In the units of its setting.
    is_set : bool
        Whether this is the study's level.
    n_failing : int
        Segments of the cohort whose measured value fails it.
    n_failing_ok : int
        Those of them that have status ``ok`` now, and would be lost.
    """

    threshold: Threshold
    level: float
    is_set: bool
    n_failing: int
    n_failing_ok: int


@dataclass(frozen=True)
class CohortQuality:
    """A cohort's recordings.

    Attributes
    ----------
    interviews : DataFrame of shape (n_interviews, n_columns)
        A row an interview, the worst first: keys, ``status``, ``reason``, ``seconds``,
        ``n_segments``, ``n_ok``, ``ok_share``, the number of segments of every other status, and
        medians of the measures.
    statuses : mapping of str to int
        Segments of each status.
    segment_coverage, interview_coverage : tuple of int, length 10
        Segments and interviews by the share of their frames that show the face, between
        `COVERAGE_EDGES`; those where none was looked for, or nothing was read, are left out.
    effects : tuple of ThresholdEffect
        The study's levels, and examples where it has set none.
    warnings : tuple of str
        For the user.
    """

    interviews: pd.DataFrame
    statuses: Mapping[str, int]
    segment_coverage: tuple[int, ...]
    interview_coverage: tuple[int, ...]
    effects: tuple[ThresholdEffect, ...]
    warnings: tuple[str, ...]

    @property
    def n_segments(self) -> int:
        """Segments of the cohort."""
        return sum(self.statuses.values())


def cohort_quality(folder: Path, *, config: QualityConfig) -> CohortQuality:
    """Summarise the recordings of a features folder.

    Parameters
    ----------
    folder : Path
        What ``extract`` wrote.
    config : QualityConfig
        The thresholds to weigh; no value of the tables is changed by them.

    Returns
    -------
    CohortQuality
        Made from ``segments.parquet``, ``interviews.parquet`` and ``features.json`` alone.

    Raises
    ------
    InputError
        Listing every file or column that is missing.
    """
    segments, interviews, settings = _read(folder)
    counts = segments["status"].value_counts()
    return CohortQuality(
        interviews=_worst_first(_with_counts(interviews, segments)),
        statuses={status: int(counts.get(status, 0)) for status in STATUSES},
        segment_coverage=_histogram(segments["face_coverage"]),
        interview_coverage=_histogram(interviews["face_coverage"]),
        effects=tuple(_effects(segments, config)),
        warnings=_warnings(settings, config),
    )


def _read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, Mapping[str, object]]:
    faults: list[str] = []
    segments = _columns(folder / "segments.parquet", _OF_SEGMENTS, faults)
    interviews = _columns(folder / "interviews.parquet", _OF_INTERVIEWS, faults)
    settings: object = {}
    try:
        settings = json.loads((folder / "features.json").read_text(encoding="utf-8"))
    except OSError:
        faults.append("features.json is missing")
    except ValueError:
        faults.append("features.json is not valid JSON")
    if faults or not isinstance(settings, dict):
        raise InputError(
            f"{folder.name}: {fault}; run `emoclip-clinical extract` first"
            for fault in faults or ["features.json holds no settings"]
        )
    return segments, interviews, settings


def _columns(path: Path, wanted: Sequence[str], faults: list[str]) -> pd.DataFrame:
    """Read the wanted columns; note what is missing and give an empty table then."""
    try:
        schema = pq.read_schema(path)
        absent = [name for name in wanted if name not in schema.names]
        if not absent:
            return pd.read_parquet(path, columns=list(wanted))
    except FileNotFoundError:
        faults.append(f"{path.name} is missing")
    except (OSError, pa.ArrowInvalid):
        faults.append(f"{path.name} is not a readable Parquet file")
    else:
        faults.append(f"{path.name} was made by an older version, it has no {', '.join(absent)}")
    return pd.DataFrame(columns=list(wanted))


def _with_counts(interviews: pd.DataFrame, segments: pd.DataFrame) -> pd.DataFrame:
    """Add how many segments of each status an interview has."""
    by_status = pd.crosstab(segments["interview"], segments["status"])
    counts = by_status.reindex(index=interviews["interview"], columns=list(STATUSES), fill_value=0)
    table = interviews.copy()
    # An interview that could not be read has no segment, and the share 0 rather than none.
    at_least_one = table["n_segments"].clip(lower=1)
    place = table.columns.tolist().index("n_ok") + 1
    table.insert(place, "ok_share", table["n_ok"] / at_least_one)
    for status in STATUSES[1:]:
        table[f"n_{status}"] = counts[status].to_numpy()
    return table


def _worst_first(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(
        ["ok_share", "face_coverage", "interview"], kind="stable", na_position="first"
    ).reset_index(drop=True)


def _histogram(coverage: pd.Series[float]) -> tuple[int, ...]:
    known = coverage.dropna().to_numpy(dtype=np.float64)
    return tuple(int(n) for n in np.histogram(known, bins=COVERAGE_EDGES)[0])


def _effects(segments: pd.DataFrame, config: QualityConfig) -> list[ThresholdEffect]:
    is_ok = (segments["status"] == "ok").to_numpy()
    effects = []
    for threshold in (COVERAGE, *OTHER_THRESHOLDS):
        values = segments[threshold.column].to_numpy(dtype=np.float64)
        chosen = threshold.level(config)
        for level in sorted({*threshold.examples, *([] if chosen is None else [chosen])}):
            # What could not be measured is NaN, which is on neither side.
            failing = values < level if threshold.is_minimum else values > level
            effects.append(
                ThresholdEffect(
                    threshold=threshold,
                    level=level,
                    is_set=level == chosen,
                    n_failing=int(failing.sum()),
                    n_failing_ok=int((failing & is_ok).sum()),
                )
            )
    return effects


def _warnings(settings: Mapping[str, object], config: QualityConfig) -> tuple[str, ...]:
    made_with = settings.get("quality")
    wanted = config.model_dump(mode="json")
    if made_with == wanted:
        return ()
    before = made_with if isinstance(made_with, dict) else {}
    changed = ", ".join(
        f"{name} {before.get(name)} (now {level})"
        for name, level in wanted.items()
        if before.get(name) != level
    )
    return (f"the features were extracted with other thresholds: {changed}; extract them again",)
