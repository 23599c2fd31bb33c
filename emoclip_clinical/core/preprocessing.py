"""From pictures to the tower's input: resize, crop, then normalise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emoclip_clinical.records import InputError

MODES = ("shortest", "squash", "longest")
INTERPOLATIONS = ("bicubic", "bilinear")


@dataclass(frozen=True)
class Resize:
    """How a picture of any shape becomes a square.

    Attributes
    ----------
    mode : str
        `shortest` resizes the shorter side and crops the centre; `squash` stretches the picture;
        `longest` resizes the longer side and fills the rest with `fill`.
    interpolation : str
        `bicubic` or `bilinear`.
    antialias : bool
        False is the published EmoCLIP code's way. That code also normalises before it resizes;
        both steps are linear and the weights of a resize sum to one, so the order alone changes
        nothing but that here values are rounded to grey levels (by at most one) and kept within
        0 to 255.
    fill : int
        Grey level of what `longest` leaves empty, 0 to 255.
    """

    mode: str = "shortest"
    interpolation: str = "bicubic"
    antialias: bool = True
    fill: int = 0

    def __post_init__(self) -> None:
        if self.mode not in MODES or self.interpolation not in INTERPOLATIONS:
            raise InputError(
                f"pictures can be resized by {', '.join(MODES)} with {', '.join(INTERPOLATIONS)}, "
                f"got {self.mode!r} with {self.interpolation!r}"
            )


CLIP_RESIZE = Resize()
"""CLIP's own: shorter side, bicubic, antialiased, then the centre."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the tower's input.

    Attributes
    ----------
    image_size_pixels : int
        Side of the square that the tower takes.
    mean, std : tuple of float
        Per channel, on the scale 0 to 1.
    resize : Resize
        How the square is made.
    """

    image_size_pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize = CLIP_RESIZE

    def to_card(self) -> dict[str, Any]:
        """Return what model.json keeps."""
        return asdict(self)

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Preprocessing:
        """Read what `to_card` wrote, or the text that older folders hold in place of `resize`.

        Raises
        ------
        InputError
            If a value is missing or of another kind.
        """
        try:
            resize = card["resize"]
            return cls(
                image_size_pixels=int(card["image_size_pixels"]),
                mean=tuple(float(x) for x in card["mean"]),
                std=tuple(float(x) for x in card["std"]),
                resize=CLIP_RESIZE if isinstance(resize, str) else Resize(**resize),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "preprocessing must hold image_size_pixels, mean, std and resize, "
                f"got {dict(card)!r}: {error}"
            ) from error


def prepare(
    frame: np.ndarray, *, image_size_pixels: int, resize: Resize = CLIP_RESIZE
) -> np.ndarray:
    """Make a square of a picture, on 8-bit values.

    Parameters
    ----------
    frame : uint8 ndarray of shape (height, width, 3)
        RGB.
    image_size_pixels : int
        Side of the square that comes out.
    resize : Resize
        How; by default as CLIP does.

    Returns
    -------
    uint8 ndarray of shape (3, image_size_pixels, image_size_pixels)
        A picture that already has the right size is left as it is. At most one grey level from
        open_clip's PIL transform.

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
    picture = torch.from_numpy(np.ascontiguousarray(frame))[None].permute(0, 3, 1, 2)
    if picture.shape[2:] != (image_size_pixels, image_size_pixels):
        size = _size_after_resize(frame.shape[0], frame.shape[1], image_size_pixels, resize.mode)
        picture = _resized(picture, size, resize)
        picture = _square(picture, image_size_pixels, resize.fill)
    return np.ascontiguousarray(picture[0].numpy())


# torchvision's transforms do the same, but importing them takes seconds, and videos are read in
# processes that are started for it.


def _resized(picture: Tensor, size: tuple[int, int], resize: Resize) -> Tensor:
    if picture.shape[2:] == size:
        return picture
    return functional.interpolate(
        picture,
        size=list(size),
        mode=resize.interpolation,
        align_corners=False,
        antialias=resize.antialias,
    )


def _size_after_resize(height: int, width: int, side: int, mode: str) -> tuple[int, int]:
    """Return (height, width) as torchvision (`shortest`) and open_clip (`longest`) round it."""
    if mode == "squash":
        return side, side
    if mode == "longest":
        longest = max(height, width)
        return max(1, round(height * side / longest)), max(1, round(width * side / longest))
    shortest = min(height, width)
    return int(side * height / shortest), int(side * width / shortest)


def _square(picture: Tensor, side: int, fill: int) -> Tensor:
    height, width = picture.shape[2:]
    above, left = max(0, side - height) // 2, max(0, side - width) // 2
    below, right = max(0, side - height - above), max(0, side - width - left)
    picture = functional.pad(picture, (left, right, above, below), value=fill)
    height, width = picture.shape[2:]
    top, first = round((height - side) / 2), round((width - side) / 2)
    return picture[:, :, top : top + side, first : first + side]


def normalise(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Scale prepared uint8 pictures (n, 3, s, s) to the tower's floats, on their device."""
    mean = torch.tensor(preprocessing.mean, device=pictures.device).view(3, 1, 1)
    std = torch.tensor(preprocessing.std, device=pictures.device).view(3, 1, 1)
    # In place: the floats are four times as many bytes as the picture.
    return pictures.float().div_(255).sub_(mean).div_(std)
