"""Boxes of tools that count pictures, put on the video's own clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from emoclip_clinical.features.background import BackgroundSampler
from emoclip_clinical.features.decoding import SampledFrame, VideoSampler
from emoclip_clinical.features.opening import UnreadableVideoError
from emoclip_clinical.features.precomputed import FaceTable

_LARGEST_ERROR_SECONDS = 0.1
_EVERY_PICTURE_FPS = 1000.0


def on_the_videos_clock(table: FaceTable, path: Path, *, stall_seconds: float) -> FaceTable:
    """Move the times of a table that counts from the first picture.

    Parameters
    ----------
    table : FaceTable
        With `pictures`; another one is returned as it is.
    path : Path
        The video.
    stall_seconds : float
        See `BackgroundSampler`.

    Returns
    -------
    FaceTable
        Its first picture has the time that the video gives it.

    Raises
    ------
    UnreadableVideoError
        If the video can not be read, or a picture's time in the table is more than 0.1 s off that
        in the video: its rate is not constant, or not the one that the table was made with.
    """
    if table.pictures is None:
        return table
    first = _first_seconds(path, stall_seconds=stall_seconds)
    moved = table.seconds + first
    times = _picture_times(path, first=first, stall_seconds=stall_seconds)
    known = (table.pictures >= 0) & (table.pictures < len(times))
    error = np.abs(moved[known] - times[table.pictures[known]])
    if len(error) and error.max() > _LARGEST_ERROR_SECONDS:
        raise UnreadableVideoError(
            "its table of boxes counts pictures at a constant rate, and is up to "
            f"{error.max():.1f} s off the video's own times: the video's rate varies, or the table "
            "is of another file or rate; write the table in the form seconds, left, top, width, "
            "height"
        )
    return replace(table, seconds=moved, pictures=None)


def _first_seconds(path: Path, *, stall_seconds: float) -> float:
    sampler = VideoSampler(path, sample_fps=_EVERY_PICTURE_FPS)
    with BackgroundSampler(sampler, stall_seconds=stall_seconds) as frames:
        for _ in frames:
            break
        return frames.log.first_seconds


def _picture_times(path: Path, *, first: float, stall_seconds: float) -> np.ndarray:
    """Return the times of all pictures from the first one that can be seen, in order."""
    packets = _PacketTimes(path)
    with BackgroundSampler(packets, stall_seconds=stall_seconds) as reader:
        for _ in reader:
            raise AssertionError("packets are not pictures")
    times: np.ndarray = np.sort(np.array(packets.seconds))
    if packets.in_decoding_order and len(times):
        # What was decoded first is not what is shown first; the steps are right all the same.
        times = times - times[0] + first
    # What an edit list hides, or what comes before a whole picture, is not counted by any tool.
    times = times[times >= first - 1e-6]
    return times


class _PacketTimes(VideoSampler):
    """Reads the times of a video without decoding it; gives out no picture."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, sample_fps=_EVERY_PICTURE_FPS)
        self.seconds: list[float] = []

    @property
    def in_decoding_order(self) -> bool:
        return self._in_decoding_order

    def __iter__(self) -> Iterator[SampledFrame]:
        for packet in self._packets():
            self.n_decoded += 1
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is not None and packet.size:
                self.seconds.append(float(stamp * packet.time_base))
        return iter(())
