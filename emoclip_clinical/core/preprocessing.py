"""From pictures to the tower's input, in CLIP's own order: resize, crop, then normalise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from emoclip_clinical.core.model import Preprocessing
from emoclip_clinical.records import InputError


def prepare(frame: np.ndarray, *, image_size_pixels: int) -> np.ndarray:
    """Resize a picture's shorter side and crop its centre, on 8-bit values.

    Parameters
    ----------
    frame : uint8 ndarray of shape (height, width, 3)
        RGB.
    image_size_pixels : int
        Side of the square that comes out.

    Returns
    -------
    uint8 ndarray of shape (3, image_size_pixels, image_size_pixels)
        Bicubic with antialiasing; at most one grey level from open_clip's PIL transform.

    Raises
    ------
    InputError
        If `frame` has another type or shape.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise InputError(
            "a frame must be uint8 of shape (height, width, 3), "
            f"got {frame.dtype} of shape {frame.shape}"
        )
    # Channels stay interleaved in memory: torch's antialiased resize is fastest that way.
    picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)
    if picture.shape[1:] != (image_size_pixels, image_size_pixels):
        picture = transforms.resize(
            picture, [image_size_pixels], interpolation=InterpolationMode.BICUBIC, antialias=True
        )
        picture = transforms.center_crop(picture, [image_size_pixels, image_size_pixels])
    return np.ascontiguousarray(picture.numpy())


def normalise(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Scale prepared uint8 pictures (n, 3, s, s) to the tower's floats, on their device."""
    mean = torch.tensor(preprocessing.mean, device=pictures.device).view(3, 1, 1)
    std = torch.tensor(preprocessing.std, device=pictures.device).view(3, 1, 1)
    return (pictures.float() / 255 - mean) / std
