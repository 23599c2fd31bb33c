"""Short clips as prepared frames: which frames of a clip are seen, and how they are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from decord import DECORDError, VideoReader, cpu

from emoclip_clinical.core.preprocessing import prepare
from emoclip_clinical.records import InputError


@dataclass(frozen=True)
class Sampling:
    """What of a clip is seen.

    Attributes
    ----------
    sample_fps : float
        Frames a second, by the clip's own clock.
    frames_per_clip : int
        Most frames; of a longer clip the middle is taken.
    image_size_pixels : int
        Side of the prepared square.
    """

    sample_fps: float
    frames_per_clip: int
    image_size_pixels: int


def sample_indices(times_seconds: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Choose frames by time.

    Parameters
    ----------
    times_seconds : ndarray of shape (n_frames,)
        Presentation times of a clip's frames, ascending.
    sampling : Sampling
        Rate and greatest number.

    Returns
    -------
    int ndarray of shape (n,)
        Ascending and without repeats: for each slot of 1 / `sample_fps` the frame nearest to its
        start; slots that no frame is near are left out, so nothing is repeated.
    """
    first, last = times_seconds[0], times_seconds[-1]
    slots = first + np.arange(0.0, last - first + 1e-9, 1.0 / sampling.sample_fps)
    if len(slots) > sampling.frames_per_clip:
        start = (len(slots) - sampling.frames_per_clip) // 2
        slots = slots[start : start + sampling.frames_per_clip]
    after = np.clip(np.searchsorted(times_seconds, slots), 1, max(len(times_seconds) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(times_seconds) - 1)
    nearer_after = times_seconds[after] - slots < slots - times_seconds[before]
    return np.unique(np.where(nearer_after, after, before))


def read_frames(path: Path, sampling: Sampling) -> np.ndarray:
    """Decode the sampled frames of a short clip.

    Returns
    -------
    uint8 ndarray of shape (n, 3, s, s)
        Prepared for the image tower.

    Raises
    ------
    InputError
        If the clip can not be decoded or has no frame.
    """
    try:
        reader = VideoReader(str(path), ctx=cpu(0), num_threads=1)
        if len(reader) == 0:
            raise InputError("it has no frames")
        times = np.asarray(reader.get_frame_timestamp(range(len(reader))))[:, 0]
        frames = reader.get_batch(sample_indices(times, sampling)).asnumpy()
    except (DECORDError, RuntimeError, IndexError, OSError) as error:
        raise InputError(f"it can not be decoded ({type(error).__name__})") from error
    return np.stack([prepare(f, image_size_pixels=sampling.image_size_pixels) for f in frames])
