"""Pictures as they are meant to be seen: turned and mirrored as the file says, square pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type

_INTEGERS = 9
# PyAV's own declaration leaves out the argument.
_SIDE_DATA_OF: Any = SideDataContainer


def upright_rgb(frame: Any, stream: Any) -> np.ndarray:
    """Return a frame as it is meant to be seen.

    Parameters
    ----------
    frame : av.VideoFrame
        As decoded.
    stream : av.VideoStream
        The one that it comes from.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB, upright, with square pixels.

    Raises
    ------
    av.error.FFmpegError
        If a damaged frame can not be converted.
    """
    width = frame.width
    ratio = stream.sample_aspect_ratio
    if ratio is not None and ratio > 0 and ratio != 1:
        width = max(1, round(frame.width * float(ratio)))
    image = frame.to_ndarray(format="rgb24", width=width, height=frame.height)
    matrix = _display_matrix(frame)
    return np.ascontiguousarray(image if matrix is None else displayed(image, matrix))


def displayed(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn and mirror a picture by a display matrix (ISO/IEC 14496-12, 6.2.2).

    A point (x, y) of the stored picture, y downwards, is shown at (a x + c y, b x + d y).

    Parameters
    ----------
    image : ndarray of shape (height, width, ...)
        As stored.
    matrix : ndarray of 9 integers
        a, b, u, c, d, v, x, y, w. An angle that is no quarter turn is taken for the nearest one.

    Returns
    -------
    ndarray
        A view; of shape (width, height, ...) after a quarter turn.
    """
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    across, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        image = image.swapaxes(0, 1)
        across, down = c, b
    return image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def _display_matrix(frame: Any) -> np.ndarray | None:
    # frame.side_data would tie frame and data together until the garbage collector comes, with
    # the picture's memory and the converter's threads.
    data = _SIDE_DATA_OF(frame).get(Type.DISPLAYMATRIX)
    found = None if data is None else np.frombuffer(bytes(data), dtype=np.int32)
    return found if found is not None and len(found) == _INTEGERS else None
