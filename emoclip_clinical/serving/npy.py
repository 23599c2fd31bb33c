"""Pictures that come as an npy file: checked by their header before anything is made of them."""

from __future__ import annotations

import io
import math
import mmap
import os
import warnings
from typing import Any

import numpy as np

from emoclip_clinical.records import InputError
from emoclip_clinical.serving.sealed_files import SealedFile

_MOST_HEADER_BYTES = 4096
_LONGEST_SIDE_PIXELS = 16_384
_MOST_TIMES_LONGER = 32
"""A picture is resized by its shorter side: a line of one pixel would become a wall."""


def read_frames(file: SealedFile, *, longest_clip_frames: int | None = None) -> np.ndarray:
    """Read one clip, or several of equal length.

    Parameters
    ----------
    file : SealedFile
        An npy file.
    longest_clip_frames : int, optional
        Most frames of a clip.

    Returns
    -------
    uint8 ndarray of shape (t, height, width, 3) or (n, t, height, width, 3)
        It lives on when the file is closed.

    Raises
    ------
    InputError
        Listing everything that is wrong.
    """
    head = io.BytesIO(os.pread(file.fd, _MOST_HEADER_BYTES, 0))
    shape, is_fortran, kind = _header(head)
    start = head.tell()
    faults = []
    if kind != np.dtype(np.uint8):
        faults.append(f"frames must be uint8, got {_short(kind)}")
    if is_fortran:
        faults.append("frames must be in C order (numpy.ascontiguousarray), got Fortran order")
    faults += _shape_faults(shape, longest_clip_frames=longest_clip_frames)
    if not faults and math.prod(shape) != file.size - start:
        faults.append(
            f"frames of shape {shape} take {math.prod(shape)} bytes, got {file.size - start}"
        )
    if faults:
        raise InputError(faults)
    pages = mmap.mmap(file.fd, file.size, access=mmap.ACCESS_COPY)
    return np.frombuffer(pages, dtype=np.uint8, offset=start).reshape(shape)


def _header(head: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(head)
        if version not in ((1, 0), (2, 0)):
            raise InputError(f"npy files of version 1.0 and 2.0 are read, got {version}")
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(head, max_header_size=_MOST_HEADER_BYTES)
    except InputError:
        raise
    # What a header of any bytes makes of Python's own parser is not a list to be relied on.
    except Exception:
        raise InputError("the frames are no npy file: its header can not be read") from None


def _shape_faults(shape: tuple[int, ...], *, longest_clip_frames: int | None) -> list[str]:
    if len(shape) not in (4, 5):
        return [
            "frames must have 4 dimensions (t, height, width, 3) or 5 (n, t, height, width, 3), "
            f"got {len(shape)}"
        ]
    faults = []
    if shape[-1] != 3:
        faults.append(f"frames must have 3 channels, RGB, in their last dimension, got {shape[-1]}")
    if min(shape) < 1:
        faults.append(f"no dimension of frames may be empty, got the shape {shape}")
        return faults
    height, width = shape[-3:-1]
    if max(height, width) > _LONGEST_SIDE_PIXELS:
        faults.append(
            f"pictures may have at most {_LONGEST_SIDE_PIXELS} pixels a side, "
            f"got {height} by {width}"
        )
    elif max(height, width) > _MOST_TIMES_LONGER * min(height, width):
        faults.append(
            f"one side of a picture may be at most {_MOST_TIMES_LONGER} times the other, "
            f"got {height} by {width}"
        )
    if longest_clip_frames is not None and shape[-4] > longest_clip_frames:
        faults.append(
            f"a clip may have at most {longest_clip_frames} sampled frames, got {shape[-4]}"
        )
    return faults


def _short(kind: np.dtype[Any]) -> str:
    return kind.name if kind.fields is None and kind.subdtype is None else "another type"
