"""Faces in single pictures: what a detector gives, and the crop that the model sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Face:
    """A box around a face.

    Attributes
    ----------
    left, top, width, height : float
        Pixels of the upright picture; the box may reach over its border.
    score : float
        The detector's confidence in (0, 1].
    """

    left: float
    top: float
    width: float
    height: float
    score: float

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.width * self.height


class FaceDetector(Protocol):
    """Anything that finds faces in one picture."""

    name: str

    def detect(self, image: np.ndarray) -> tuple[Face, ...]:
        """Return the faces of an RGB picture (uint8, (height, width, 3)), best score first."""
        ...


def overlap(first: Face, second: Face) -> float:
    """Return the intersection over union of two boxes, in [0, 1]."""
    width = min(first.left + first.width, second.left + second.width) - max(first.left, second.left)
    height = min(first.top + first.height, second.top + second.height) - max(first.top, second.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (first.area + second.area - shared)


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
        Interpolated box; its score is the lower of the two.
    """

    def blend(a: float, b: float) -> float:
        return a + share * (b - a)

    return Face(
        left=blend(first.left, second.left),
        top=blend(first.top, second.top),
        width=blend(first.width, second.width),
        height=blend(first.height, second.height),
        score=min(first.score, second.score),
    )


def crop_face(image: np.ndarray, face: Face, *, margin: float) -> np.ndarray:
    """Cut a square around a face; what lies outside the picture is black.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB.
    face : Face
        The box.
    margin : float
        Added on each side, as a share of the box's longer side.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)
        The face at the centre; the face is not stretched.
    """
    side = max(1, round(max(face.width, face.height) * (1 + 2 * margin)))
    left = round(face.left + face.width / 2 - side / 2)
    top = round(face.top + face.height / 2 - side / 2)
    height, width = image.shape[:2]
    square = np.zeros((side, side, 3), dtype=np.uint8)
    rows = slice(max(top, 0), min(top + side, height))
    columns = slice(max(left, 0), min(left + side, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        square[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = (
            image[rows, columns]
        )
    return square
