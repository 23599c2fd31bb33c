"""Random variation of training clips: drawn once for a clip, and the same for all its frames."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from emoclip_clinical.core.augmentation_config import AugmentationConfig
from emoclip_clinical.records import InputError

CLIP_MEAN = (123, 117, 104)
"""Mean colour of CLIP's training pictures in grey levels (0.4815, 0.4578, 0.4082 of 255): what a
normalised zero is, with which the published EmoCLIP code fills rotated pictures' corners."""


def augment(
    frames: np.ndarray,
    *,
    config: AugmentationConfig,
    seed: int,
    fill: tuple[int, int, int] = CLIP_MEAN,
) -> np.ndarray:
    """Vary a clip: crop, mirror, rotate, then change its colours.

    Everything is drawn from `seed` alone, in one order whatever is switched on; torch's and
    numpy's own generators are neither used nor moved.

    Parameters
    ----------
    frames : uint8 ndarray of shape (t, 3, s, s)
        Prepared frames of one clip.
    config : AugmentationConfig
        What varies, and how far.
    seed : int
        Of this clip in this view.
    fill : tuple of int
        Colour of what a rotation leaves empty, 0 to 255.

    Returns
    -------
    uint8 ndarray of shape (t, 3, s, s)
        The same array where nothing is switched on.

    Raises
    ------
    InputError
        If `frames` has another type or shape.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1] != 3:
        raise InputError(
            "frames to augment must be uint8 of shape (t, 3, s, s), "
            f"got {frames.dtype} of shape {frames.shape}"
        )
    if config.is_off or len(frames) == 0:
        return frames
    drawn = np.random.default_rng(seed)
    clip = torch.from_numpy(np.ascontiguousarray(frames))
    clip = _placed(clip, config, drawn.random(5), fill)
    clip = _coloured(clip, config, drawn.uniform(-1, 1, size=4))
    return np.ascontiguousarray(clip.numpy())


def _placed(
    clip: Tensor, config: AugmentationConfig, drawn: np.ndarray, fill: tuple[int, int, int]
) -> Tensor:
    side = clip.shape[-1]
    if config.smallest_crop < 1:
        # Squares only: a face that is stretched is another face.
        share = config.smallest_crop + (1 - config.smallest_crop) * drawn[0]
        kept = max(1, round(side * float(np.sqrt(share))))
        top, left = (int((side - kept + 1) * d) for d in drawn[1:3])
        clip = transforms.resized_crop(
            clip, top, left, kept, kept, [side, side], InterpolationMode.BICUBIC, antialias=True
        )
    if config.horizontal_flip and drawn[3] < 0.5:
        clip = transforms.horizontal_flip(clip)
    if config.rotation_degrees:
        angle = config.rotation_degrees * float(2 * drawn[4] - 1)
        clip = transforms.rotate(
            clip, angle, interpolation=InterpolationMode.BILINEAR, fill=list(map(float, fill))
        )
    return clip


def _coloured(clip: Tensor, config: AugmentationConfig, drawn: np.ndarray) -> Tensor:
    if config.brightness:
        clip = transforms.adjust_brightness(clip, 1 + config.brightness * float(drawn[0]))
    if config.contrast:
        clip = transforms.adjust_contrast(clip, 1 + config.contrast * float(drawn[1]))
    if config.saturation:
        clip = transforms.adjust_saturation(clip, 1 + config.saturation * float(drawn[2]))
    if config.hue:
        clip = transforms.adjust_hue(clip, config.hue * float(drawn[3]))
    return clip
