"""What is sent in one request: no more than any server takes, and checked before it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from emoclip_clinical.records import InputError

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

REQUEST_BYTES = 16 * 2**20
REQUEST_FRAMES = 512
REQUEST_TEXTS = 256


def text_batches(texts: Sequence[str]) -> list[list[str]]:
    """Cut texts into lists of at most `REQUEST_TEXTS`.

    Raises
    ------
    InputError
        If `texts` is no list of strings.
    """
    if isinstance(texts, str):
        raise InputError(f"texts must be a list of strings, got the string {texts!r}")
    whole = list(texts)
    if wrong := [i for i, text in enumerate(whole) if not isinstance(text, str)]:
        raise InputError(
            f"texts must be strings, got {type(whole[wrong[0]]).__name__} at position {wrong[0]}"
        )
    return [whole[i : i + REQUEST_TEXTS] for i in range(0, len(whole), REQUEST_TEXTS)]


def frame_batches(frames: np.ndarray) -> list[np.ndarray]:
    """Cut frames, uint8 of shape (n, height, width, 3), into runs that fit a request.

    Raises
    ------
    InputError
        For another type or shape.
    """
    if not isinstance(frames, np.ndarray):
        raise InputError(
            "frames must be an ndarray, uint8 of shape (n, height, width, 3), "
            f"got {type(frames).__name__}"
        )
    if (
        frames.dtype != np.uint8
        or frames.ndim != 4
        or frames.shape[3] != 3
        or 0 in frames.shape[1:]
    ):
        raise InputError(
            "frames must be uint8 of shape (n, height, width, 3), "
            f"got {frames.dtype} of shape {frames.shape}"
        )
    step = max(1, min(REQUEST_FRAMES, REQUEST_BYTES // int(np.prod(frames.shape[1:]))))
    return [frames[i : i + step] for i in range(0, len(frames), step)]


def clip_batches(clips: Sequence[np.ndarray]) -> list[list[int]]:
    """Group clips by their shape into requests.

    Parameters
    ----------
    clips : sequence of uint8 ndarray of shape (t_i, height_i, width_i, 3)

    Returns
    -------
    list of list of int
        Positions of the clips of each request: every clip once, all of a request of one shape.
        A clip that is larger than a request should be stands alone.

    Raises
    ------
    InputError
        Listing every clip of another type or shape, or without a frame.
    """
    _check(clips)
    batches: list[list[int]] = []
    open_: dict[tuple[int, ...], list[int]] = {}
    for i, clip in enumerate(clips):
        batch = open_.get(clip.shape)
        n = 1 if batch is None else len(batch) + 1
        if batch is None or n * clip.nbytes > REQUEST_BYTES or n * len(clip) > REQUEST_FRAMES:
            batch = open_[clip.shape] = []
            batches.append(batch)
        batch.append(i)
    return batches


def _check(clips: object) -> None:
    if not isinstance(clips, Sequence | np.ndarray):
        raise InputError(f"clips must be a list of ndarrays, got {type(clips).__name__}")
    faults = []
    for i, clip in enumerate(clips):
        if not isinstance(clip, np.ndarray):
            faults.append(
                f"clip {i}: it must be an ndarray, uint8 of shape (n_frames, height, width, 3), "
                f"got {type(clip).__name__}"
            )
        elif clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3:
            faults.append(
                f"clip {i}: it must be uint8 of shape (n_frames, height, width, 3), "
                f"got {clip.dtype} of shape {clip.shape}"
            )
        elif 0 in clip.shape:
            faults.append(f"clip {i}: it needs at least one frame, got shape {clip.shape}")
    if faults:
        raise InputError(faults)


def places(batches: Sequence[Sequence[int]]) -> np.ndarray:
    """Return where each item lies in its batches laid one after another, int of shape (n,)."""
    order = [row for rows in batches for row in rows]
    return np.argsort(np.array(order, dtype=np.intp))


def at_once(
    ask: Callable[[_Item], _Answer], items: Sequence[_Item], *, n_threads: int
) -> list[_Answer]:
    """Return the answers to several requests, in order, with some of them on their way at once."""
    if len(items) == 1:
        return [ask(items[0])]
    pool = ThreadPoolExecutor(n_threads)
    try:
        return [future.result() for future in [pool.submit(ask, item) for item in items]]
    finally:
        # After an error or Ctrl-C: what has not begun never will, what has is not waited for.
        pool.shutdown(wait=False, cancel_futures=True)
