"""Scene cuts, measured on the pictures themselves."""

from __future__ import annotations

import numpy as np

_BLOCKS = 4
_BLOCK_PIXELS = 24
_LEVELS = 16

SMALLEST_CHANGE = 0.3
"""Change, in [0, 1], from which on two pictures are two scenes.

Faces that fill the picture and shake change it by up to 0.25 within a fifth of a second; cuts,
also those that only swap the sides of two people, by 0.55 or more.
"""


class CutDetector:
    """Tell whether the scene changed between two sampled pictures."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._last_shape: tuple[int, ...] = ()

    def is_cut(self, image: np.ndarray) -> bool:
        """Compare a picture with the one before.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            RGB.

        Returns
        -------
        bool
            Whether `scene_change` is at least `SMALLEST_CHANGE`, or the picture's size changed;
            False for the first picture.
        """
        levels = block_levels(image)
        last, self._last = self._last, levels
        last_shape, self._last_shape = self._last_shape, image.shape
        if last is None:
            return False
        return last_shape != image.shape or scene_change(last, levels) >= SMALLEST_CHANGE


def block_levels(image: np.ndarray) -> np.ndarray:
    """Describe where in a picture how much light and dark is.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB.

    Returns
    -------
    ndarray of float64, shape (16, 16)
        For each of 4 by 4 blocks the share of its points in each of 16 levels of luma (ITU-R
        BT.601), on a grid of 96 by 96 points.
    """
    n_points = _BLOCKS * _BLOCK_PIXELS
    rows, columns = (
        np.linspace(0, side - 1, n_points).round().astype(np.intp) for side in image.shape[:2]
    )
    luma = image[rows[:, None], columns].astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    level = np.minimum((luma * _LEVELS / 256).astype(np.intp), _LEVELS - 1)
    block = np.arange(n_points) // _BLOCK_PIXELS
    place = (block[:, None] * _BLOCKS + block) * _LEVELS + level
    counts = np.bincount(place.ravel(), minlength=_BLOCKS**2 * _LEVELS)
    return counts.reshape(_BLOCKS**2, _LEVELS) / _BLOCK_PIXELS**2


def scene_change(first: np.ndarray, second: np.ndarray) -> float:
    """Compare two pictures by `block_levels`.

    Parameters
    ----------
    first, second : ndarray of shape (n_blocks, n_levels)
        Shares; each row sums to 1.

    Returns
    -------
    float
        Mean over the blocks of the Hellinger distance (Bhattacharyya 1943), in [0, 1].
    """
    shared = np.sqrt(first * second).sum(axis=1)
    return float(np.sqrt(np.clip(1.0 - shared, 0.0, None)).mean())
