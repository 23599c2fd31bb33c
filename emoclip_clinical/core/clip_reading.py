"""Short clips as prepared frames: which frames of a clip are seen, and in what form."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emoclip_clinical.core.clip_media import ClipMedia, open_clip_media
from emoclip_clinical.core.clips import FOLDER_FPS
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.preprocessing import CLIP_RESIZE, Preprocessing, Resize, prepare
from emoclip_clinical.records import InputError


@dataclass(frozen=True)
class Sampling:
    """What of a clip is seen.

    Attributes
    ----------
    sample_fps : float
        Frames a second, by the clip's own clock.
    frames_per_clip : int
        Most frames; of a longer clip the middle is taken, unless `start_seed` says otherwise.
    image_size_pixels : int
        Side of the prepared square.
    resize : Resize
        How a picture becomes that square.
    start_seed : int or None
        Draws where in a longer clip the window starts; None for the middle.
    faithful_stride_frames : int or None
        Samples as the published EmoCLIP code does, and ignores `sample_fps`: every so many raw
        frames whatever the clip's clock, from a start that `start_seed` draws (None: the first
        frame), going on at the clip's beginning after its end, and filled up to
        `frames_per_clip` by reflection. Frames repeat, and time runs backwards in places.
    """

    sample_fps: float
    frames_per_clip: int
    image_size_pixels: int
    resize: Resize = CLIP_RESIZE
    start_seed: int | None = None
    faithful_stride_frames: int | None = None

    @classmethod
    def of(
        cls, config: ModelConfig, preprocessing: Preprocessing, *, start_seed: int | None = None
    ) -> Sampling:
        """Return how a model sees clips.

        Parameters
        ----------
        config : ModelConfig
            Its clock.
        preprocessing : Preprocessing
            Its pictures.
        start_seed : int, optional
            A random start, for training. A model with `stride_frames` has one in any case, as
            the published code has even at test time; here the seed is 0 and not the clock.
        """
        if config.stride_frames is not None and start_seed is None:
            start_seed = 0
        return cls(
            sample_fps=config.sample_fps,
            frames_per_clip=config.frames_per_clip,
            image_size_pixels=preprocessing.image_size_pixels,
            resize=preprocessing.resize,
            start_seed=start_seed,
            faithful_stride_frames=config.stride_frames,
        )


def sample_indices(times_seconds: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Choose frames by time, or by count where the sampling is faithful.

    Parameters
    ----------
    times_seconds : ndarray of shape (n_frames,)
        Presentation times of a clip's frames, ascending.
    sampling : Sampling
        Rate, greatest number and start.

    Returns
    -------
    int ndarray of shape (n,)
        Ascending and without repeats: for each slot of 1 / `sample_fps` the frame nearest to its
        start; slots that no frame is near are left out, so nothing is repeated. With
        `faithful_stride_frames`: always `frames_per_clip` numbers, in the order they are seen.
    """
    if sampling.faithful_stride_frames is not None:
        return _faithful_indices(len(times_seconds), sampling)
    slots = _slots(times_seconds, sampling)
    spare = max(0, len(slots) - sampling.frames_per_clip)
    start = spare // 2 if sampling.start_seed is None else _drawn(spare + 1, sampling.start_seed)
    return _nearest(times_seconds, slots[start : start + sampling.frames_per_clip])


def view_indices(times_seconds: np.ndarray, sampling: Sampling, *, views: int) -> list[np.ndarray]:
    """Choose the frames of several windows of a clip, uniformly from its start to its end.

    Parameters
    ----------
    times_seconds : ndarray of shape (n_frames,)
        Presentation times of a clip's frames, ascending.
    sampling : Sampling
        Rate and greatest number; its `start_seed` is not used, since the windows cover the clip.
    views : int
        Most windows. One window is the middle, as in `sample_indices`; a clip that is hardly
        longer than a window has fewer of them, and never the same one twice.

    Returns
    -------
    list of int ndarray
        One to `views` windows, each as `sample_indices` returns it.

    Raises
    ------
    InputError
        If `views` is below 1, or above it with faithful sampling.
    """
    if views < 1:
        raise InputError(f"the number of views must be at least 1, got {views}")
    if sampling.faithful_stride_frames is not None:
        if views > 1:
            raise InputError(f"faithful sampling sees one window of a clip, got views {views}")
        return [sample_indices(times_seconds, sampling)]
    if views == 1:
        return [sample_indices(times_seconds, replace(sampling, start_seed=None))]
    slots = _slots(times_seconds, sampling)
    spare = max(0, len(slots) - sampling.frames_per_clip)
    starts = np.unique(np.round(np.linspace(0, spare, views)).astype(int))
    return [_nearest(times_seconds, slots[s : s + sampling.frames_per_clip]) for s in starts]


def read_frames(path: Path, sampling: Sampling, *, folder_fps: float = FOLDER_FPS) -> np.ndarray:
    """Decode the sampled frames of a short clip.

    Parameters
    ----------
    path : Path
        A video, a GIF, or a folder of pictures.
    sampling : Sampling
        What of it is seen. Its `start_seed` is mixed with the clip's name, so that clips read
        with one seed do not all start alike, and a clip starts alike on every machine.
    folder_fps : float
        Pictures a second in a folder of pictures; `Clip.folder_fps`.

    Returns
    -------
    uint8 ndarray of shape (n, 3, s, s)
        Prepared for the image tower.

    Raises
    ------
    InputError
        If the clip can not be decoded or has no frame.
    """
    media = open_clip_media(path, folder_fps=folder_fps)
    sampling = _of_this_clip(sampling, path)
    (frames,) = _read(media, [sample_indices(media.times_seconds, sampling)], sampling)
    return frames


def read_views(
    path: Path, sampling: Sampling, *, views: int, folder_fps: float = FOLDER_FPS
) -> list[np.ndarray]:
    """Decode several windows of a clip, whose embeddings are to be averaged.

    Parameters
    ----------
    path, sampling, folder_fps
        As in `read_frames`.
    views : int
        Most windows, as in `view_indices`.

    Returns
    -------
    list of uint8 ndarray of shape (n_i, 3, s, s)
        One to `views` windows in the order of their starts.

    Raises
    ------
    InputError
        If the clip can not be decoded or has no frame, or `views` is below 1.
    """
    media = open_clip_media(path, folder_fps=folder_fps)
    sampling = _of_this_clip(sampling, path)
    return _read(media, view_indices(media.times_seconds, sampling, views=views), sampling)


def _of_this_clip(sampling: Sampling, path: Path) -> Sampling:
    if sampling.start_seed is None:
        return sampling
    return replace(sampling, start_seed=zlib.crc32(f"{sampling.start_seed} {path.name}".encode()))


def _read(media: ClipMedia, windows: Sequence[np.ndarray], sampling: Sampling) -> list[np.ndarray]:
    """Decode and prepare every frame once, however many windows see it."""
    wanted = np.unique(np.concatenate(windows))
    pictures = np.stack(
        [
            prepare(f, image_size_pixels=sampling.image_size_pixels, resize=sampling.resize)
            for f in media.decode(wanted)
        ]
    )
    return [pictures[np.searchsorted(wanted, window)] for window in windows]


def _slots(times_seconds: np.ndarray, sampling: Sampling) -> np.ndarray:
    first, last = times_seconds[0], times_seconds[-1]
    slots: np.ndarray = first + np.arange(0.0, last - first + 1e-9, 1.0 / sampling.sample_fps)
    return slots


def _nearest(times_seconds: np.ndarray, slots: np.ndarray) -> np.ndarray:
    after = np.clip(np.searchsorted(times_seconds, slots), 1, max(len(times_seconds) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(times_seconds) - 1)
    nearer_after = times_seconds[after] - slots < slots - times_seconds[before]
    return np.unique(np.where(nearer_after, after, before))


def _faithful_indices(n_frames: int, sampling: Sampling) -> np.ndarray:
    strided = np.arange(0, n_frames, sampling.faithful_stride_frames)
    wanted = sampling.frames_per_clip
    start = 0 if sampling.start_seed is None else _drawn(len(strided), sampling.start_seed)
    # The published code wraps around once, by as many frames as the window passes the end.
    passed = max(0, start + wanted - len(strided))
    seen = np.concatenate([strided[start:], strided[:passed]])[:wanted]
    return np.pad(seen, (0, wanted - len(seen)), mode="reflect")


def _drawn(n: int, seed: int) -> int:
    return int(np.random.default_rng(seed).integers(n))
