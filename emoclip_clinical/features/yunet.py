"""The YuNet detector (Wu et al. 2023, Machine Intelligence Research 20), run by OpenCV.

The network (0.3 MB, MIT or Apache-2.0, from the libfacedetection project) is not shipped: the
settings name a local ONNX file, or let it be fetched, see `yunet_weights`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from emoclip_clinical.features.faces import Face
from emoclip_clinical.records import InputError

_LARGEST_OVERLAP = 0.3
_MOST_CANDIDATES = 5000


class YuNet:
    """YuNet on the CPU.

    Parameters
    ----------
    weights : Path
        ONNX file for ``cv2.FaceDetectorYN``.
    longest_side_pixels : int, default 480
        Larger pictures are reduced to this before they are looked at.
    minimum_score : float, default 0.5
        Faces that score less are left out.

    Raises
    ------
    InputError
        If OpenCV is not installed, or the file is not there or no such network.
    """

    name = "yunet"

    def __init__(
        self, weights: Path, *, longest_side_pixels: int = 480, minimum_score: float = 0.5
    ) -> None:
        try:
            import cv2
        except ImportError as error:
            raise InputError(
                f"the yunet detector needs OpenCV ({error}): pip install opencv-python-headless"
            ) from None
        if not weights.is_file():
            raise InputError(f"yunet_weights must name an ONNX file, got no such file: {weights}")
        self.longest_side_pixels = longest_side_pixels
        self._cv2 = cv2
        # The object holds the picture's size between calls; several interviews may share it.
        self._lock = threading.Lock()
        try:
            self._network = cv2.FaceDetectorYN.create(
                str(weights), "", (320, 320), minimum_score, _LARGEST_OVERLAP, _MOST_CANDIDATES
            )
        except cv2.error:
            raise InputError(
                f"yunet_weights is not a network that OpenCV reads: {weights}"
            ) from None

    def detect(self, image: np.ndarray) -> tuple[Face, ...]:
        """Find the faces of a picture.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            RGB.

        Returns
        -------
        tuple of Face
            Best score first, in the picture's own pixels.
        """
        height, width = image.shape[:2]
        reduction = min(1.0, self.longest_side_pixels / max(height, width))
        seen = (max(1, round(width * reduction)), max(1, round(height * reduction)))
        small = self._cv2.resize(image, seen, interpolation=self._cv2.INTER_AREA)
        with self._lock:
            self._network.setInputSize(seen)
            rows: Any = self._network.detect(np.ascontiguousarray(small[:, :, ::-1]))[1]
        to_picture = np.array([width / seen[0], height / seen[1]])
        # OpenCV gives None, against its type, where there is no face.
        found = np.zeros((0, 15)) if rows is None else np.asarray(rows, dtype=np.float64)
        faces = [_face(row, to_picture) for row in found]
        return tuple(sorted(faces, key=lambda face: -face.score))


def _face(row: np.ndarray, to_picture: np.ndarray) -> Face:
    """Read one row: box, ten coordinates of five points with the eyes first, score."""
    left, top = (row[0:2] * to_picture).tolist()
    width, height = (row[2:4] * to_picture).tolist()
    first_x, first_y = (row[4:6] * to_picture).tolist()
    second_x, second_y = (row[6:8] * to_picture).tolist()
    return Face(
        left, top, width, height, float(row[14]), ((first_x, first_y), (second_x, second_y))
    )
