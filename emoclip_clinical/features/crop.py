"""The square picture of a face that the model sees."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from emoclip_clinical.features.faces import Face


def crop_face(image: np.ndarray, face: Face, *, margin: float, upright: bool = False) -> np.ndarray:
    """Cut a square around a face; what lies outside the picture is black.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB.
    face : Face
        The box.
    margin : float
        Added on each side, as a share of the box's longer side.
    upright : bool, default False
        Turn the square so that the eyes stand level; without eyes it stays as it is.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)
        The face at the centre; the face is not stretched.
    """
    side = max(1, round(max(face.width, face.height) * (1 + 2 * margin)))
    tilt = eye_tilt(face) if upright else 0.0
    if tilt:
        return _turned(image, face, side=side, tilt=tilt)
    x, y = face.centre
    return _square(image, left=round(x - side / 2), top=round(y - side / 2), side=side)


def eye_tilt(face: Face) -> float:
    """Return the angle of the line through the eyes.

    Parameters
    ----------
    face : Face
        With eyes or without.

    Returns
    -------
    float
        Radians, positive where the eye on the right stands lower; 0 without eyes.
    """
    if face.eyes is None:
        return 0.0
    (left_x, left_y), (right_x, right_y) = face.eyes
    return math.atan2(right_y - left_y, right_x - left_x)


def _square(image: np.ndarray, *, left: int, top: int, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    square = np.zeros((side, side, 3), dtype=np.uint8)
    rows = slice(max(top, 0), min(top + side, height))
    columns = slice(max(left, 0), min(left + side, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        square[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = (
            image[rows, columns]
        )
    return square


def _turned(image: np.ndarray, face: Face, *, side: int, tilt: float) -> np.ndarray:
    # A square that holds the turned one is cut first: turning the whole picture costs more.
    outer = math.ceil(side * math.sqrt(2)) + 4
    x, y = face.centre
    left, top = round(x - outer / 2), round(y - outer / 2)
    cosine, sine = math.cos(tilt), math.sin(tilt)
    half = side / 2
    turned = Image.fromarray(_square(image, left=left, top=top, side=outer)).transform(
        (side, side),
        Image.Transform.AFFINE,
        (
            cosine,
            -sine,
            x - left - cosine * half + sine * half,
            sine,
            cosine,
            y - top - sine * half - cosine * half,
        ),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(turned)
