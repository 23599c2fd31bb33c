"""Cut a stream of frames into windows of equal length on the video's own clock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from emoclip_clinical.features.faces import Face
from emoclip_clinical.records import InputError

_TINY_SLOTS = 1e-6


@dataclass(frozen=True)
class FrameRecord:
    """What is kept of one sampled frame once its pixels are gone.

    Attributes
    ----------
    slot : int
        Number of the sampling instant.
    seconds : float
        Presentation time on the video's own clock.
    face : Face or None
        The face that was followed; None where no face was seen or none was looked for.
    other_person : bool
        Whether faces were seen, but none that is surely the patient's.
    encoded : bool
        Whether there is a picture to encode.
    vector : ndarray of float32, shape (d,), or None
        The encoded picture.
    sharpness : float
        Variance of the Laplacian of the encoded picture's grey levels; NaN without one.
    brightness : float
        Mean grey level, 0 to 255; NaN without one.
    shot : int
        Frames with different numbers are parted by a cut, or by a gap in which the face was lost.
    """

    slot: int
    seconds: float
    face: Face | None = None
    other_person: bool = False
    encoded: bool = False
    vector: np.ndarray | None = field(default=None, repr=False)
    sharpness: float = math.nan
    brightness: float = math.nan
    shot: int = 0

    def follows(self, other: FrameRecord) -> bool:
        """Tell whether what changed since another frame is movement: next slot, same shot."""
        return self.slot == other.slot + 1 and self.shot == other.shot


@dataclass(frozen=True)
class Window:
    """A stretch of video and its frames.

    Attributes
    ----------
    index : int
        Number of the segment, from 0.
    onset, duration : float
        Seconds of the video's own clock; `duration` is shorter at the end of a video.
    first_slot : int
        Slot at the onset.
    n_slots : int
        Slots that lie within `duration`.
    records : tuple of FrameRecord
        Frames there are; slots without one are missing.
    """

    index: int
    onset: float
    duration: float
    first_slot: int
    n_slots: int
    records: tuple[FrameRecord, ...]


@dataclass(frozen=True)
class Grid:
    """Where windows begin and end.

    Attributes
    ----------
    sample_fps : float
        Slots per second.
    window_seconds, stride_seconds : float
        Length of a window, and time from one onset to the next.
    """

    sample_fps: float
    window_seconds: float
    stride_seconds: float

    def __post_init__(self) -> None:
        """Refuse windows that would hold no frame."""
        faults = [
            f"{name} must be at least one sampling interval ({1 / self.sample_fps:.4g} s), "
            f"got {value}"
            for name, value in (
                ("window_seconds", self.window_seconds),
                ("stride_seconds", self.stride_seconds),
            )
            if value * self.sample_fps < 1 - _TINY_SLOTS
        ]
        if faults:
            raise InputError(faults)

    @property
    def slots_per_window(self) -> int:
        """Most slots that a window holds; one fewer in some where its length is no whole number."""
        return self._slot(self.window_seconds)

    def first_slot(self, index: int) -> int:
        """Return the first slot at or after the onset of window `index`."""
        return self._slot(index * self.stride_seconds)

    def end_slot(self, index: int) -> int:
        """Return the first slot at or after the end of window `index`: the first that it lacks."""
        return self._slot(index * self.stride_seconds + self.window_seconds)

    def _slot(self, seconds: float) -> int:
        return math.ceil(seconds * self.sample_fps - _TINY_SLOTS)

    def length(self, index: int, *, total_seconds: float) -> float | None:
        """Return how long window `index` is in a video of so many seconds.

        Parameters
        ----------
        index : int
            Number of the window, from 0.
        total_seconds : float
            From the video's first picture to the end of its last.

        Returns
        -------
        float or None
            Seconds; None where there is no such window. A shorter last window is kept when it
            holds at least half a window, window 0 always; none follows the one that reaches the
            end. Half a sampling interval is forgiven.
        """
        tolerance = (0.5 + _TINY_SLOTS) / self.sample_fps
        onset = index * self.stride_seconds
        if index > 0:
            reached = onset - self.stride_seconds + self.window_seconds
            # With gaps between windows, the one before may end long before this one begins.
            if self.stride_seconds <= self.window_seconds and reached >= total_seconds - tolerance:
                return None
            if total_seconds - onset < self.window_seconds / 2 - tolerance:
                return None
        return min(self.window_seconds, total_seconds - onset)


class WindowCutter:
    """Collect frames in order and give out windows as soon as they are complete.

    Only the frames of open windows are held, and overlapping windows share them.

    Parameters
    ----------
    grid : Grid
        Where windows begin and end.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._records: deque[FrameRecord] = deque()
        self._next = 0

    def add(self, record: FrameRecord, *, first_seconds: float) -> Iterator[Window]:
        """Take a frame and yield the windows that end before it.

        Parameters
        ----------
        record : FrameRecord
            Later than every one before.
        first_seconds : float
            Time of the video's first picture.

        Yields
        ------
        Window
            Full windows, in order.
        """
        while record.slot >= self._grid.end_slot(self._next):
            yield self._cut(self._grid.window_seconds, first_seconds=first_seconds)
        self._records.append(record)

    def finish(self, *, first_seconds: float, end_seconds: float) -> Iterator[Window]:
        """Yield the windows that were still open when the video ended."""
        total = end_seconds - first_seconds
        while (length := self._grid.length(self._next, total_seconds=total)) is not None:
            yield self._cut(length, first_seconds=first_seconds)

    def _cut(self, duration: float, *, first_seconds: float) -> Window:
        grid = self._grid
        first = grid.first_slot(self._next)
        last = grid.end_slot(self._next)
        n_slots = min(last - first, max(1, math.ceil(duration * grid.sample_fps - _TINY_SLOTS)))
        window = Window(
            index=self._next,
            onset=first_seconds + self._next * grid.stride_seconds,
            duration=duration,
            first_slot=first,
            n_slots=n_slots,
            records=tuple(r for r in self._records if first <= r.slot < last),
        )
        self._next += 1
        while self._records and self._records[0].slot < grid.first_slot(self._next):
            self._records.popleft()
        return window


def stack_vectors(
    windows: list[Window], *, n_slots: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Put the windows' frame vectors in their slots.

    Parameters
    ----------
    windows : list of Window
        Each with at least one encoded frame.
    n_slots : int
        Slots of a full window.
    width : int
        Length d of a vector.

    Returns
    -------
    vectors : ndarray of float32, shape (n_windows, n_slots, d)
        Zeros where a slot has no encoded frame.
    valid : ndarray of bool, shape (n_windows, n_slots)
        Whether it has one.
    """
    vectors = np.zeros((len(windows), n_slots, width), dtype=np.float32)
    valid = np.zeros((len(windows), n_slots), dtype=bool)
    for row, window in enumerate(windows):
        for record in window.records:
            if record.vector is not None:
                vectors[row, record.slot - window.first_slot] = record.vector
                valid[row, record.slot - window.first_slot] = True
    return vectors, valid
