"""One pass through a video: pictures at a steady rate, with times from the video's own clock.

The container's presentation times are the only clock: no frame is counted and multiplied by a
frame rate, so variable frame rates, start offsets and dropped frames keep their places. Memory
does not grow with the length of the video.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from emoclip_clinical.features.gaps import GapWatch
from emoclip_clinical.features.opening import (
    UnreadableVideoError,
    open_video,
    picture_track,
    stores_decoding_order,
)
from emoclip_clinical.features.upright import upright_rgb
from emoclip_clinical.features.video_clock import (
    frame_seconds,
    last_picture_seconds,
    picture_seconds,
    promised_end,
)

_LARGEST_JUMP_SECONDS = 3600.0
_MAXIMUM_FAILED_READS = 200
_SHORTFALL_SECONDS = 1.0
_TINY_SECONDS = 1e-6


@dataclass(frozen=True)
class SampledFrame:
    """One picture and its place in time.

    Attributes
    ----------
    slot : int
        Number of the sampling instant that it stands for, from 0.
    seconds : float
        Presentation time on the video's own clock.
    image : ndarray of uint8, shape (height, width, 3)
        RGB, turned upright, with square pixels.
    """

    slot: int
    seconds: float
    image: np.ndarray


@dataclass
class ReadingLog:
    """What happened while a video was read; complete when the last frame was given out.

    Attributes
    ----------
    first_seconds, end_seconds : float
        Time of the first picture, and the end of the last one, on the video's own clock.
    source_fps : float
        Pictures per second over the whole reading; NaN with fewer than two.
    n_frames : int
        Pictures that were decoded, sampled or not.
    n_sampled : int
        Pictures that were given out.
    damaged_seconds : list of float
        For each packet or picture that could not be used: the time of the last usable picture
        before it; minus infinity before the first.
    missing_seconds : float
        For how long a video of steady rate has no pictures, without a damaged packet that would
        say why.
    ended_early : bool
        Whether pictures ended more than a second before the container's own duration.
    notes : list of str
        What a user should know of this video.
    """

    first_seconds: float = math.nan
    end_seconds: float = math.nan
    source_fps: float = math.nan
    n_frames: int = 0
    n_sampled: int = 0
    damaged_seconds: list[float] = field(default_factory=list)
    missing_seconds: float = 0.0
    ended_early: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def n_damaged(self) -> int:
        """Packets or pictures that could not be used."""
        return len(self.damaged_seconds)

    @property
    def complete(self) -> bool:
        """Whether everything that the container promised was read."""
        return self.n_damaged == 0 and self.missing_seconds == 0 and not self.ended_early


class VideoSampler:
    """Read a video once and give out the pictures nearest to the instants ``first + k / fps``.

    A slot for which the video has no picture within half a slot stays empty: nothing is
    repeated. Damaged packets are skipped and counted in `log`.

    Parameters
    ----------
    path : Path
        The video file.
    sample_fps : float
        Slots per second.
    start_seconds, stop_seconds : float, optional
        Part of the video to read, on its own clock.

    Attributes
    ----------
    n_decoded : int
        Pictures that the decoder gave so far, usable or not: its sign of life.

    Raises
    ------
    UnreadableVideoError
        On entering: not a video, empty, no picture track. While iterating: no usable picture.

    Examples
    --------
    ``with VideoSampler(path, sample_fps=5.0) as frames: ...`` then ``frames.log``.
    """

    def __init__(
        self,
        path: Path,
        *,
        sample_fps: float,
        start_seconds: float | None = None,
        stop_seconds: float | None = None,
    ) -> None:
        self.path = path
        self.sample_fps = sample_fps
        self.start_seconds = -math.inf if start_seconds is None else start_seconds
        self.stop_seconds = math.inf if stop_seconds is None else stop_seconds
        self.log = ReadingLog()
        self.n_decoded = 0
        self._container: Any = None
        self._stream: Any = None
        self._last_seconds = -math.inf
        self._step_seconds = self._longest_step_seconds = 0.0
        self._in_decoding_order = False
        self._stopped = False
        self._gaps = GapWatch()

    def __enter__(self) -> VideoSampler:
        """Open the file and choose its picture track."""
        self._container = open_video(self.path)
        try:
            self._stream = picture_track(self._container)
            self._in_decoding_order = stores_decoding_order(self.path, self._container)
        except UnreadableVideoError:
            self._container.close()
            raise
        # Frame threads gain little and would run ahead of a slow consumer.
        self._stream.codec_context.thread_count = 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._container.close()

    @property
    def source_share(self) -> float:
        """Share of the slots that the video's frame rate, as its header has it, can fill."""
        rate = self._stream.average_rate
        return 1.0 if not rate else min(1.0, float(rate) / self.sample_fps)

    @property
    def expected_seconds(self) -> float:
        """Length of what is to be read, by the header; 0 where it does not say."""
        start = float((self._stream.start_time or 0) * self._stream.time_base)
        end = min(promised_end(self._container, self._stream), self.stop_seconds)
        return max(0.0, end - max(start, self.start_seconds))

    def __iter__(self) -> Iterator[SampledFrame]:
        """Yield the sampled pictures, once, in order of time."""
        candidate: Any = None
        candidate_slot = -1
        candidate_seconds = candidate_distance = math.inf
        for frame, seconds in self._frames():
            position = (seconds - self.log.first_seconds) * self.sample_fps
            slot = math.floor(position + 0.5)
            distance = abs(position - slot)
            if slot != candidate_slot:
                if candidate is not None:
                    yield from self._sampled(candidate, candidate_slot, candidate_seconds)
                candidate_slot, candidate_distance = slot, math.inf
            if distance < candidate_distance:
                candidate, candidate_seconds, candidate_distance = frame, seconds, distance
        if candidate is not None:
            length = self._end_seconds() - self.log.first_seconds
            # The last picture may be nearest to an instant at which the video is over.
            if candidate_slot == 0 or candidate_slot / self.sample_fps < length - _TINY_SECONDS:
                yield from self._sampled(candidate, candidate_slot, candidate_seconds)
        self._close_log()
        if self.log.n_sampled == 0:
            raise UnreadableVideoError(self._why_nothing())

    def log_so_far(self, note: str) -> ReadingLog:
        """Return the log as if the video had ended here, with a note that says why.

        Parameters
        ----------
        note : str
            Added to the log's notes.

        Returns
        -------
        ReadingLog
            A copy; a decoder that comes back to life does not change it.
        """
        log = self.log
        copied = replace(
            log,
            damaged_seconds=list(log.damaged_seconds),
            notes=[*log.notes, note],
            ended_early=True,
        )
        return _closed(copied, self._last_seconds, self._end_seconds())

    def _frames(self) -> Iterator[tuple[Any, float]]:
        """Yield usable frames with rising times, and keep the log."""
        log = self.log
        for frame in self._decoded():
            self.n_decoded += 1
            last = self._last_seconds
            seconds = picture_seconds(
                frame,
                in_decoding_order=self._in_decoding_order,
                expected=last + self._step_seconds,
            )
            if seconds is not None and log.n_frames == 0 and seconds < self.start_seconds:
                continue
            if seconds is None or frame.is_corrupt or seconds <= last:
                self._note_damage()
                continue
            if seconds >= self.stop_seconds:
                self._stopped = True
                return
            if log.n_frames and seconds - last > _LARGEST_JUMP_SECONDS:
                log.ended_early = True
                log.notes.append(f"its clock jumps by {seconds - last:.0f} s: read up to there")
                return
            self._take_place(frame, seconds)
            yield frame, seconds

    def _take_place(self, frame: Any, seconds: float) -> None:
        """Note where a usable frame lies, and how long it lasts."""
        if self.log.n_frames == 0:
            self.log.first_seconds = seconds
            if seconds - self.start_seconds <= max(frame_seconds(frame), 1 / self.sample_fps):
                # What was damaged before the part that is wanted took nothing from it.
                self.log.damaged_seconds.clear()
        else:
            self._step_seconds = seconds - self._last_seconds
            self._longest_step_seconds = max(self._longest_step_seconds, self._step_seconds)
            missing = self._gaps.missing_seconds(self._step_seconds)
            if self._last_seconds not in self.log.damaged_seconds[-1:]:
                self.log.missing_seconds += missing
        self._last_seconds = seconds
        self.log.n_frames += 1
        duration = frame_seconds(frame)
        self._step_seconds = duration if duration > 0 else self._step_seconds

    def _note_damage(self) -> None:
        self.log.damaged_seconds.append(self._last_seconds)

    def _decoded(self) -> Iterator[Any]:
        """Yield every frame that decodes, packet by packet, past damaged ones."""
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except Exception as error:
                self._note_fault(error)
            else:
                yield from frames

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        failed_reads = 0
        while True:
            try:
                packet = next(packets, None)
            except av.error.EOFError:
                return
            except Exception as error:
                # PyAV raises IndexError at the first packet of a track that the file's start did
                # not announce, such as sound that begins late; a lost picture leaves a gap.
                if not isinstance(error, IndexError):
                    self._note_fault(error)
                failed_reads += 1
                if failed_reads > _MAXIMUM_FAILED_READS:
                    self.log.ended_early = True
                    return
                packets = self._container.demux(self._stream)
                continue
            if packet is None:
                return
            yield packet

    def _note_fault(self, error: Exception, *, at_seconds: float | None = None) -> None:
        """Count what a damaged file raised, of whatever kind; PyAV has many."""
        if isinstance(error, MemoryError) and not isinstance(error, av.error.FFmpegError):
            raise error
        at_seconds = self._last_seconds if at_seconds is None else at_seconds
        bisect.insort(self.log.damaged_seconds, at_seconds)

    def _end_seconds(self) -> float:
        length = last_picture_seconds(
            self._step_seconds, longest_step_seconds=self._longest_step_seconds
        )
        return min(self._last_seconds + length, self.stop_seconds)

    def _close_log(self) -> None:
        self.log = _closed(self.log, self._last_seconds, self._end_seconds())
        if not self._stopped:
            self._compare_with_header()

    def _compare_with_header(self) -> None:
        promised = promised_end(self._container, self._stream)
        missing = min(promised, self.stop_seconds) - self.log.end_seconds
        if missing > _SHORTFALL_SECONDS:
            self.log.ended_early = True
            self.log.notes.append(
                f"its pictures end {missing:.1f} s before the duration in its header"
            )

    def _sampled(self, frame: Any, slot: int, seconds: float) -> Iterator[SampledFrame]:
        """Yield the picture, or nothing where it can not be converted."""
        try:
            image = upright_rgb(frame, self._stream)
        except (MemoryError, BlockingIOError):
            # No memory or no thread: of this machine, and not of the file.
            raise
        except Exception as error:
            self._note_fault(error, at_seconds=seconds)
            return
        self.log.n_sampled += 1
        yield SampledFrame(slot=slot, seconds=seconds, image=image)

    def _why_nothing(self) -> str:
        if self.log.n_frames == 0 and (
            math.isfinite(self.start_seconds) or math.isfinite(self.stop_seconds)
        ):
            return "no picture between start_seconds and stop_seconds on the video's own clock"
        if self.log.n_damaged:
            return f"no picture could be decoded (damaged packets: {self.log.n_damaged})"
        return "the video holds no picture"


def _closed(log: ReadingLog, last: float, end: float) -> ReadingLog:
    """Fill in what is known once the last picture was read."""
    if log.n_frames == 0:
        return log
    log.end_seconds = end
    if log.n_frames > 1:
        log.source_fps = (log.n_frames - 1) / (last - log.first_seconds)
    if log.n_damaged:
        log.notes.append(f"damaged packets or pictures skipped: {log.n_damaged}")
    if log.missing_seconds:
        log.notes.append(
            f"its pictures are steady, but for {log.missing_seconds:.1f} s there are none"
        )
    return log
