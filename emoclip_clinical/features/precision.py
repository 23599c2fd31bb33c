"""Choose the numbers that the image tower computes with, and check that they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emoclip_clinical.features.background import BackgroundSampler
from emoclip_clinical.features.config import Precision
from emoclip_clinical.features.decoding import UnreadableVideoError, VideoSampler
from emoclip_clinical.features.interviews import Interview

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder

SMALLEST_COSINE = 0.999
"""Of a frame's bfloat16 vector to its float32 vector."""

_CHECKED_FRAMES = 8
_TRIED_INTERVIEWS = 5


@dataclass(frozen=True)
class PrecisionChoice:
    """What the image tower computes with, and why.

    Attributes
    ----------
    precision : str
        ``float32`` or ``bfloat16``.
    smallest_cosine : float or None
        Of bfloat16 to float32 over real frames, rounded to six digits; None where not measured.
    reason : str
        In words.
    """

    precision: str
    smallest_cosine: float | None
    reason: str


def choose_precision(
    embedder: Embedder, interviews: Sequence[Interview], *, wanted: Precision, stall_seconds: float
) -> PrecisionChoice:
    """Choose between float32 and bfloat16.

    ``auto`` takes bfloat16 where the device has it in hardware and where it agrees with float32
    on real frames: the first ones of the first interview, in order of key, that can be read. Speed
    is not measured: a choice that depends on how busy the machine is could not be repeated.

    Parameters
    ----------
    embedder : Embedder
        In float32.
    interviews : sequence of Interview
        All of the cohort, sorted by key.
    wanted : str
        What was asked for; ``float32`` and ``bfloat16`` are taken as they are.
    stall_seconds : float
        See `BackgroundSampler`.

    Returns
    -------
    PrecisionChoice
        What to use.
    """
    if embedder.precision != "float32":
        return PrecisionChoice(
            embedder.precision if wanted == "auto" else wanted, None, "the model was loaded with it"
        )
    if wanted != "auto":
        return PrecisionChoice(wanted, None, "asked for")
    if not embedder.has_fast_bfloat16:
        return PrecisionChoice("float32", None, "the device has no bfloat16 hardware")
    frames = _real_frames(embedder, interviews, stall_seconds=stall_seconds)
    if frames is None:
        return PrecisionChoice("float32", None, "no frame to check bfloat16 on")
    cosine = smallest_cosine(
        embedder.encode_prepared(frames),
        embedder.variant(precision="bfloat16").encode_prepared(frames),
    )
    if cosine < SMALLEST_COSINE:
        return PrecisionChoice("float32", cosine, f"bfloat16 is further off than {SMALLEST_COSINE}")
    return PrecisionChoice("bfloat16", cosine, "the device has it, and it agrees with float32")


def smallest_cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Return the smallest cosine between rows of equal number, rounded to six digits.

    Parameters
    ----------
    first, second : ndarray of shape (n, d)
        No row is zero.

    Returns
    -------
    float
        In [-1, 1].
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return round(float(((a * b).sum(axis=1) / norms).min()), 6)


def _real_frames(
    embedder: Embedder, interviews: Sequence[Interview], *, stall_seconds: float
) -> np.ndarray | None:
    for interview in interviews[:_TRIED_INTERVIEWS]:
        sampler = VideoSampler(
            interview.path,
            sample_fps=1.0,
            start_seconds=interview.start_seconds,
            stop_seconds=interview.stop_seconds,
        )
        try:
            with BackgroundSampler(sampler, stall_seconds=stall_seconds) as frames:
                pictures = [
                    embedder.prepare(frame.image)
                    for _, frame in zip(range(_CHECKED_FRAMES), frames, strict=False)
                ]
        except UnreadableVideoError:
            # Its reason comes into interviews.parquet when its turn comes.
            continue
        return np.stack(pictures)
    return None
