"""What a person looks like, cheaply: enough to tell two people in one recording apart.

Colours of the hair, the face and the clothes (a joint histogram of chroma and one of luma for each
of the three zones) and the face's light and dark pattern. It holds within one recording, with one
camera and one set of clothes; it is no face recognition and says nothing across recordings.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from emoclip_clinical.features.faces import Face

_CHROMA_BINS, _LUMA_BINS, _PATTERN_PIXELS = 24, 16, 16
_CHROMA_REACH = 60.0
_ZONE_SAMPLES = 24

# Left, top, width and height of each zone, as shares of the box's width and height.
_ZONES = ((0.0, -0.35, 1.0, 0.4), (0.1, 0.1, 0.8, 0.8), (-0.4, 1.1, 1.8, 0.7))
N_PARTS = 2 * len(_ZONES) + 1


@dataclass(frozen=True)
class Appearance:
    """What one face looked like in one picture.

    Attributes
    ----------
    parts : tuple of ndarray or None
        Chroma and luma of hair, face and clothes, then the pattern; each a vector of length 1,
        None where the zone lies outside the picture.
    """

    parts: tuple[np.ndarray | None, ...]


@dataclass
class MeanAppearance:
    """The average of many appearances; what is kept does not grow with their number.

    Attributes
    ----------
    sums : list of ndarray or None
        Sum of each part over the pictures that have it.
    """

    sums: list[np.ndarray | None] = field(default_factory=lambda: [None] * N_PARTS)

    def add(self, appearance: Appearance) -> None:
        """Take one more picture."""
        self._add(appearance.parts)

    def merge(self, other: MeanAppearance) -> None:
        """Take the pictures of another average."""
        self._add(tuple(other.sums))

    def _add(self, parts: tuple[np.ndarray | None, ...]) -> None:
        for index, part in enumerate(parts):
            present = self.sums[index]
            if part is not None:
                self.sums[index] = part if present is None else present + part

    @property
    def mean(self) -> Appearance:
        """The average, its parts brought back to length 1."""
        return Appearance(tuple(None if part is None else _unit(part) for part in self.sums))


def appearance(image: np.ndarray, face: Face) -> Appearance:
    """Describe what a face and its surroundings look like.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB.
    face : Face
        The box.

    Returns
    -------
    Appearance
        Its parts.
    """
    parts: list[np.ndarray | None] = []
    for left, top, width, height in _ZONES:
        zone = _zone(
            image,
            left=face.left + left * face.width,
            top=face.top + top * face.height,
            width=width * face.width,
            height=height * face.height,
        )
        parts.extend((None, None) if zone is None else _colours(zone))
    parts.append(_pattern(image, face))
    return Appearance(tuple(parts))


def difference(first: Appearance, second: Appearance) -> float:
    """Compare two appearances.

    Parameters
    ----------
    first, second : Appearance
        To compare.

    Returns
    -------
    float
        Mean over the parts that both have, in [0, 1]: the Hellinger distance of histograms
        (Bhattacharyya 1943), one minus the correlation of patterns. 1 where they share no part.
    """
    values = []
    for index, (a, b) in enumerate(zip(first.parts, second.parts, strict=True)):
        if a is None or b is None:
            continue
        distance = max(0.0, 1.0 - float(a @ b))
        values.append(min(distance, 1.0) if index == N_PARTS - 1 else distance**0.5)
    return float(np.mean(values)) if values else 1.0


def pattern_difference(first: Appearance, second: Appearance) -> float | None:
    """Compare the light and dark of two faces alone, which the colour of the light leaves as it is.

    Parameters
    ----------
    first, second : Appearance
        To compare.

    Returns
    -------
    float or None
        One minus the correlation, cut off at 1; None where one of them has no pattern.
    """
    a, b = first.parts[-1], second.parts[-1]
    return None if a is None or b is None else min(1.0, max(0.0, 1.0 - float(a @ b)))


def _zone(
    image: np.ndarray, *, left: float, top: float, width: float, height: float
) -> np.ndarray | None:
    rows = slice(max(0, round(top)), min(image.shape[0], round(top + height)))
    columns = slice(max(0, round(left)), min(image.shape[1], round(left + width)))
    tall, wide = rows.stop - rows.start, columns.stop - columns.start
    # A sliver at the picture's edge says more about the edge than about the person.
    if tall < max(2, 0.25 * height) or wide < max(2, 0.25 * width):
        return None
    step_down, step_right = max(1, tall // _ZONE_SAMPLES), max(1, wide // _ZONE_SAMPLES)
    return image[rows, columns][::step_down, ::step_right].reshape(-1, 3).astype(np.float32)


def _colours(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # ITU-R BT.601.
    luma = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    blue = 0.564 * (pixels[:, 2] - luma)
    red = 0.713 * (pixels[:, 0] - luma)
    places = [
        np.clip((chroma + _CHROMA_REACH) * _CHROMA_BINS / (2 * _CHROMA_REACH), 0, _CHROMA_BINS - 1)
        for chroma in (blue, red)
    ]
    joint = places[0].astype(np.intp) * _CHROMA_BINS + places[1].astype(np.intp)
    chroma = np.bincount(joint, minlength=_CHROMA_BINS**2).reshape(_CHROMA_BINS, _CHROMA_BINS)
    levels = np.bincount((luma * _LUMA_BINS / 256).astype(np.intp), minlength=_LUMA_BINS)
    # Blurring lets neighbouring bins stand for each other when the light changes a little.
    softened = _blurred(_blurred(chroma.astype(np.float64)).T)
    return _unit(np.sqrt(softened.ravel())), _unit(np.sqrt(_blurred(levels.astype(np.float64))))


def _blurred(counts: np.ndarray) -> np.ndarray:
    padded = np.concatenate([counts[:1], counts, counts[-1:]])
    return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]


def _pattern(image: np.ndarray, face: Face) -> np.ndarray | None:
    height, width = image.shape[:2]
    left, top = max(0, int(face.left)), max(0, int(face.top))
    right = min(width, round(face.left + face.width))
    bottom = min(height, round(face.top + face.height))
    if right - left < 2 or bottom - top < 2:
        return None
    grey = Image.fromarray(image[top:bottom, left:right]).convert("L")
    small = grey.resize((_PATTERN_PIXELS, _PATTERN_PIXELS), Image.Resampling.BILINEAR)
    values = np.asarray(small, dtype=np.float64).ravel()
    values = values - values.mean()
    return _unit(values) if np.linalg.norm(values) > 0 else None


def _unit(vector: np.ndarray) -> np.ndarray:
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm > 0 else vector
