"""RetinaFace and MobileFace from the optional ``uniface`` package (MIT licence).

They find faces (``detector: uniface``) and compare one with a reference picture (``patient:
reference``). The package fetches its weights when a network is made; here that happens only with
``fetch_weights: true``, otherwise they must lie in its cache. What licence the weights are under
stands in the package's own list; it is not MIT for all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from emoclip_clinical.features.faces import Face
from emoclip_clinical.records import InputError

_CPU = ["CPUExecutionProvider"]


class _Network(Protocol):
    def detect(self, image: np.ndarray) -> list[Any]: ...


class _Recogniser(Protocol):
    def get_normalized_embedding(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray: ...


class UnifaceDetector:
    """RetinaFace (Deng et al. 2020, arXiv 1905.00641) with a MobileNet v2 body, on the CPU.

    Parameters
    ----------
    network : object
        What `load_uniface_detector` loads: ``detect(bgr)`` gives objects with ``bbox`` (left,
        top, right, bottom), ``confidence`` and ``landmarks`` (5, 2).
    """

    name = "uniface"

    def __init__(self, network: _Network) -> None:
        self._network = network
        self._lock = threading.Lock()

    def detect(self, image: np.ndarray) -> tuple[Face, ...]:
        """Find the faces of an RGB picture (uint8, (height, width, 3)), best score first."""
        faces = [_face(found) for found in self._found(image)]
        return tuple(sorted(faces, key=lambda face: -face.score))

    def best(self, image: np.ndarray) -> np.ndarray | None:
        """Return the five points, (5, 2), of the best face of an RGB picture; None without one."""
        found = self._found(image)
        if not found:
            return None
        return np.asarray(max(found, key=lambda face: float(face.confidence)).landmarks)

    def _found(self, image: np.ndarray) -> list[Any]:
        with self._lock:
            return self._network.detect(np.ascontiguousarray(image[:, :, ::-1]))


class UnifaceIdentity:
    """What makes a face one person's, as a vector.

    Parameters
    ----------
    detector : UnifaceDetector
        Finds the five points that a face is laid straight by.
    recogniser : object
        What `load_uniface_identity` loads: ``get_normalized_embedding(bgr, points)``.
    """

    def __init__(self, detector: UnifaceDetector, recogniser: _Recogniser) -> None:
        self._detector = detector
        self._recogniser = recogniser
        self._lock = threading.Lock()

    def embed(self, image: np.ndarray) -> np.ndarray | None:
        """Return the vector, of length 1, of the best face of an RGB picture; None without one."""
        points = self._detector.best(image)
        if points is None:
            return None
        with self._lock:
            vector = self._recogniser.get_normalized_embedding(
                np.ascontiguousarray(image[:, :, ::-1]), points
            )
        return np.asarray(vector, dtype=np.float64).ravel()


def load_uniface_detector(*, minimum_score: float, fetch_weights: bool) -> UnifaceDetector:
    """Load RetinaFace.

    Parameters
    ----------
    minimum_score : float
        Faces that score less are left out.
    fetch_weights : bool
        Whether missing weights may be fetched from the network.

    Raises
    ------
    InputError
        If the package or its weights are missing.
    """
    uniface, constants = _package()
    weights = constants.RetinaFaceWeights.MNET_V2
    _need(uniface, weights, fetch_weights=fetch_weights)
    network = _loaded(
        lambda: uniface.RetinaFace(
            model_name=weights, confidence_threshold=minimum_score, providers=_CPU
        )
    )
    return UnifaceDetector(network)


def load_uniface_identity(*, fetch_weights: bool) -> UnifaceIdentity:
    """Load MobileFace (Chen et al. 2018, arXiv 1804.07573) and the detector it needs.

    Parameters
    ----------
    fetch_weights : bool
        Whether missing weights may be fetched from the network.

    Raises
    ------
    InputError
        If the package or its weights are missing.
    """
    detector = load_uniface_detector(minimum_score=0.5, fetch_weights=fetch_weights)
    uniface, constants = _package()
    weights = constants.MobileFaceWeights.MNET_V2
    _need(uniface, weights, fetch_weights=fetch_weights)
    recogniser = _loaded(lambda: uniface.MobileFace(model_name=weights, providers=_CPU))
    return UnifaceIdentity(detector, recogniser)


def uniface_detector_sha256() -> str:
    """Return the SHA-256 that uniface checks the detector's weights against, for features.json.

    Raises
    ------
    InputError
        If the package is missing.
    """
    _, constants = _package()
    return str(constants.MODEL_REGISTRY[constants.RetinaFaceWeights.MNET_V2].sha256)


def _package() -> tuple[Any, Any]:
    try:
        import uniface
        from uniface import constants
    except ImportError as error:
        raise InputError(
            f"the detector 'uniface' and the patient rule 'reference' need the package uniface "
            f"({error}): pip install 'uniface[cpu]'"
        ) from None
    return uniface, constants


def _need(uniface: Any, weights: Any, *, fetch_weights: bool) -> None:
    cached = Path(uniface.get_cache_dir()) / f"{weights.value}.onnx"
    if not fetch_weights and not cached.is_file():
        raise InputError(
            f"uniface's weights {weights.value!r} are not on this machine: set fetch_weights to "
            f"true to let uniface fetch them once, or put {cached.name} into its cache folder"
        )


def _loaded(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"uniface could not load its weights: {error}") from None


def _face(found: Any) -> Face:
    left, top, right, bottom = (float(value) for value in found.bbox[:4])
    points = np.asarray(found.landmarks, dtype=np.float64)
    (first_x, first_y), (second_x, second_y) = points[:2].tolist()
    return Face(
        left,
        top,
        right - left,
        bottom - top,
        float(found.confidence),
        ((first_x, first_y), (second_x, second_y)),
    )
