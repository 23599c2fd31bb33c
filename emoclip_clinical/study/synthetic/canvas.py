"""A stack of pictures that is painted in a face's own coordinates with soft-edged masks.

The origin is the middle of the head, x runs to the viewer's right, y down, and one unit is half
the height of the head. A mask is made from a signed distance (negative inside, in units) and
falls from 1 to 0 over one pixel, so that edges move smoothly with less than a pixel of motion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .appearance import Colour

Plane = NDArray[np.float32]
Window = tuple[slice, slice, slice]

_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)


@dataclass(frozen=True)
class Pose:
    """Where the head stands in each frame.

    Attributes
    ----------
    centre_x, centre_y : ndarray of shape (n_frames, 1, 1)
        Middle of the head, pixels.
    unit_pixels : ndarray of shape (n_frames, 1, 1)
        Length of one unit, pixels.
    roll : ndarray of shape (n_frames, 1, 1)
        Clockwise tilt, radians.
    shift_x, shift_y : ndarray of shape (n_frames, 1, 1)
        How far turning and nodding move the features on the head, units.
    """

    centre_x: Plane
    centre_y: Plane
    unit_pixels: Plane
    roll: Plane
    shift_x: Plane
    shift_y: Plane


@dataclass(frozen=True)
class Patch:
    """A rectangle of the picture in the coordinates of one facial feature.

    Attributes
    ----------
    window : tuple of slice
        Frames, rows and columns.
    x, y : ndarray of shape (n_frames, n_rows, n_columns)
        Coordinates in units, with the feature's place as origin.
    """

    window: Window
    x: Plane
    y: Plane


class Canvas:
    """Pictures of shape (n_frames, size, size) being painted, as three planes of colour.

    Parameters
    ----------
    pose : Pose
    size_pixels : int
    """

    def __init__(self, pose: Pose, *, size_pixels: int) -> None:
        self.pose = pose
        self.size_pixels = size_pixels
        self.n_frames = len(pose.roll)
        self._minus_pixels = -pose.unit_pixels
        pixels = np.arange(size_pixels, dtype=np.float32) + np.float32(0.5)
        dx = (pixels[None, None, :] - pose.centre_x) / pose.unit_pixels
        dy = (pixels[None, :, None] - pose.centre_y) / pose.unit_pixels
        cos, sin = self._cos, self._sin = np.cos(pose.roll), np.sin(pose.roll)
        self.x: Plane = dx * cos + dy * sin
        self.y: Plane = dy * cos - dx * sin
        self.colour: Plane = np.empty((3, *self.x.shape), dtype=np.float32)

    def everything(self) -> Patch:
        """Return the whole picture in the head's coordinates."""
        full = slice(None)
        return Patch(window=(full, full, full), x=self.x, y=self.y)

    def patch(self, x: Plane, y: Plane, *, width: float, height: float) -> Patch:
        """Return the pixels around a feature, for all frames at once.

        Parameters
        ----------
        x, y : ndarray of shape (n_frames, 1, 1)
            The feature's place on a head that looks ahead, units.
        width, height : float
            Half the width and half the height to cover, units.

        Returns
        -------
        Patch
            At least one pixel large, also for a feature outside the picture.
        """
        pose = self.pose
        at_x, at_y = x + pose.shift_x, y + pose.shift_y
        cos, sin = self._cos, self._sin
        column = pose.centre_x + pose.unit_pixels * (at_x * cos - at_y * sin)
        row = pose.centre_y + pose.unit_pixels * (at_x * sin + at_y * cos)
        # cos is near 1 for a head's tilt, so only the sine widens the box
        tilt = float(np.abs(sin).max())
        unit = float(pose.unit_pixels.max())
        rows = self._span(row, unit * (height + width * tilt))
        columns = self._span(column, unit * (width + height * tilt))
        window = (slice(None), rows, columns)
        return Patch(window=window, x=self.x[window] - at_x, y=self.y[window] - at_y)

    def _span(self, centre: Plane, half: float) -> slice:
        start = math.floor(float(centre.min()) - half)
        start = min(max(start, 0), self.size_pixels - 1)
        stop = math.ceil(float(centre.max()) + half)
        return slice(start, min(max(stop, start + 1), self.size_pixels))

    def soft(self, distance: Plane) -> Plane:
        """Turn signed distances in units into a mask from 0 to 1, one pixel soft."""
        mask: Plane = distance * self._minus_pixels
        mask += _HALF
        np.minimum(mask, _ONE, out=mask)
        return np.maximum(mask, _ZERO, out=mask)

    def paint(self, patch: Patch, mask: Plane, colour: Colour) -> None:
        """Lay a colour over the patch where the mask is 1, and mix it in between."""
        for plane, value in zip(self.colour, colour, strict=True):
            view = plane[patch.window]
            change = np.float32(value) - view
            change *= mask
            view += change

    def finish(self) -> NDArray[np.uint8]:
        """Return the pictures, shape (n_frames, size, size, 3), red, green and blue."""
        np.minimum(self.colour, np.float32(255), out=self.colour)
        np.maximum(self.colour, _ZERO, out=self.colour)
        pictures = np.empty((*self.x.shape, 3), dtype=np.uint8)
        for channel, plane in enumerate(self.colour):
            pictures[..., channel] = plane
        return pictures


def mixed(first: Colour, second: Colour, *, share: float) -> Colour:
    """Return the colour between two, `share` of the way from the first to the second."""
    red, green, blue = (a + share * (b - a) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darker(colour: Colour, *, factor: float) -> Colour:
    """Return the colour with its brightness multiplied by `factor`."""
    red, green, blue = (c * factor for c in colour)
    return red, green, blue
