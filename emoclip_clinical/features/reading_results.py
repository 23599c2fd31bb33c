"""What was read of one interview: its summary and its rows of the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from emoclip_clinical.features.background import BackgroundSampler
from emoclip_clinical.features.following import FollowingLog
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.layout import (
    InterviewSummary,
    embeddings_schema,
    key_columns,
    scattered,
    segments_schema,
    table_of,
    vector_column,
)
from emoclip_clinical.features.model_side import ReadingModel
from emoclip_clinical.features.quality import STATUSES, SegmentQuality, recording_quality
from emoclip_clinical.features.reading_settings import ReadingSettings
from emoclip_clinical.features.scores import score_columns, score_embeddings
from emoclip_clinical.features.segments import Window
from emoclip_clinical.records import InterviewKey


@dataclass(frozen=True)
class InterviewReading:
    """What was read of one interview.

    Attributes
    ----------
    summary : InterviewSummary
        Its row of quality columns.
    segments, embeddings : pyarrow.Table
        Its rows of the two segment tables.
    read_again : bool
        Whether another attempt may read more: it failed, or its decoder hung.
    """

    summary: InterviewSummary
    segments: pa.Table
    embeddings: pa.Table
    read_again: bool


@dataclass(frozen=True)
class ScoredSegment:
    """A segment, and its embedding where it may be scored."""

    window: Window
    quality: SegmentQuality
    embedding: np.ndarray | None


def interview_summary(
    scored: Sequence[ScoredSegment],
    sampler: BackgroundSampler,
    faces: FollowingLog | None,
    *,
    faults: str,
) -> InterviewSummary:
    """Sum up an interview that was read, in whole or in part.

    Parameters
    ----------
    scored : sequence of ScoredSegment
        All of its segments, in order.
    sampler : BackgroundSampler
        The reading, ended.
    faces : FollowingLog or None
        Who was followed; None where no face was looked for.
    faults : str
        Why not everything was read; empty where it was.
    """
    log = sampler.log
    choice = None if faces is None else faces.choice
    n_ok = sum(segment.quality.status == "ok" for segment in scored)
    pictures = recording_quality([segment.quality for segment in scored])
    status, reason = "ok", ""
    if faults:
        status, reason = "partial", faults
    elif n_ok == 0:
        statuses = [segment.quality.status for segment in scored]
        status = max(STATUSES, key=statuses.count)
        reason = f"none of {len(scored)} segments could be scored"
    return InterviewSummary(
        n_segments=len(scored),
        n_ok=n_ok,
        seconds=log.end_seconds - log.first_seconds,
        face_coverage=None if faces is None else faces.n_frames_with_face / log.n_sampled,
        n_faces=None if faces is None else faces.n_faces,
        tracked_share=None if faces is None else faces.tracked_share,
        n_people=None if choice is None else choice.n_people,
        patient_rule=None if choice is None else choice.rule,
        patient_track=None if choice is None else choice.person,
        patient_share=None if choice is None else choice.share,
        patient_margin=None if choice is None else choice.margin,
        patient_confidence=None if choice is None else choice.confidence,
        FaceRectHeight=pictures.FaceRectHeight,
        FaceScore=pictures.FaceScore,
        sharpness=pictures.sharpness,
        brightness=pictures.brightness,
        head_motion=pictures.head_motion,
        status=status,
        reason=reason,
    )


def interview_reading(
    key: InterviewKey,
    scored: Sequence[ScoredSegment],
    summary: InterviewSummary,
    *,
    read_again: bool,
    embedder: ReadingModel,
    settings: ReadingSettings,
) -> InterviewReading:
    """Score an interview's embeddings and lay out its rows.

    Parameters
    ----------
    key : InterviewKey
        Which.
    scored : sequence of ScoredSegment
        All of its segments, in order.
    summary : InterviewSummary
        What was made of them.
    read_again : bool
        See `InterviewReading`.
    embedder, settings
        As for the reading.
    """
    usable = np.array([segment.embedding is not None for segment in scored], dtype=bool)
    vectors = np.zeros((0, embedder.embedding_width), dtype=np.float32)
    if usable.any():
        vectors = np.stack([s.embedding for s in scored if s.embedding is not None])
    scores = score_embeddings(vectors, settings.prompts, temperature=embedder.temperature)
    quality = {
        field.name: [getattr(s.quality, field.name) for s in scored]
        for field in fields(SegmentQuality)
    }
    columns = {name: scattered(values, rows=usable) for name, values in scores.items()}
    return InterviewReading(
        summary=summary,
        segments=table_of(
            {**_place(key, scored), **quality, **columns},
            schema=segments_schema(score_columns(settings.prompts)),
        ),
        embeddings=table_of(
            {
                **_place(key, [s for s in scored if s.embedding is not None]),
                "embedding": vector_column(vectors),
            },
            schema=embeddings_schema(embedder.embedding_width),
        ),
        read_again=read_again,
    )


def failed_reading(
    interview: Interview, *, reason: str, embedder: ReadingModel, settings: ReadingSettings
) -> InterviewReading:
    """Return what is written of an interview that could not be read.

    Parameters
    ----------
    interview : Interview
        Which.
    reason : str
        Why; it names no file.
    embedder, settings
        See `read_interview`.

    Returns
    -------
    InterviewReading
        With status ``failed``, and no segments.
    """
    return interview_reading(
        interview.key,
        [],
        _failed(reason),
        read_again=True,
        embedder=embedder,
        settings=settings,
    )


def _failed(reason: str) -> InterviewSummary:
    return InterviewSummary(
        n_segments=0,
        n_ok=0,
        seconds=None,
        face_coverage=None,
        n_faces=None,
        tracked_share=None,
        status="failed",
        reason=reason,
    )


def _place(key: InterviewKey, scored: Sequence[ScoredSegment]) -> dict[str, object]:
    return {
        **key_columns(key, n_rows=len(scored)),
        "segment": [s.window.index for s in scored],
        "onset": [s.window.onset for s in scored],
        "duration": [s.window.duration for s in scored],
    }
