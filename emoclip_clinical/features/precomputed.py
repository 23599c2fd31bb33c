"""Boxes that another tool has found: read from a table instead of looked for.

One table for each interview, ``<interview>.csv``, in one of three forms, known by its columns:

- our own: ``seconds, left, top, width, height[, score]``, pixels of the upright picture;
- OpenFace 2: ``timestamp, confidence, x_0 … x_67, y_0 … y_67[, success, frame]``; the box is the
  one of the 68 points, raised by a third of its height for the forehead;
- py-feat: ``frame, FaceRectX, FaceRectY, FaceRectWidth, FaceRectHeight[, FaceScore]``, with the
  video's constant frame rate, since it writes no times of its own.

Our own times are on the video's own clock, as everywhere. OpenFace and py-feat know no clock: they
count pictures from the first one, at one rate; `counted_boxes` puts theirs on the video's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.features.faces import Face
from emoclip_clinical.records import InputError
from emoclip_clinical.tables import limit_faults

_OWN = ("seconds", "left", "top", "width", "height")
_PYFEAT = ("frame", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
_POINTS = 68
_OPENFACE = (
    "timestamp",
    "confidence",
    *(f"x_{k}" for k in range(_POINTS)),
    *(f"y_{k}" for k in range(_POINTS)),
)
_SCORES = {"own": "score", "py-feat": "FaceScore", "OpenFace": "confidence"}
_WANTED = frozenset({*_OWN, *_PYFEAT, *_OPENFACE, *_SCORES.values(), "success"})
_FOREHEAD_SHARE = 1 / 3
_SMALLEST_TOLERANCE_SECONDS = 0.02

Parsed = tuple[np.ndarray, np.ndarray]
"""Times (n,) and boxes (n, 4)."""


@dataclass(frozen=True)
class FaceTable:
    """Every box of one interview.

    Attributes
    ----------
    seconds : ndarray of float64, shape (n_times,)
        Rising times at which there are rows; a time without a face has an empty tuple.
    faces : tuple of tuple of Face
        The faces at each time.
    tolerance_seconds : float
        How far a picture may be from the nearest row: half the usual step.
    pictures : ndarray of int, shape (n_times,), or None
        Where a tool counts from the first picture: which picture, from 0, each time stands for.
        None where times are on the video's own clock.
    """

    seconds: np.ndarray
    faces: tuple[tuple[Face, ...], ...]
    tolerance_seconds: float
    pictures: np.ndarray | None = None

    def at(self, seconds: float) -> tuple[Face, ...]:
        """Return the faces at a moment, best score first; none where no row is near."""
        if not len(self.seconds):
            return ()
        after = int(np.searchsorted(self.seconds, seconds))
        near = [k for k in (after - 1, after) if 0 <= k < len(self.seconds)]
        nearest = min(near, key=lambda k: abs(float(self.seconds[k]) - seconds))
        distance = abs(float(self.seconds[nearest]) - seconds)
        return self.faces[nearest] if distance <= self.tolerance_seconds + 1e-6 else ()


def read_face_table(
    path: Path, *, minimum_score: float, frames_per_second: float | None = None
) -> FaceTable:
    """Read one interview's boxes.

    Parameters
    ----------
    path : Path
        A CSV in one of the three forms.
    minimum_score : float
        Faces that score less are left out; rows without a score count as 1.
    frames_per_second : float, optional
        Turns py-feat's frame numbers into times.

    Returns
    -------
    FaceTable
        Its boxes.

    Raises
    ------
    InputError
        With every fault: no known form, no times, cells that are no finite numbers, sizes that
        are not above 0. Messages name rows and columns, never the file.
    """
    frame = _columns(path)
    form = _form(frame, frames_per_second)
    frame = _numbers(frame)
    seconds, boxes = {"own": _own, "py-feat": _pyfeat, "OpenFace": _openface}[form](
        frame, frames_per_second or 1.0
    )
    score = frame.get(_SCORES[form])
    scores = np.ones(len(frame)) if score is None else score.fillna(1.0).to_numpy(dtype=float)
    # Tools write a row without a box, or with success 0, where they saw no face.
    found = np.isfinite(boxes).all(axis=1)
    if "success" in frame.columns:
        found &= frame["success"].to_numpy(dtype=float) > 0
    _check(seconds, boxes, found)
    table = _table(seconds, boxes, np.clip(scores, 1e-6, 1.0), found & (scores >= minimum_score))
    return table if form == "own" else replace(table, pictures=_pictures(frame, form, seconds))


def _columns(path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = max(",;\t", key=header.count)
        # OpenFace writes 700 columns: only what is used is held.
        frame: pd.DataFrame = pd.read_csv(
            path,
            sep=separator,
            encoding="utf-8-sig",
            skipinitialspace=True,
            usecols=lambda name: name.strip() in _WANTED,
            dtype=str,
        ).rename(columns=str.strip)
        return frame
    except UnicodeDecodeError as error:
        raise InputError(f"the bytes are not UTF-8 (at byte {error.start})") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise InputError(f"not a table of comma-separated values ({error})") from None
    except OSError as error:
        raise InputError(f"it can not be read ({error.strerror})") from None


def _form(frame: pd.DataFrame, frames_per_second: float | None) -> str:
    present = set(frame.columns)
    if present >= set(_OWN):
        return "own"
    if present >= set(_OPENFACE):
        return "OpenFace"
    if present >= set(_PYFEAT):
        if frames_per_second is None:
            raise InputError(
                "py-feat numbers frames and gives no times: set boxes_fps to the video's constant "
                "frame rate, or add the columns of the form seconds, left, top, width, height"
            )
        return "py-feat"
    raise InputError(
        "wanted the columns seconds, left, top, width, height; or OpenFace's timestamp, "
        "confidence, x_0 to x_67, y_0 to y_67; or py-feat's frame, FaceRectX, FaceRectY, "
        f"FaceRectWidth, FaceRectHeight; got of these {', '.join(sorted(present)) or 'none'}"
    )


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    numbers: pd.DataFrame = frame.apply(pd.to_numeric, errors="coerce")
    wrong = frame.notna() & numbers.isna()
    places = [(int(r), str(frame.columns[c])) for r, c in zip(*np.nonzero(wrong), strict=True)]
    if places:
        raise InputError(
            limit_faults(
                [
                    f"{column} must be a number, got {frame.at[row, column]!r} (row {row + 2})"
                    for row, column in places
                ]
            )
        )
    return numbers


def _own(frame: pd.DataFrame, _: float) -> Parsed:
    return frame["seconds"].to_numpy(dtype=float), frame[list(_OWN[1:])].to_numpy(dtype=float)


def _pyfeat(frame: pd.DataFrame, frames_per_second: float) -> Parsed:
    return (
        frame["frame"].to_numpy(dtype=float) / frames_per_second,
        frame[list(_PYFEAT[1:])].to_numpy(dtype=float),
    )


def _openface(frame: pd.DataFrame, _: float) -> Parsed:
    x = frame[[f"x_{k}" for k in range(_POINTS)]].to_numpy(dtype=float)
    y = frame[[f"y_{k}" for k in range(_POINTS)]].to_numpy(dtype=float)
    left, top, right, bottom = x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)
    raised = top - _FOREHEAD_SHARE * (bottom - top)
    return (
        frame["timestamp"].to_numpy(dtype=float),
        np.stack([left, raised, right - left, bottom - raised], axis=1),
    )


def _pictures(frame: pd.DataFrame, form: str, seconds: np.ndarray) -> np.ndarray:
    """Return which picture each time stands for; OpenFace numbers them from 1, py-feat from 0."""
    times, row = np.unique(seconds, return_index=True)
    numbers = frame.get("frame")
    if numbers is None or not np.isfinite(numbers.to_numpy(dtype=float)).all():
        # Without numbers: a row for each picture, with or without a face.
        return np.arange(len(times))
    first = 1 if form == "OpenFace" else 0
    return np.asarray(numbers.to_numpy(dtype=float)[row].round().astype(np.int64) - first)


def _check(seconds: np.ndarray, boxes: np.ndarray, found: np.ndarray) -> None:
    faults = [f"a time is missing (row {row + 2})" for row in np.flatnonzero(~np.isfinite(seconds))]
    flat = found & ((boxes[:, 2] <= 0) | (boxes[:, 3] <= 0))
    faults += [
        f"width and height must be above 0, got {boxes[row, 2]:g} and {boxes[row, 3]:g} "
        f"(row {row + 2})"
        for row in np.flatnonzero(flat)
    ]
    if faults:
        raise InputError(limit_faults(faults))


def _table(
    seconds: np.ndarray, boxes: np.ndarray, scores: np.ndarray, found: np.ndarray
) -> FaceTable:
    times, place = np.unique(seconds, return_inverse=True)
    faces: list[list[Face]] = [[] for _ in times]
    for row in np.lexsort((-scores, place)):
        if found[row]:
            left, top, width, height = boxes[row].tolist()
            faces[place[row]].append(Face(left, top, width, height, float(scores[row])))
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return FaceTable(
        seconds=times,
        faces=tuple(tuple(group) for group in faces),
        tolerance_seconds=max(step / 2, _SMALLEST_TOLERANCE_SECONDS),
    )
