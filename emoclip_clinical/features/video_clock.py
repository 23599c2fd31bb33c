"""The time of each picture, as the container has it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import av

_FRAMES_LOOKED_AT = 100
_LONGEST_LAST_PICTURE_SECONDS = 10.0


def picture_seconds(frame: Any, *, in_decoding_order: bool, expected: float) -> float | None:
    """Return when a picture is shown, on the video's own clock.

    Parameters
    ----------
    frame : av.VideoFrame
        In the order in which the decoder gives frames out.
    in_decoding_order : bool
        Whether the container's times rise in the order in which pictures are decoded, which is
        not the order in which they are shown. The n-th time then belongs to the n-th picture
        that comes out.
    expected : float
        When the picture before it ends; taken in that case where a packet has no time.

    Returns
    -------
    float or None
        Seconds; None where it has no time.
    """
    stamp = frame.pts if frame.pts is not None else frame.dts
    if in_decoding_order:
        stamp = frame.dts
        if stamp is None and math.isfinite(expected):
            return expected
    return None if stamp is None else float(stamp * frame.time_base)


def times_are_in_decoding_order(container: Any, stream: Any) -> bool:
    """Find out by decoding whether a file's times are in order of decoding.

    Times that rise in the file and fall among the pictures that come out of the decoder are.

    Parameters
    ----------
    container : av.InputContainer
        Opened for this alone: its beginning is read.
    stream : av.VideoStream
        Its picture track.

    Returns
    -------
    bool
        False where the first pictures do not tell.
    """
    stored: list[int] = []
    shown: list[int] = []
    try:
        for packet in container.demux(stream):
            stored += [] if packet.dts is None else [packet.dts]
            shown += [frame.pts for frame in packet.decode() if frame.pts is not None]
            if len(shown) >= _FRAMES_LOOKED_AT:
                break
    except Exception:
        # Damage is counted when the file is read.
        return False
    return all(a < b for a, b in pairwise(stored)) and any(a > b for a, b in pairwise(shown))


def frame_seconds(frame: Any) -> float:
    """Return how long a frame lasts, by its packet; 0 where that is not known."""
    if not frame.duration or frame.time_base is None:
        return 0.0
    return float(frame.duration * frame.time_base)


def last_picture_seconds(step_seconds: float, *, longest_step_seconds: float) -> float:
    """Return how long a video's last picture is taken to last.

    Parameters
    ----------
    step_seconds : float
        As the container has it, which a damaged header can make years.
    longest_step_seconds : float
        The longest time from one picture of the video to the next.

    Returns
    -------
    float
        At most 10 s, or the longest step where that is more.
    """
    return min(step_seconds, max(_LONGEST_LAST_PICTURE_SECONDS, longest_step_seconds))


def promised_end(container: Any, stream: Any) -> float:
    """End of the video on its own clock as the header has it; minus infinity where unknown."""
    if stream.duration is not None and stream.time_base is not None:
        start = stream.start_time or 0
        return float((start + stream.duration) * stream.time_base)
    if container.duration is not None and container.duration > 0:
        # Matroska's duration is counted from zero by some writers and from the first picture by
        # others; a whole file must not be taken for one that was cut off.
        counted_from_zero = "matroska" in container.format.name
        start = 0 if counted_from_zero else container.start_time or 0
        return float((start + container.duration) / av.time_base)
    return -math.inf
