"""The columns of the tables that extraction writes, and their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from emoclip_clinical.records import InterviewKey

_KEYS = [("participant_id", pa.string()), ("session_id", pa.string()), ("interview", pa.string())]
_PLACE = [
    *_KEYS,
    ("segment", pa.int32()),
    ("onset", pa.float64()),
    ("duration", pa.float64()),
]
_QUALITY = [
    ("n_frames", pa.int32()),
    ("face_coverage", pa.float64()),
    ("FaceRectX", pa.float64()),
    ("FaceRectY", pa.float64()),
    ("FaceRectWidth", pa.float64()),
    ("FaceRectHeight", pa.float64()),
    ("FaceScore", pa.float64()),
    ("sharpness", pa.float64()),
    ("brightness", pa.float64()),
    ("head_motion", pa.float64()),
    ("movement", pa.float64()),
    ("status", pa.string()),
    ("reason", pa.string()),
]
_INTERVIEW = [
    *_KEYS,
    ("n_segments", pa.int32()),
    ("n_ok", pa.int32()),
    ("seconds", pa.float64()),
    ("face_coverage", pa.float64()),
    ("n_faces", pa.int32()),
    ("tracked_share", pa.float64()),
    ("n_people", pa.int32()),
    ("patient_rule", pa.string()),
    ("patient_track", pa.int32()),
    ("patient_share", pa.float64()),
    ("patient_margin", pa.float64()),
    ("patient_confidence", pa.float64()),
    ("FaceRectHeight", pa.float64()),
    ("FaceScore", pa.float64()),
    ("sharpness", pa.float64()),
    ("brightness", pa.float64()),
    ("head_motion", pa.float64()),
    ("status", pa.string()),
    ("reason", pa.string()),
]


@dataclass(frozen=True)
class InterviewSummary:
    """One interview as a whole.

    Attributes
    ----------
    n_segments, n_ok : int
        Segments, and those with status ``ok``.
    seconds : float or None
        From the first picture to the end of the last; None where nothing was read.
    face_coverage : float or None
        Share of the sampled frames that show the face; None where no face was looked for.
    n_faces : int or None
        Most faces seen at once, rare counts left out; None where no face was looked for.
    tracked_share : float or None
        Share of face choices that carried on the one before.
    n_people : int or None
        People who were told apart over the whole video.
    patient_rule : str or None
        How the patient was told from others.
    patient_track : int or None
        Number of the person who was taken for the patient; None where no one fits.
    patient_share, patient_margin, patient_confidence : float or None
        See `PatientChoice`.
    FaceRectHeight, FaceScore, sharpness, brightness, head_motion : float or None
        Medians over the segments, whatever their status; see `RecordingQuality`.
    status : str
        ``ok``; ``partial`` (damaged or cut off, the readable segments are kept); ``no_face``,
        ``low_coverage`` or ``decode_error`` (read, but no segment could be scored); ``failed``
        (not read).
    reason : str
        Empty where the status is ``ok``.
    """

    n_segments: int
    n_ok: int
    seconds: float | None
    face_coverage: float | None
    n_faces: int | None
    tracked_share: float | None
    status: str
    reason: str
    n_people: int | None = None
    patient_rule: str | None = None
    patient_track: int | None = None
    patient_share: float | None = None
    patient_margin: float | None = None
    patient_confidence: float | None = None
    FaceRectHeight: float | None = None
    FaceScore: float | None = None
    sharpness: float | None = None
    brightness: float | None = None
    head_motion: float | None = None


def segments_schema(score_columns: Sequence[str]) -> pa.Schema:
    """Return the schema of segments.parquet."""
    return pa.schema([*_PLACE, *_QUALITY, *((name, pa.float32()) for name in score_columns)])


def embeddings_schema(width: int) -> pa.Schema:
    """Return the schema of embeddings.parquet for vectors of length `width`.

    It has no row for a segment without a vector: nulls in a fixed-size list column can not be
    read by pyarrow before version 26.
    """
    return pa.schema([*_PLACE, ("embedding", pa.list_(pa.float32(), width))])


def interviews_schema(pooled_names: Sequence[str]) -> pa.Schema:
    """Return the schema of interviews.parquet."""
    return pa.schema([*_INTERVIEW, *((name, pa.float64()) for name in pooled_names)])


def interviews_table(
    interviews: Sequence[tuple[InterviewKey, InterviewSummary, Mapping[str, float | None]]],
    *,
    pooled_names: Sequence[str],
) -> pa.Table:
    """Return interviews.parquet of interviews, each with its pooled features."""
    rows: list[dict[str, Any]] = [
        {
            **{name: values[0] for name, values in key_columns(key, n_rows=1).items()},
            **asdict(summary),
            **features,
        }
        for key, summary, features in interviews
    ]
    schema = interviews_schema(pooled_names)
    columns = {name: [row[name] for row in rows] for name in schema.names}
    return table_of(columns, schema=schema)


def key_columns(key: InterviewKey, *, n_rows: int) -> dict[str, list[str]]:
    """Return the key columns of `n_rows` rows of one interview."""
    return {
        "participant_id": [key.participant_id] * n_rows,
        "session_id": [key.session_id] * n_rows,
        "interview": [key.name] * n_rows,
    }


def table_of(columns: Mapping[str, object], *, schema: pa.Schema) -> pa.Table:
    """Build a table whose columns and types are exactly the schema's."""
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def scattered(values: np.ndarray, *, rows: np.ndarray) -> pa.Array:
    """Put values in the rows where a mask is true; the others are null.

    Parameters
    ----------
    values : ndarray of float32, shape (n_true,)
        One for each true row.
    rows : ndarray of bool, shape (n_rows,)
        The mask.

    Returns
    -------
    pyarrow.Array of float32, length n_rows
        Nulls where the mask is false.
    """
    full = np.zeros(len(rows), dtype=np.float32)
    full[rows] = values
    return pa.array(full, mask=~rows)


def vector_column(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """Turn vectors of shape (n, d) into a column of n lists of length d."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
