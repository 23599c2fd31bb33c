"""Pictures in which nobody can be recognised, made before they leave the process."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

SQUARES = 28
"""Along the longer side of a picture, however small the faces in it are."""
SQUARES_WITHOUT_FACES = 12
"""The same where it is not known how large faces are: one may fill half of the picture."""
SQUARES_ACROSS_FACE = 6
"""At most, along the longer side of the largest face that was found."""


def squares_of(face_share: float) -> int:
    """Return along how many squares a picture is averaged.

    Parameters
    ----------
    face_share : float
        Longer side of the largest face over the longer side of the picture; 0 where none is known.
    """
    if face_share <= 0:
        return SQUARES_WITHOUT_FACES
    return max(2, min(SQUARES, int(SQUARES_ACROSS_FACE / face_share)))


def blurred_png(image: np.ndarray, *, squares: int) -> bytes:
    """Average a picture to coarse squares, one pixel each, and encode it.

    No blur can be undone that was never sent: the file holds one colour a square.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
    squares : int
        Along the longer side.
    """
    height, width = image.shape[:2]
    share = squares / max(height, width)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    coarse = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    file = io.BytesIO()
    coarse.save(file, format="PNG")
    return file.getvalue()
