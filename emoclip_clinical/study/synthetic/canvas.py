"""A stack of pictures that is painted in a face's own coordinates with soft-edged masks.

The origin is the middle of the head, x runs to the viewer's right, y down, and one unit is half
the height of the head. A mask is made from a signed distance (negative inside, in units) and
falls from 1 to 0 over one pixel, so that edges move smoothly with less than a pixel of motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .appearance import Colour

Plane = NDArray[np.float32]
Window = tuple[slice, slice, slice]


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
        self.edge = (1.0 / pose.unit_pixels).astype(np.float32)
        pixels = np.arange(size_pixels, dtype=np.float32) + np.float32(0.5)
        dx = (pixels[None, None, :] - pose.centre_x) / pose.unit_pixels
        dy = (pixels[None, :, None] - pose.centre_y) / pose.unit_pixels
        cos, sin = np.cos(pose.roll), np.sin(pose.roll)
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
        cos, sin = np.cos(pose.roll), np.sin(pose.roll)
        column = pose.centre_x + pose.unit_pixels * (at_x * cos - at_y * sin)
        row = pose.centre_y + pose.unit_pixels * (at_x * sin + at_y * cos)
        half_columns = pose.unit_pixels * (width * np.abs(cos) + height * np.abs(sin))
        half_rows = pose.unit_pixels * (height * np.abs(cos) + width * np.abs(sin))
        rows = self._span(row, half_rows)
        columns = self._span(column, half_columns)
        window = (slice(None), rows, columns)
        return Patch(window=window, x=self.x[window] - at_x, y=self.y[window] - at_y)

    def _span(self, centre: Plane, half: Plane) -> slice:
        last = self.size_pixels - 1
        start = int(np.clip(np.floor((centre - half).min()) - 1, 0, last))
        stop = int(np.clip(np.ceil((centre + half).max()) + 1, start + 1, self.size_pixels))
        return slice(start, stop)

    def soft(self, distance: Plane) -> Plane:
        """Turn signed distances in units into a mask from 0 to 1, one pixel soft."""
        mask = distance / -self.edge
        mask += np.float32(0.5)
        return np.clip(mask, 0, 1, out=mask)

    def paint(self, patch: Patch, mask: Plane, colour: Colour) -> None:
        """Lay a colour over the patch where the mask is 1, and mix it in between."""
        for plane, value in zip(self.colour, colour, strict=True):
            view = plane[patch.window]
            view += mask * (np.float32(value) - view)

    def shade(self, patch: Patch, factor: Plane) -> None:
        """Multiply the patch's brightness by a factor."""
        for plane in self.colour:
            plane[patch.window] *= factor

    def finish(self) -> NDArray[np.uint8]:
        """Return the pictures, shape (n_frames, size, size, 3), red, green and blue."""
        np.clip(self.colour, 0, 255, out=self.colour)
        return np.ascontiguousarray(np.moveaxis(self.colour, 0, -1)).astype(np.uint8)


def mixed(first: Colour, second: Colour, *, share: float) -> Colour:
    """Return the colour between two, `share` of the way from the first to the second."""
    red, green, blue = (a + share * (b - a) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darker(colour: Colour, *, factor: float) -> Colour:
    """Return the colour with its brightness multiplied by `factor`."""
    red, green, blue = (c * factor for c in colour)
    return red, green, blue
