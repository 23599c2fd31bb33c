"""Write frames as H.264 in MP4, with the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

_BIT_EXACT = 0x400  # FFmpeg's AVFMT_FLAG_BITEXACT: no version, no date in the file


def write_video(
    path: Path,
    *,
    chunks: Iterable[NDArray[np.uint8]],
    frames_per_second: float,
    size_pixels: int,
    quality_crf: int,
) -> int:
    """Encode frames as they come.

    Parameters
    ----------
    path : Path
        An MP4 file to make or replace.
    chunks : iterable of ndarray of shape (n, size_pixels, size_pixels, 3), uint8
        Red, green and blue.
    frames_per_second : float
    size_pixels : int
        Width and height, even.
    quality_crf : int
        x264's constant rate factor.

    Returns
    -------
    int
        Number of frames written. One thread and no B-frames, so that the bytes are the same
        each time and the first frame stands at time 0.
    """
    rate = Fraction(frames_per_second).limit_denominator(1000)
    count = 0
    with av.open(str(path), "w", format="mp4") as container:
        container.flags |= _BIT_EXACT
        stream = container.add_stream("libx264", rate=rate)
        stream.width = stream.height = size_pixels
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = {
            "preset": "veryfast",
            "crf": str(quality_crf),
            "g": "50",
            "bf": "0",
            "x264-params": "threads=1:lookahead-threads=1",
        }
        for chunk in chunks:
            for picture in chunk:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                count += 1
        container.mux(stream.encode(None))
    return count
