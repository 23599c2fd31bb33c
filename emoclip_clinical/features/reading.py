"""One interview, in one pass: decode, find the face, encode each frame once, cut and score."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Generic

import numpy as np

from emoclip_clinical.features.background import BackgroundSampler
from emoclip_clinical.features.decoding import SampledFrame, VideoSampler
from emoclip_clinical.features.following import (
    FaceFollower,
    FollowedFrame,
    FollowingLog,
    whole_pictures,
)
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.model_side import PictureLane, PictureTicket, ReadingModel, TicketT
from emoclip_clinical.features.opening import UnreadableVideoError
from emoclip_clinical.features.quality import (
    SegmentQuality,
    segment_quality,
    sharpness_and_brightness,
)
from emoclip_clinical.features.reading_results import (
    InterviewReading,
    ScoredSegment,
    failed_reading,
    interview_reading,
    interview_summary,
)
from emoclip_clinical.features.reading_settings import ReadingSettings
from emoclip_clinical.features.segments import (
    FrameRecord,
    Window,
    WindowCutter,
    stack_vectors,
)
from emoclip_clinical.records import InputError

_WINDOWS_AT_ONCE = 16


SecondsDone = Callable[[float, float], None]
"""``seconds_done(done, total)``: seconds of video read so far, and in all by its header."""


def no_seconds(done: float, total: float) -> None:
    """Ignore how far an interview is."""


def read_interview(
    interview: Interview,
    *,
    embedder: ReadingModel,
    settings: ReadingSettings,
    lane: PictureLane[TicketT],
    seconds_done: SecondsDone = no_seconds,
) -> InterviewReading:
    """Read one interview.

    Parameters
    ----------
    interview : Interview
        Which file, and which part of it.
    embedder : ReadingModel
        The model.
    settings : ReadingSettings
        How.
    lane : PictureLane
        Where its frames are encoded.
    seconds_done : callable
        Called after each sampled frame.

    Returns
    -------
    InterviewReading
        With status ``failed``, and no segments, where the video can not be read at all.

    Raises
    ------
    InputError
        If the model's embeddings are not finite.
    """
    reader = _Reader(embedder, settings=settings, lane=lane, seconds_done=seconds_done)
    try:
        follower = None
        if settings.faces is not None:
            follower = settings.faces.follower(interview, log=FollowingLog())
        with _sampler(interview, settings) as sampler:
            scored = list(reader.scored(sampler, follower))
        first = sampler
        if follower is not None and follower.read_again:
            # The patient turned out to be someone else than the first guess. Faces are known only
            # as far as the first reading came.
            known = first.log.end_seconds if first.stalled else None
            with _sampler(interview, settings, end_seconds=known) as sampler:
                scored = list(reader.scored(sampler, follower))
    except UnreadableVideoError as error:
        return failed_reading(interview, reason=str(error), embedder=embedder, settings=settings)
    return interview_reading(
        interview.key,
        scored,
        interview_summary(
            scored,
            sampler,
            None if follower is None else follower.log,
            faults=_faults(first if first.stalled else sampler),
        ),
        read_again=first.stalled or sampler.stalled,
        embedder=embedder,
        settings=settings,
    )


def _sampler(
    interview: Interview, settings: ReadingSettings, *, end_seconds: float | None = None
) -> BackgroundSampler:
    stops = [s for s in (interview.stop_seconds, end_seconds) if s is not None]
    sampler = VideoSampler(
        interview.path,
        sample_fps=settings.grid.sample_fps,
        start_seconds=interview.start_seconds,
        stop_seconds=min(stops, default=None),
    )
    return BackgroundSampler(sampler, stall_seconds=settings.stall_seconds)


class _Reader(Generic[TicketT]):
    """From the frames of one interview to its segments."""

    def __init__(
        self,
        embedder: ReadingModel,
        *,
        settings: ReadingSettings,
        lane: PictureLane[TicketT],
        seconds_done: SecondsDone,
    ) -> None:
        self._embedder = embedder
        self._settings = settings
        self._lane = lane
        self._seconds_done = seconds_done

    def scored(
        self, sampler: BackgroundSampler, follower: FaceFollower | None
    ) -> Iterator[ScoredSegment]:
        """Yield every segment with its embedding, a few at a time."""
        judged: list[tuple[Window, SegmentQuality]] = []
        for window in self._windows(sampler, follower):
            quality = segment_quality(
                window,
                faces_wanted=follower is not None,
                thresholds=self._settings.quality,
                source_share=sampler.source_share,
            )
            judged.append((window, _with_damage(quality, window, sampler)))
            if len(judged) == _WINDOWS_AT_ONCE:
                yield from self._embedded(judged)
                judged = []
        yield from self._embedded(judged)

    def _embedded(self, judged: list[tuple[Window, SegmentQuality]]) -> Iterator[ScoredSegment]:
        usable = [window for window, quality in judged if quality.status == "ok"]
        vectors: Iterator[np.ndarray] = iter(())
        if usable:
            stacked, valid = stack_vectors(
                usable,
                n_slots=self._settings.grid.slots_per_window,
                width=self._embedder.embedding_width,
            )
            encoded = self._embedder.encode_sequences(stacked, valid)
            if not np.isfinite(encoded).all():
                raise InputError(
                    "the model makes embeddings that are not finite: its weights are damaged, or "
                    "its precision is too low for them (extraction.precision)"
                )
            vectors = iter(encoded)
        for window, quality in judged:
            # The frame vectors are not needed any more; only the place of the segment is.
            place = replace(window, records=())
            yield ScoredSegment(place, quality, next(vectors) if quality.status == "ok" else None)

    def _windows(
        self, sampler: BackgroundSampler, follower: FaceFollower | None
    ) -> Iterator[Window]:
        cutter = WindowCutter(self._settings.grid)
        frames = self._counted(sampler)
        followed = whole_pictures(frames) if follower is None else follower.follow(frames)
        for record in self._encoded(followed):
            yield from cutter.add(record, first_seconds=sampler.log.first_seconds)
        yield from cutter.finish(
            first_seconds=sampler.log.first_seconds, end_seconds=sampler.log.end_seconds
        )

    def _counted(self, sampler: BackgroundSampler) -> Iterator[SampledFrame]:
        for frame in sampler:
            self._seconds_done(frame.seconds - sampler.log.first_seconds, sampler.expected_seconds)
            yield frame

    def _encoded(self, frames: Iterator[FollowedFrame]) -> Iterator[FrameRecord]:
        """Yield a record for each frame, in order, while later ones are being encoded."""
        waiting: deque[tuple[FrameRecord, TicketT | None]] = deque()
        for followed in frames:
            picture = self._picture(followed)
            ticket = None if picture is None else self._lane.submit(picture)
            waiting.append((_record(followed, picture), ticket))
            while waiting and (self._lane.is_full or _is_done(waiting[0][1])):
                yield self._with_vector(*waiting.popleft())
        self._lane.flush()
        while waiting:
            yield self._with_vector(*waiting.popleft())

    def _with_vector(self, record: FrameRecord, ticket: TicketT | None) -> FrameRecord:
        return record if ticket is None else replace(record, vector=self._lane.collect(ticket))

    def _picture(self, followed: FollowedFrame) -> np.ndarray | None:
        image = followed.frame.image
        if self._settings.faces is not None:
            if followed.face is None:
                return None
            image = self._settings.faces.crop(image, followed.face)
        return self._embedder.prepare(image)


def _is_done(ticket: PictureTicket | None) -> bool:
    return ticket is None or ticket.is_done


def _with_damage(
    quality: SegmentQuality, window: Window, sampler: BackgroundSampler
) -> SegmentQuality:
    """Say how much of the file was damaged where a segment could not be read."""
    if quality.status != "decode_error":
        return quality
    # Entries follow the clock, which only rises.
    damaged = sampler.log.damaged_seconds
    before = bisect.bisect_left(damaged, window.onset - 1 / sampler.sample_fps)
    n_damaged = bisect.bisect_left(damaged, window.onset + window.duration) - before
    if n_damaged == 0:
        return quality
    return replace(quality, reason=f"{quality.reason}; damaged packets or pictures: {n_damaged}")


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
        shot=followed.shot,
    )


def _faults(sampler: BackgroundSampler) -> str:
    return "" if sampler.log.complete else "; ".join(sampler.log.notes)
