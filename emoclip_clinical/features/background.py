"""Decode in a thread of its own, a few pictures ahead, and give up a decoder that hangs.

A call into FFmpeg can not be interrupted. When it does not come back, the reader goes on without
its thread, and with what was read until then.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType

from emoclip_clinical.features.decoding import ReadingLog, SampledFrame, VideoSampler
from emoclip_clinical.features.opening import UnreadableVideoError

_FRAMES_AHEAD = 8
_LONGEST_WAIT_SECONDS = 1.0
_JOIN_SECONDS = 30.0


class BackgroundSampler:
    """A `VideoSampler` that works ahead in its own thread, under a watchdog.

    Parameters
    ----------
    sampler : VideoSampler
        Not entered yet; it must not be used beside this.
    stall_seconds : float
        How long may be waited for the decoder's next picture, sampled or not.
    clock : callable
        Seconds that only grow.

    Attributes
    ----------
    stalled : bool
        Whether the decoder was given up.

    Raises
    ------
    UnreadableVideoError
        As `VideoSampler`, and where the decoder hangs before the first picture.
    """

    def __init__(
        self,
        sampler: VideoSampler,
        *,
        stall_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sampler = sampler
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._frames: deque[SampledFrame] = deque()
        self._error: BaseException | None = None
        self._opened = self._ended = self._left = False
        self._source_share = 1.0
        self._expected_seconds = 0.0
        self._given_up: ReadingLog | None = None
        self._thread = threading.Thread(target=self._read, name="decode", daemon=True)

    @property
    def stalled(self) -> bool:
        """Whether the decoder was given up."""
        return self._given_up is not None

    @property
    def log(self) -> ReadingLog:
        """The sampler's log; where the decoder was given up, as it was then."""
        return self._sampler.log if self._given_up is None else self._given_up

    @property
    def sample_fps(self) -> float:
        """Slots per second."""
        return self._sampler.sample_fps

    @property
    def expected_seconds(self) -> float:
        """Length of what is to be read, by the header; 0 where it does not say."""
        return self._expected_seconds

    @property
    def source_share(self) -> float:
        """See `VideoSampler.source_share`."""
        return self._source_share

    def __enter__(self) -> BackgroundSampler:
        """Open the file."""
        self._thread.start()
        if not self._wait_until(lambda: self._opened or self._ended):
            self._leave()
            raise UnreadableVideoError(
                f"it could not be opened within {self._stall_seconds:g} s: the decoder hangs"
            )
        if self._error is not None:
            self._leave()
            raise self._error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; a decoder that hangs is left behind."""
        self._leave()

    def __iter__(self) -> Iterator[SampledFrame]:
        """Yield the sampled pictures, once, in order of time."""
        n_given = 0
        while True:
            if not self._wait_until(lambda: bool(self._frames) or self._ended):
                self._give_up(n_given)
                return
            with self._changed:
                frame = self._frames.popleft() if self._frames else None
                self._changed.notify_all()
            if frame is None:
                break
            n_given += 1
            yield frame
        if self._error is not None:
            raise self._error

    def _wait_until(self, happened: Callable[[], bool]) -> bool:
        """Wait; False when the decoder gave no sign of life for too long."""
        sign, since = self._sampler.n_decoded, self._clock()
        wait = min(_LONGEST_WAIT_SECONDS, self._stall_seconds / 4)
        with self._changed:
            while not self._changed.wait_for(happened, timeout=wait):
                if self._sampler.n_decoded != sign:
                    sign, since = self._sampler.n_decoded, self._clock()
                elif self._clock() - since >= self._stall_seconds:
                    return False
        return True

    def _give_up(self, n_given: int) -> None:
        note = f"reading stopped: the decoder gave no picture for {self._stall_seconds:g} s"
        if n_given == 0:
            raise UnreadableVideoError(note)
        self._given_up = self._sampler.log_so_far(note)

    def _leave(self) -> None:
        with self._changed:
            self._left = True
            self._frames.clear()
            self._changed.notify_all()
        if not self.stalled:
            self._thread.join(timeout=min(_JOIN_SECONDS, self._stall_seconds))

    def _read(self) -> None:
        try:
            with self._sampler as frames:
                with self._changed:
                    self._source_share = frames.source_share
                    self._expected_seconds = frames.expected_seconds
                    self._opened = True
                    self._changed.notify_all()
                for frame in frames:
                    if not self._put(frame):
                        return
        except BaseException as error:
            # Raised again in the reader's thread.
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, frame: SampledFrame) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._left or len(self._frames) < _FRAMES_AHEAD)
            if not self._left:
                self._frames.append(frame)
                self._changed.notify_all()
            return not self._left
