"""Choose the numbers that the image tower computes with, and check that they do."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from emoclip_clinical.core.threads import each_thread_alone
from emoclip_clinical.features.background import BackgroundSampler
from emoclip_clinical.features.config import Precision
from emoclip_clinical.features.decoding import VideoSampler
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.records import InputError

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder

SMALLEST_COSINE = 0.999
"""Of a frame's bfloat16 vector to its float32 vector."""

MEAN_COSINE_INT8, SMALLEST_COSINE_INT8 = 0.999, 0.99
"""Of frames' int8 vectors to their float32 vectors: the mean, and that of each frame."""

_CHECKED_FRAMES = 32
_FRAMES_PER_INTERVIEW = 8


@dataclass(frozen=True)
class Nearness:
    """How near vectors of one precision are to those of float32, on real frames.

    Attributes
    ----------
    mean_cosine, smallest_cosine : float
        Over the frames, rounded to six digits.
    n_frames : int
        How many frames were encoded both ways.
    """

    mean_cosine: float
    smallest_cosine: float
    n_frames: int


@dataclass(frozen=True)
class PrecisionChoice:
    """What the image tower computes with, and why.

    Attributes
    ----------
    precision : str
        ``float32``, ``bfloat16`` or ``int8``.
    nearness : Nearness or None
        Of the faster precision to float32; None where not measured.
    reason : str
        In words.
    """

    precision: str
    nearness: Nearness | None
    reason: str

    def to_json(self) -> dict[str, object]:
        """Return what features.json holds of the check."""
        measured = (
            {"mean_cosine": None, "smallest_cosine": None, "n_frames": 0}
            if self.nearness is None
            else asdict(self.nearness)
        )
        return {**measured, "reason": self.reason}


def choose_precision(
    embedder: Embedder, interviews: Sequence[Interview], *, wanted: Precision, stall_seconds: float
) -> PrecisionChoice:
    """Choose what the image tower computes with.

    ``auto`` takes bfloat16 where the device has it in hardware and where it agrees with float32
    on real frames. Speed is not measured: a choice that depends on how busy the machine is could
    not be repeated. ``int8`` must agree with float32 on the same frames, too: how much is lost
    follows from the weights, and some towers have channels that eight bits can not hold beside
    the others.

    The frames are one a second from the beginnings of interviews that lie evenly in the order of
    keys; 32 of them where the cohort has as many.

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

    Raises
    ------
    InputError
        If int8 was asked for and can not be computed here, or does not agree with float32.
    """
    if embedder.precision != "float32":
        return PrecisionChoice(
            embedder.precision if wanted == "auto" else wanted, None, "the model was loaded with it"
        )
    if wanted == "int8":
        return _int8(_nearness(embedder, "int8", interviews, stall_seconds=stall_seconds))
    if wanted != "auto":
        return PrecisionChoice(wanted, None, "asked for")
    if not embedder.has_fast_bfloat16:
        return PrecisionChoice("float32", None, "the device has no bfloat16 hardware")
    return _auto(_nearness(embedder, "bfloat16", interviews, stall_seconds=stall_seconds))


def _auto(nearness: Nearness | None) -> PrecisionChoice:
    if nearness is None:
        return PrecisionChoice("float32", None, "no frame to check bfloat16 on")
    # Asked this way round, no NaN passes.
    if not nearness.smallest_cosine >= SMALLEST_COSINE:
        return PrecisionChoice(
            "float32", nearness, f"bfloat16 is further off than {SMALLEST_COSINE}"
        )
    return PrecisionChoice("bfloat16", nearness, "the device has it, and it agrees with float32")


def _int8(nearness: Nearness | None) -> PrecisionChoice:
    if nearness is None:
        return PrecisionChoice("int8", None, "asked for; no interview has a frame to check it on")
    enough = (
        nearness.mean_cosine >= MEAN_COSINE_INT8
        and nearness.smallest_cosine >= SMALLEST_COSINE_INT8
    )
    if not enough:
        raise InputError(
            "precision int8 must agree with float32 on this study's own frames: wanted a mean "
            f"cosine of at least {MEAN_COSINE_INT8} and none below {SMALLEST_COSINE_INT8}, got "
            f"{nearness.mean_cosine} and {nearness.smallest_cosine} over {nearness.n_frames} "
            "frames; set extraction.precision to float32"
        )
    return PrecisionChoice("int8", nearness, "asked for, and it agrees with float32")


def _nearness(
    embedder: Embedder, precision: str, interviews: Sequence[Interview], *, stall_seconds: float
) -> Nearness | None:
    # Making an int8 tower takes as long as reading and encoding the frames.
    with each_thread_alone(), ThreadPoolExecutor(max_workers=1) as beside:
        encoding = beside.submit(_encoded_frames, embedder, interviews, stall_seconds=stall_seconds)
        variant = embedder.variant(precision=precision)
        pictures, exact = encoding.result()
        if not len(pictures):
            return None
        parts = np.array_split(pictures, min(len(pictures), variant.batches_at_once))
        with ThreadPoolExecutor(len(parts)) as threads:
            found = cosines(exact, np.concatenate([*threads.map(variant.encode_prepared, parts)]))
    return Nearness(round(float(found.mean()), 6), round(float(found.min()), 6), len(pictures))


def _encoded_frames(
    embedder: Embedder, interviews: Sequence[Interview], *, stall_seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    frames = _real_frames(embedder, interviews, stall_seconds=stall_seconds)
    side = embedder.image_size_pixels
    pictures = np.stack(frames) if frames else np.zeros((0, 3, side, side), dtype=np.uint8)
    return pictures, embedder.encode_prepared(pictures)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine of each row to the other array's row.

    Parameters
    ----------
    first, second : ndarray of shape (n, d)
        No row is zero.

    Returns
    -------
    float64 ndarray of shape (n,)
        In [-1, 1].
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found: np.ndarray = (a * b).sum(axis=1) / norms
    return found


def _real_frames(
    embedder: Embedder, interviews: Sequence[Interview], *, stall_seconds: float
) -> list[np.ndarray]:
    n = len(interviews)
    step = max(1, n * _FRAMES_PER_INTERVIEW // _CHECKED_FRAMES)
    spread = [interview for first in range(step) for interview in interviews[first::step]]
    each = max(_FRAMES_PER_INTERVIEW, -(-_CHECKED_FRAMES // max(1, n)))
    pictures: list[np.ndarray] = []
    for interview in spread:
        if len(pictures) >= _CHECKED_FRAMES:
            break
        sampler = VideoSampler(
            interview.path,
            sample_fps=1.0,
            start_seconds=interview.start_seconds,
            stop_seconds=interview.stop_seconds,
        )
        try:
            with BackgroundSampler(sampler, stall_seconds=stall_seconds) as frames:
                pictures += [
                    embedder.prepare(frame.image)
                    for _, frame in zip(range(each), frames, strict=False)
                ]
        except Exception:
            # Its reason comes into interviews.parquet when its turn comes.
            continue
    return pictures[:_CHECKED_FRAMES]
