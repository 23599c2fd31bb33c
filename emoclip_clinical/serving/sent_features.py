"""Features that a request brings, read as `predict` reads a file of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emoclip_clinical.records import (
    KEY_COLUMNS,
    FeatureTable,
    InputError,
    participant_label,
    session_label,
)
from emoclip_clinical.regression.estimator import FinalEstimator
from emoclip_clinical.regression.feature_rows import (
    EMBEDDING,
    embedding_features,
    interview_features,
    pooled_columns,
    visit_features,
)
from emoclip_clinical.regression.predict import check_origin, origin_differences
from emoclip_clinical.serving.desk import Wanted, always
from emoclip_clinical.serving.known_reasons import known_reason, known_status
from emoclip_clinical.study.predict import averages_embeddings
from emoclip_clinical.tables import Table, limit_faults
from emoclip_clinical.tables.parquet import typed_table

NAME = "features"
"""What messages call the table."""

_RECORDING = ("interview", "n_ok", "status", "reason")
_ROWS_SHOWN = 10


def sent_features(
    rows: pd.DataFrame,
    *,
    source: Mapping[str, object],
    fitted: FinalEstimator,
    wanted: Wanted = always,
) -> FeatureTable:
    """Take what an estimator needs out of the rows of a request.

    Rows of ``interviews.parquet``, told by its columns `n_ok` and `status` and by `source`, are
    averaged over the recordings of a visit, and those of ``embeddings.parquet``, told by its
    column `embedding`, over its segments, as `predict` does; all other rows are visits.

    Parameters
    ----------
    rows : DataFrame
        ``participant_id[, session_id]`` and features; what else it holds is left aside.
    source : mapping
        The content of ``features.json``; empty where the origin is not known.
    fitted : FinalEstimator
        Whose features are wanted.
    wanted : callable
        See `Wanted`.

    Raises
    ------
    InputError
        With every fault, by the numbers of rows, and neither an identifier nor anything else
        that was sent among them.
    """
    _check_source(source, fitted)
    if averages_embeddings(fitted) and EMBEDDING in rows:
        return _of_segments(rows, source)
    if averages_embeddings(fitted) and not set(fitted.feature_names) & set(rows.columns):
        raise InputError(
            f"{NAME}: the estimator averages embeddings: rows of embeddings.parquet were wanted, "
            f"an Arrow stream with a column {EMBEDDING!r}, or a row a visit with their means"
        )
    if source and {"n_ok", "status"} <= set(rows.columns):
        return _of_recordings(rows, source, fitted, wanted)
    table = _checked(rows, {*KEY_COLUMNS, *fitted.feature_names})
    wanted()
    return visit_features(table, source=source, name=NAME)


def _check_source(source: Mapping[str, object], fitted: FinalEstimator) -> None:
    """Refuse another origin before `predict_visits` does, which repeats what it finds."""
    if not (source and fitted.source):
        check_origin(fitted, source)
    differences = origin_differences(fitted, source)
    if differences:
        raise InputError([one.text(with_found=False) for one in differences])


def _of_segments(rows: pd.DataFrame, source: Mapping[str, object]) -> FeatureTable:
    table = _checked(rows, set(KEY_COLUMNS), seen=None)
    vectors = rows[EMBEDDING]
    if not all(isinstance(vector, np.ndarray) for vector in vectors[vectors.notna()]):
        raise InputError(
            f"{NAME}: column {EMBEDDING!r} must hold lists of numbers, in an Arrow stream"
        )
    keyed = table.frame.assign(**{EMBEDDING: vectors.to_numpy()})
    return embedding_features(keyed, source, name=NAME, first_row=1)


def _of_recordings(
    rows: pd.DataFrame, source: Mapping[str, object], fitted: FinalEstimator, wanted: Wanted
) -> FeatureTable:
    pooled = [c for c in dict.fromkeys(pooled_columns(source)) if c in rows]
    own = {*fitted.feature_names, *pooled_columns(fitted.source)}
    # Names that are not the estimator's own are the client's text, and may stand in messages.
    others = {c: f"pooled feature {i} (from 0)" for i, c in enumerate(pooled) if c not in own}
    asked = {*KEY_COLUMNS, *_RECORDING, *pooled, *fitted.feature_names}
    named = rows[[c for c in rows.columns if c in asked]].rename(columns=others)
    names = [others.get(c, c) for c in pooled]
    table = _checked(named, set(named.columns), seen="recording")
    wanted()
    said = {"status": known_status, "reason": known_reason}
    known = {c: table.frame[c].map(said[c]).astype(object) for c in said if c in table.frame}
    told = Table(table.frame.assign(**known), table.rows, table.name)
    return interview_features(told, {**source, "pooled_features": names})


def _checked(rows: pd.DataFrame, wanted: set[str], *, seen: str | None = "visit") -> Table:
    """Return the wanted columns with their keys checked, each `seen` standing once."""
    # What is not asked for can not be at fault.
    kept = rows[[column for column in rows.columns if column in wanted]]
    table = typed_table(kept, text=KEY_COLUMNS, name=NAME, first_row=1)
    faults = _key_faults(table, seen=seen)
    if faults:
        raise InputError(faults)
    return table


def _key_faults(table: Table, *, seen: str | None) -> list[str]:
    if "participant_id" not in table.frame:
        return [f"{NAME}: column 'participant_id' is missing"]
    blank = [None] * len(table.rows)
    columns = [table.frame.get(c, pd.Series(blank)).tolist() for c in KEY_COLUMNS]
    names = table.frame["interview"].tolist() if "interview" in table.frame else blank
    rows_of: dict[tuple[object, ...], list[int]] = defaultdict(list)
    faults = []
    for number, (participant, session, name) in enumerate(zip(*columns, names, strict=True), 1):
        try:
            visit = (participant_label(participant or ""), session_label(session or ""))
        except InputError:
            faults.append(
                f"row {number} of {NAME}: participant_id, and session_id where there is one, must "
                "be letters, digits, '.', '+' and '-'"
            )
        else:
            rows_of[(*visit, name) if seen == "recording" else visit].append(number)
    twice = [
        f"rows {_numbers(rows)} of {NAME} are of the same {seen}; each is wanted once"
        for rows in rows_of.values()
        if seen is not None and len(rows) > 1
    ]
    return [*limit_faults(faults), *limit_faults(twice)]


def _numbers(rows: Sequence[int]) -> str:
    left = len(rows) - _ROWS_SHOWN
    shown = [*map(str, rows[:_ROWS_SHOWN]), *([f"{left} more"] if left > 0 else [])]
    return " and ".join(shown)
