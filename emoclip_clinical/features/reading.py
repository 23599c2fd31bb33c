"""One interview, in one pass: decode, find the face, encode each frame once, cut and score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from emoclip_clinical.features.decoding import UnreadableVideoError, VideoSampler
from emoclip_clinical.features.face_setup import FaceSetup
from emoclip_clinical.features.following import FaceFollower, FollowedFrame, FollowingLog
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.layout import (
    InterviewSummary,
    embeddings_schema,
    key_columns,
    scattered,
    scattered_vectors,
    segments_schema,
    table_of,
)
from emoclip_clinical.features.quality import (
    STATUSES,
    SegmentQuality,
    recording_quality,
    segment_quality,
    sharpness_and_brightness,
)
from emoclip_clinical.features.quality_config import QualityConfig
from emoclip_clinical.features.scores import PromptVectors, score_columns, score_embeddings
from emoclip_clinical.features.segments import (
    FrameRecord,
    Grid,
    Window,
    WindowCutter,
    stack_vectors,
)
from emoclip_clinical.records import InterviewKey

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder

_WINDOWS_AT_ONCE = 16


@dataclass(frozen=True)
class ReadingSettings:
    """Everything that reading an interview needs; the same for all interviews.

    Attributes
    ----------
    grid : Grid
        Sampling and windows.
    prompts : tuple of PromptVectors
        Encoded classes.
    faces : FaceSetup or None
        None: the whole picture is encoded.
    quality, batch_frames
        See `ExtractionConfig`.
    """

    grid: Grid
    prompts: tuple[PromptVectors, ...]
    faces: FaceSetup | None
    quality: QualityConfig
    batch_frames: int


@dataclass(frozen=True)
class InterviewReading:
    """What was read of one interview.

    Attributes
    ----------
    summary : InterviewSummary
        Its row of quality columns.
    segments, embeddings : pyarrow.Table
        Its rows of the two segment tables.
    """

    summary: InterviewSummary
    segments: pa.Table
    embeddings: pa.Table


@dataclass(frozen=True)
class _Scored:
    window: Window
    quality: SegmentQuality
    embedding: np.ndarray | None


def read_interview(
    interview: Interview, *, embedder: Embedder, settings: ReadingSettings
) -> InterviewReading:
    """Read one interview.

    Parameters
    ----------
    interview : Interview
        Which file, and which part of it.
    embedder : Embedder
        The model.
    settings : ReadingSettings
        How.

    Returns
    -------
    InterviewReading
        With status ``failed``, and no segments, where the video can not be read at all.
    """
    scored: list[_Scored] = []
    try:
        follower = None
        if settings.faces is not None:
            follower = settings.faces.follower(interview, log=FollowingLog())
        sampler = _sampler(interview, settings)
        with sampler:
            scored = list(_scored(sampler, follower, embedder=embedder, settings=settings))
        if follower is not None and follower.read_again:
            # The patient turned out to be someone else than the first guess.
            sampler = _sampler(interview, settings)
            with sampler:
                scored = list(_scored(sampler, follower, embedder=embedder, settings=settings))
    except UnreadableVideoError as error:
        scored, summary = [], _failed(str(error))
    else:
        summary = _summary(scored, sampler, None if follower is None else follower.log)
    return _result(interview.key, scored, summary, embedder=embedder, settings=settings)


def _sampler(interview: Interview, settings: ReadingSettings) -> VideoSampler:
    return VideoSampler(
        interview.path,
        sample_fps=settings.grid.sample_fps,
        start_seconds=interview.start_seconds,
        stop_seconds=interview.stop_seconds,
    )


def _scored(
    sampler: VideoSampler,
    faces: FaceFollower | None,
    *,
    embedder: Embedder,
    settings: ReadingSettings,
) -> Iterator[_Scored]:
    """Yield every segment with its embedding, a few at a time."""
    judged: list[tuple[Window, SegmentQuality]] = []
    for window in _windows(sampler, faces, embedder=embedder, settings=settings):
        quality = segment_quality(
            window,
            faces_wanted=faces is not None,
            thresholds=settings.quality,
            source_share=sampler.source_share,
        )
        judged.append((window, quality))
        if len(judged) == _WINDOWS_AT_ONCE:
            yield from _embedded(judged, embedder=embedder, grid=settings.grid)
            judged = []
    yield from _embedded(judged, embedder=embedder, grid=settings.grid)


def _embedded(
    judged: list[tuple[Window, SegmentQuality]], *, embedder: Embedder, grid: Grid
) -> Iterator[_Scored]:
    usable = [window for window, quality in judged if quality.status == "ok"]
    vectors: Iterator[np.ndarray] = iter(())
    if usable:
        stacked, valid = stack_vectors(
            usable, n_slots=grid.slots_per_window, width=embedder.embedding_width
        )
        vectors = iter(embedder.encode_sequences(stacked, valid))
    for window, quality in judged:
        # The frame vectors are not needed any more; only the place of the segment is.
        place = Window(
            window.index, window.onset, window.duration, window.first_slot, window.n_slots, ()
        )
        yield _Scored(place, quality, next(vectors) if quality.status == "ok" else None)


def _windows(
    sampler: VideoSampler,
    faces: FaceFollower | None,
    *,
    embedder: Embedder,
    settings: ReadingSettings,
) -> Iterator[Window]:
    cutter = WindowCutter(settings.grid)
    if faces is None:
        frames: Iterator[FollowedFrame] = (FollowedFrame(frame, None) for frame in sampler)
    else:
        frames = faces.follow(sampler)
    for record in _encoded(frames, embedder=embedder, settings=settings):
        yield from cutter.add(record, first_seconds=sampler.log.first_seconds)
    yield from cutter.finish(
        first_seconds=sampler.log.first_seconds, end_seconds=sampler.log.end_seconds
    )


def _encoded(
    frames: Iterator[FollowedFrame], *, embedder: Embedder, settings: ReadingSettings
) -> Iterator[FrameRecord]:
    """Yield a record for each frame, in order, encoding full batches."""
    waiting: list[FrameRecord] = []
    pictures: list[np.ndarray] = []
    for followed in frames:
        picture = _picture(followed, embedder=embedder, settings=settings)
        waiting.append(_record(followed, picture))
        if picture is not None:
            pictures.append(picture)
        if len(pictures) == settings.batch_frames:
            yield from _with_vectors(waiting, pictures, embedder=embedder)
            waiting, pictures = [], []
    yield from _with_vectors(waiting, pictures, embedder=embedder)


def _picture(
    followed: FollowedFrame, *, embedder: Embedder, settings: ReadingSettings
) -> np.ndarray | None:
    image = followed.frame.image
    if settings.faces is not None:
        if followed.face is None:
            return None
        image = settings.faces.crop(image, followed.face)
    return embedder.prepare(image)


def _record(followed: FollowedFrame, picture: np.ndarray | None) -> FrameRecord:
    frame = followed.frame
    if picture is None:
        other = followed.absence == "other_person"
        return FrameRecord(slot=frame.slot, seconds=frame.seconds, other_person=other)
    sharpness, brightness = sharpness_and_brightness(picture)
    return FrameRecord(
        slot=frame.slot,
        seconds=frame.seconds,
        face=followed.face,
        encoded=True,
        sharpness=sharpness,
        brightness=brightness,
    )


def _with_vectors(
    records: list[FrameRecord], pictures: list[np.ndarray], *, embedder: Embedder
) -> Iterator[FrameRecord]:
    vectors = iter(embedder.encode_prepared(np.stack(pictures))) if pictures else iter(())
    for record in records:
        yield replace(record, vector=next(vectors)) if record.encoded else record


def _summary(
    scored: Sequence[_Scored], sampler: VideoSampler, faces: FollowingLog | None
) -> InterviewSummary:
    log = sampler.log
    choice = None if faces is None else faces.choice
    n_ok = sum(segment.quality.status == "ok" for segment in scored)
    pictures = recording_quality([segment.quality for segment in scored])
    status, reason = "ok", ""
    if not log.complete:
        status, reason = "partial", "; ".join(log.notes)
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


def _result(
    key: InterviewKey,
    scored: Sequence[_Scored],
    summary: InterviewSummary,
    *,
    embedder: Embedder,
    settings: ReadingSettings,
) -> InterviewReading:
    usable = np.array([segment.embedding is not None for segment in scored], dtype=bool)
    vectors = np.zeros((0, embedder.embedding_width), dtype=np.float32)
    if usable.any():
        vectors = np.stack([s.embedding for s in scored if s.embedding is not None])
    scores = score_embeddings(vectors, settings.prompts, temperature=embedder.temperature)
    place: dict[str, object] = {
        **key_columns(key, n_rows=len(scored)),
        "segment": [s.window.index for s in scored],
        "onset": [s.window.onset for s in scored],
        "duration": [s.window.duration for s in scored],
    }
    quality = {
        field.name: [getattr(s.quality, field.name) for s in scored]
        for field in fields(SegmentQuality)
    }
    columns = {name: scattered(values, rows=usable) for name, values in scores.items()}
    return InterviewReading(
        summary=summary,
        segments=table_of(
            {**place, **quality, **columns}, schema=segments_schema(score_columns(settings.prompts))
        ),
        embeddings=table_of(
            {**place, "embedding": scattered_vectors(vectors, rows=usable)},
            schema=embeddings_schema(embedder.embedding_width),
        ),
    )
