"""Random access to the frames of a short clip: a video, a GIF, or a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from emoclip_clinical.core.clip_decoder import decord
from emoclip_clinical.core.clips import FOLDER_FPS, frame_files
from emoclip_clinical.records import InputError

GIF_DEFAULT_SECONDS = 0.1
"""What browsers show a frame for when its GIF says 0, as many do."""


@dataclass(frozen=True)
class ClipMedia:
    """An opened clip.

    Attributes
    ----------
    times_seconds : ndarray of shape (n_frames,)
        When each frame is shown, ascending, on the clip's own clock.
    decode : callable
        From ascending frame numbers without repeats to their pictures, each uint8 of shape
        (height, width, 3), RGB. Raises InputError for a frame that can not be decoded.
    """

    times_seconds: np.ndarray
    decode: Callable[[np.ndarray], list[np.ndarray]]


def open_clip_media(path: Path, *, folder_fps: float = FOLDER_FPS) -> ClipMedia:
    """Open a clip, whatever it is.

    Parameters
    ----------
    path : Path
        A video that decord reads, a GIF, or a folder of pictures (in the order of the numbers in
        their names).
    folder_fps : float
        Pictures a second, for a folder; the others have their own clock.

    Returns
    -------
    ClipMedia
        With at least one frame.

    Raises
    ------
    InputError
        If it can not be opened, or has no frame.
    """
    if path.is_dir():
        media = _open_folder(path, folder_fps)
    elif path.suffix.lower() == ".gif":
        media = _open_gif(path)
    else:
        media = _open_video(path)
    if len(media.times_seconds) == 0:
        raise InputError("it has no frames")
    return media


def _open_video(path: Path) -> ClipMedia:
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        n_frames = len(reader)
        times = np.asarray(reader.get_frame_timestamp(range(n_frames))).reshape(n_frames, -1)[:, 0]
    except (decord.DECORDError, RuntimeError, IndexError, OSError) as error:
        raise _undecodable(error) from error

    def decode(indices: np.ndarray) -> list[np.ndarray]:
        try:
            return list(reader.get_batch(indices.tolist()).asnumpy())
        except (decord.DECORDError, RuntimeError, IndexError, OSError) as error:
            raise _undecodable(error) from error

    return ClipMedia(times, decode)


def _open_folder(path: Path, folder_fps: float) -> ClipMedia:
    files = frame_files(path)

    def decode(indices: np.ndarray) -> list[np.ndarray]:
        return [_picture(files[i]) for i in indices]

    return ClipMedia(np.arange(len(files)) / folder_fps, decode)


def _picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    # PIL raises SyntaxError for some broken files, and ValueError for others.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"picture {path.name} can not be decoded ({type(error).__name__})"
        ) from error


def _open_gif(path: Path) -> ClipMedia:
    try:
        with Image.open(path) as image:
            seconds = []
            for i in range(getattr(image, "n_frames", 1)):
                image.seek(i)
                seconds.append(image.info.get("duration", 0) / 1000 or GIF_DEFAULT_SECONDS)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _undecodable(error) from error

    def decode(indices: np.ndarray) -> list[np.ndarray]:
        frames = []
        try:
            with Image.open(path) as image:
                for i in indices:
                    image.seek(int(i))
                    frames.append(np.array(image.convert("RGB")))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _undecodable(error) from error
        return frames

    return ClipMedia(np.concatenate([[0.0], np.cumsum(seconds)[:-1]]), decode)


def _undecodable(error: Exception) -> InputError:
    return InputError(f"it can not be decoded ({type(error).__name__})")
