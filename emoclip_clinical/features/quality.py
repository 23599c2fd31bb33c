"""How good a segment's pictures are, and whether it may be scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from emoclip_clinical.features.quality_config import QualityConfig
from emoclip_clinical.features.segments import FrameRecord, Window
from emoclip_clinical.features.thresholds import failed_thresholds

STATUSES = ("ok", "low_coverage", "no_face", "decode_error")


@dataclass(frozen=True)
class SegmentQuality:
    """The quality columns of one segment, under the contract's names.

    Attributes
    ----------
    n_frames : int
        Sampled frames that could be read.
    face_coverage : float or None
        Share of the segment's frames that show the face, in [0, 1]; those that could not be read
        do not. None where no face was looked for, or no frame was read.
    FaceRectX, FaceRectY, FaceRectWidth, FaceRectHeight : float or None
        Median box in pixels of the upright picture.
    FaceScore : float or None
        Median confidence of the detector.
    sharpness : float or None
        Median variance of the Laplacian of what the model sees; low for a blurred or small face.
    brightness : float or None
        Median mean grey level of what the model sees, 0 to 255.
    head_motion : float or None
        Mean speed of the face's box in face heights per second, see `head_motion`.
    movement : float or None
        Mean change of the frame vectors per second, see `movement`.
    status : str
        One of `STATUSES`.
    reason : str
        Empty where the status is ``ok``.
    """

    n_frames: int
    face_coverage: float | None
    FaceRectX: float | None
    FaceRectY: float | None
    FaceRectWidth: float | None
    FaceRectHeight: float | None
    FaceScore: float | None
    sharpness: float | None
    brightness: float | None
    head_motion: float | None
    movement: float | None
    status: str
    reason: str


def segment_quality(
    window: Window, *, faces_wanted: bool, thresholds: QualityConfig, source_share: float
) -> SegmentQuality:
    """Judge one segment.

    Parameters
    ----------
    window : Window
        The segment's frames.
    faces_wanted : bool
        Whether a face was looked for.
    thresholds : QualityConfig
        `minimum_coverage` is also the share of frames that must be readable. A segment that
        fails another one has the status ``low_coverage``: too little of it shows the face well
        enough, and `reason` begins with the threshold's word.
    source_share : float
        Share of the slots that the video's own frame rate can fill, in (0, 1].

    Returns
    -------
    SegmentQuality
        Its columns; what could not be measured is None.
    """
    records = window.records
    n_expected = max(1, len(records), round(window.n_slots * source_share))
    seen = [r for r in records if r.vector is not None]
    faces = [r.face for r in seen if r.face is not None]
    measured = {
        "FaceRectHeight": _median([face.height for face in faces]),
        "sharpness": _median([r.sharpness for r in seen]),
        "brightness": _median([r.brightness for r in seen]),
        "head_motion": head_motion(records),
    }
    status, reason = _status(
        n_read=len(records),
        n_seen=len(seen),
        n_others=sum(r.other_person for r in records),
        n_expected=n_expected,
        minimum_coverage=thresholds.minimum_coverage,
    )
    if status == "ok" and (failed := failed_thresholds(measured, config=thresholds)):
        status, reason = "low_coverage", failed
    return SegmentQuality(
        n_frames=len(records),
        face_coverage=len(seen) / n_expected if faces_wanted and records else None,
        FaceRectX=_median([face.left for face in faces]),
        FaceRectY=_median([face.top for face in faces]),
        FaceRectWidth=_median([face.width for face in faces]),
        FaceScore=_median([face.score for face in faces]),
        **measured,
        movement=movement(records) if status == "ok" else None,
        status=status,
        reason=reason,
    )


def _status(
    *, n_read: int, n_seen: int, n_others: int, n_expected: int, minimum_coverage: float
) -> tuple[str, str]:
    if n_read == 0:
        return "decode_error", f"none of {n_expected} frames could be read"
    if n_read / n_expected < minimum_coverage:
        return "decode_error", f"{n_read} of {n_expected} frames could be read"
    others = f"; other_person: in {n_others} a face that is not surely theirs" if n_others else ""
    if n_seen == 0:
        return "no_face", f"no face of the patient in {n_read} frames{others}"
    if n_seen / n_expected < minimum_coverage:
        unread = f"; {n_read} could be read" if n_read < n_expected else ""
        return (
            "low_coverage",
            f"the patient's face in {n_seen} of {n_expected} frames{unread}{others}",
        )
    return "ok", ""


def head_motion(records: tuple[FrameRecord, ...]) -> float | None:
    """Return how fast the face moves in the picture.

    The mean over neighbouring frames of the way of the box's middle over the mean height of the
    two boxes and over the time between them. Boxes between two detections are interpolated, so
    what is quicker than `detection_fps` is smoothed away. Turning the head on the spot and
    leaning towards the camera move the middle little.

    Parameters
    ----------
    records : tuple of FrameRecord
        Frames in order; only those in adjacent slots of one shot are compared.

    Returns
    -------
    float or None
        Face heights per second, at least 0; None without two adjacent frames with a face.
    """
    speeds = []
    for first, second in pairwise(records):
        if first.face is None or second.face is None or not second.follows(first):
            continue
        way = math.dist(first.face.centre, second.face.centre)
        height = (first.face.height + second.face.height) / 2
        speeds.append(way / height / (second.seconds - first.seconds))
    return float(np.mean(speeds)) if speeds else None


def movement(records: tuple[FrameRecord, ...]) -> float | None:
    """Return how fast a face's appearance changes.

    The mean over neighbouring frames of ‖v(t₂) - v(t₁)‖ / (t₂ - t₁), where v is a frame vector
    scaled to length 1. A clinician would call it liveliness of the face, head movement included.

    Parameters
    ----------
    records : tuple of FrameRecord
        Frames in order; only those in adjacent slots of one shot are compared.

    Returns
    -------
    float or None
        Per second, at least 0; None without two adjacent frames.
    """
    speeds = []
    for first, second in pairwise(records):
        if first.vector is None or second.vector is None or not second.follows(first):
            continue
        change = _unit(second.vector) - _unit(first.vector)
        speeds.append(float(np.linalg.norm(change)) / (second.seconds - first.seconds))
    return float(np.mean(speeds)) if speeds else None


def sharpness_and_brightness(prepared: np.ndarray) -> tuple[float, float]:
    """Measure the picture that the model sees.

    Parameters
    ----------
    prepared : ndarray of uint8, shape (3, size, size)
        RGB, as the embedder prepared it.

    Returns
    -------
    sharpness : float
        Variance of the 4-neighbour Laplacian of the grey levels (Pech-Pacheco et al. 2000,
        ICPR), away from the border.
    brightness : float
        Mean grey level, 0 to 255 (ITU-R BT.601 luma).
    """
    red, green, blue = prepared.astype(np.float32)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    return float(laplacian.var(dtype=np.float64)), float(grey.mean(dtype=np.float64))


@dataclass(frozen=True)
class RecordingQuality:
    """One interview's picture quality, for telling recordings from people.

    Attributes
    ----------
    FaceRectHeight, FaceScore, sharpness, brightness, head_motion : float or None
        Medians over all segments in which they could be measured, those without scores too; None
        where there is no such segment.
    """

    FaceRectHeight: float | None
    FaceScore: float | None
    sharpness: float | None
    brightness: float | None
    head_motion: float | None


def recording_quality(segments: Sequence[SegmentQuality]) -> RecordingQuality:
    """Return the picture quality of an interview from that of its segments."""

    def median(name: str) -> float | None:
        values: list[float | None] = [getattr(segment, name) for segment in segments]
        return _median([value for value in values if value is not None])

    return RecordingQuality(
        **{field.name: median(field.name) for field in fields(RecordingQuality)}
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    return vector.astype(np.float64) / norm if norm > 0 else vector.astype(np.float64)


def _median(values: list[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.median(finite)) if finite else None
