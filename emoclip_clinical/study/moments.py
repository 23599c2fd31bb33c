"""Moments: the segments that move the estimate of each visit most, by their times alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.features.pooling_without_one import pool_without_each
from emoclip_clinical.features.repooling import KeptSegments, PooledFolder, open_pooled_folder
from emoclip_clinical.records import KEY_COLUMNS, InputError, Progress, no_progress
from emoclip_clinical.regression.analysis import Estimate
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.feature_rows import mean_of_those_there
from emoclip_clinical.regression.segment_influence import segment_influence
from emoclip_clinical.study.left_out import left_out_segments
from emoclip_clinical.study.protocol import Study

MOMENTS_FILE = "moments.csv"
MOMENT_COLUMNS = (
    "participant_id",
    "session_id",
    "interview",
    "segment",
    "onset",
    "duration",
    "face_coverage",
    "influence",
    "rank",
)


@dataclass(frozen=True)
class Moments:
    """The segments that move the estimates of a target most.

    Attributes
    ----------
    table : DataFrame or None
        ``participant_id, session_id, interview, segment, onset, duration`` (seconds of the video's
        own clock)``, face_coverage, influence, rank``. `influence` is the out-of-fold estimate of
        the visit less the same without the segment, in scale points, the mean over repeats: above
        0 where the segment raises the estimate. Rank 1 moves it most, in either direction. None
        where it can not be computed.
    warnings : tuple of str
        Why not, and what was left out.
    """

    table: pd.DataFrame | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Recording:
    name: str
    segments: KeptSegments
    whole: np.ndarray
    without: np.ndarray

    @property
    def n_ok(self) -> int:
        return len(self.segments.onset)


def study_moments(
    study: Study, made: Estimate, *, features: Path, progress: Progress = no_progress
) -> Moments:
    """Find the segments whose leaving out changes the out-of-fold estimates most.

    The interview is pooled anew without each of its segments, and the models of the folds in which
    its subject was held out estimate it again; nothing is fitted.

    Parameters
    ----------
    study : Study
        Its exclusions, and `regression.moments`, the segments to keep of each interview.
    made : Estimate
        With the model of every fold.
    features : Path
        What the estimate was made from; of a table there are no segments.
    progress : callable
        Called after each visit.

    Returns
    -------
    Moments
        Without a table, and with the reason as a warning, where the model of a fold needs more
        than pooled features.
    """
    most = made.config.moments
    if not most or not features.is_dir():
        return Moments()
    if not made.predictors:
        why = (
            "the model reads more than the pooled features"
            if made.config.importance
            else "regression.importance is off, and the models of the folds were not kept"
        )
        return Moments(warnings=(f"no moments: {why}",))
    try:
        folder = open_pooled_folder(features)
    except InputError as error:
        return Moments(warnings=tuple(f"no moments: {fault}" for fault in error.faults))
    unknown = [name for name in made.design.feature_names if name not in folder.names]
    if unknown:
        return Moments(warnings=(f"no moments: features.json does not name {unknown[0]}",))
    left_out = left_out_segments(study, features).segments
    rows: list[tuple[object, ...]] = []
    n_undefined = 0
    visits = _visits(made.design, features)
    for number, (row, names) in enumerate(visits):
        recordings = [_recording(folder, made.design, n, left_out) for n in names]
        found, undefined = _ranked(made, row, [r for r in recordings if r.n_ok], most)
        rows += found
        n_undefined += undefined
        progress(f"moments of {made.design.target}", number + 1, len(visits))
    table = pd.DataFrame(rows, columns=list(MOMENT_COLUMNS))
    told = (
        f"moments: {n_undefined} segments have no influence, since a feature is not defined "
        "without them"
    )
    return Moments(
        table.sort_values(["interview", "rank"], kind="stable").reset_index(drop=True),
        (told,) if n_undefined else (),
    )


def write_moments(moments: Moments, folder: Path) -> None:
    """Write ``moments.csv`` to a result's folder, or remove the one of an earlier result."""
    path = folder / MOMENTS_FILE
    if moments.table is None:
        path.unlink(missing_ok=True)
        return
    part = path.with_name(f".{path.name}.part")
    part.write_text(moments.table.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    part.replace(path)


def _visits(design: Design, features: Path) -> list[tuple[int, list[str]]]:
    """Return the row of each visit of a design, and the names of its recordings."""
    columns = list(KEY_COLUMNS)
    table = pd.read_parquet(features / "interviews.parquet", columns=[*columns, "interview"])
    table[columns] = table[columns].fillna("")
    if (table["session_id"] == "").all():
        # The ratings may name sessions where the recordings do not.
        columns = ["participant_id"]
    names = {key: rows["interview"].tolist() for key, rows in table.groupby(columns, sort=False)}
    keys = design.keys[columns].reset_index(drop=True).drop_duplicates()
    return [
        (int(row), names[tuple(visit)])
        for row, visit in zip(keys.index, keys.itertuples(index=False), strict=True)
    ]


def _recording(
    folder: PooledFolder,
    design: Design,
    name: str,
    left_out: Mapping[str, frozenset[int]],
) -> _Recording:
    segments = folder.segments(name, left_out=left_out.get(name, frozenset()))
    pooled = folder.pool(segments.scored)
    without = pool_without_each(
        segments.scored,
        prompt_vectors=folder.prompt_vectors,
        pooling=folder.pooling,
        weights=folder.weights,
    )
    place = {feature: i for i, feature in enumerate(folder.names)}
    columns = [place[feature] for feature in design.feature_names]
    values = [pooled[feature] for feature in design.feature_names]
    whole = np.array([np.nan if value is None else value for value in values])
    return _Recording(name, segments, whole, without[:, columns])


def _visit_without(one: _Recording, others: list[_Recording]) -> np.ndarray:
    """Return the features of a visit without each segment of one recording.

    As `mean_of_those_there` of its recordings, weighted by their usable segments; NaN where none
    has a value any more.
    """
    weight = np.where(np.isnan(one.without), 0.0, one.n_ok - 1.0)
    summed = weight * np.nan_to_num(one.without)
    for other in others:
        there = ~np.isnan(other.whole)
        weight = weight + other.n_ok * there
        summed = summed + other.n_ok * np.where(there, other.whole, 0.0)
    found = np.full(summed.shape, np.nan)
    np.divide(summed, weight, out=found, where=weight > 0)
    return found


def _ranked(
    made: Estimate, row: int, recordings: list[_Recording], most: int
) -> tuple[list[tuple[object, ...]], int]:
    """Return the rows of a visit's recordings, and how many segments have no influence."""
    weights = np.array([float(r.n_ok) for r in recordings])
    whole = mean_of_those_there(np.array([r.whole for r in recordings]), weights=weights)
    found: list[tuple[object, ...]] = []
    n_undefined = 0
    key = tuple(made.design.keys[list(KEY_COLUMNS)].iloc[row])
    for place, one in enumerate(recordings):
        others = [r for k, r in enumerate(recordings) if k != place]
        influence = segment_influence(
            made.cross_validation,
            predictors=made.predictors,
            row=row,
            whole=whole,
            without=_visit_without(one, others),
        )
        n_undefined += int(np.isnan(influence).sum())
        order = [
            i for i in np.argsort(-np.abs(influence), kind="stable") if influence[i] == influence[i]
        ]
        for rank, i in enumerate(order[:most], start=1):
            found.append(
                (
                    *key,
                    one.name,
                    int(one.segments.scored.index[i]),
                    float(one.segments.onset[i]),
                    float(one.segments.duration[i]),
                    float(one.segments.face_coverage[i]),
                    float(influence[i]),
                    rank,
                )
            )
    return found, n_undefined
