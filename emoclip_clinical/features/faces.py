"""Faces in single pictures: what a detector gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Face:
    """A box around a face.

    Attributes
    ----------
    left, top, width, height : float
        Pixels of the upright picture; the box may reach over its border.
    score : float
        The detector's confidence in (0, 1].
    eyes : tuple of two points, or None
        Left and right of the picture, each (x, y) in pixels; None where the detector gives none.
    """

    left: float
    top: float
    width: float
    height: float
    score: float
    eyes: tuple[Point, Point] | None = None

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.width * self.height

    @property
    def centre(self) -> Point:
        """The box's middle, (x, y) in pixels."""
        return self.left + self.width / 2, self.top + self.height / 2


class FaceDetector(Protocol):
    """Anything that finds faces in one picture."""

    name: str

    def detect(self, image: np.ndarray) -> tuple[Face, ...]:
        """Return the faces of an RGB picture (uint8, (height, width, 3)), best score first."""
        ...


def shared_area(first: Face, second: Face) -> float:
    """Return the area that two boxes have in common, in square pixels."""
    width = min(first.left + first.width, second.left + second.width) - max(first.left, second.left)
    height = min(first.top + first.height, second.top + second.height) - max(first.top, second.top)
    return width * height if width > 0 and height > 0 else 0.0


def overlap(first: Face, second: Face) -> float:
    """Return the intersection over union of two boxes, in [0, 1]."""
    shared = shared_area(first, second)
    return shared / (first.area + second.area - shared) if shared else 0.0


def between(first: Face, second: Face, *, share: float) -> Face:
    """Return the box on the straight way from one to the other.

    Parameters
    ----------
    first, second : Face
        The ends.
    share : float
        0 at the first, 1 at the second.

    Returns
    -------
    Face
        Interpolated box, and eyes where both have them; its score is the lower of the two.
    """

    def blend(a: float, b: float) -> float:
        return a + share * (b - a)

    def blended(a: Point, b: Point) -> Point:
        return blend(a[0], b[0]), blend(a[1], b[1])

    eyes = None
    if first.eyes is not None and second.eyes is not None:
        eyes = (blended(first.eyes[0], second.eyes[0]), blended(first.eyes[1], second.eyes[1]))
    return Face(
        left=blend(first.left, second.left),
        top=blend(first.top, second.top),
        width=blend(first.width, second.width),
        height=blend(first.height, second.height),
        score=min(first.score, second.score),
        eyes=eyes,
    )
