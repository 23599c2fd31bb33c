"""Reasons that extract writes are told; what else stands in their place is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emoclip_clinical.features.decoding import VideoSampler
from emoclip_clinical.features.opening import UnreadableVideoError
from emoclip_clinical.serving.known_reasons import known_reason, known_status


def reason_of(path: Path) -> str:
    """Why the decoder can not read all of a file, in its own words."""
    try:
        with VideoSampler(path, sample_fps=5.0) as frames:
            for _ in frames:
                pass
    except UnreadableVideoError as error:
        return str(error)
    return "; ".join(frames.log.notes)


@pytest.mark.parametrize("damage", ["empty", "text", "head", "half", "noise", "folder", "none"])
def test_what_the_decoder_says_is_known(
    damage: str, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, size=(200, 64, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mkv", pictures, fps=10)
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "none":
        path.unlink()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "text": b"nothing but words\n" * 99,
                "head": rng.bytes(5000),
                "half": content[:middle],
                "noise": content[:middle] + rng.bytes(50_000) + content[middle + 50_000 :],
            }[damage]
        )
    reason = reason_of(path)
    assert reason
    assert known_reason(reason) == reason


@pytest.mark.parametrize(
    "reason",
    [
        "none of 14 segments could be scored",
        "damaged packets or pictures skipped: 3; its pictures end 2.5 s before the duration in its "
        "header",
        "reading stopped: the decoder gave no picture for 30 s",
    ],
)
def test_what_extract_says_of_a_recording_is_known(reason: str) -> None:
    assert known_reason(reason) == reason


@pytest.mark.parametrize(
    "text",
    [
        "/home/anna smith.mp4", "none of anna segments could be scored", "", None, 3.0,
        "none of 4 segments could be scored; anna smith", "the file does not exist\nanna",
        "damaged packets or pictures skipped: 1; " * 100 + "the file does not exist",
    ],
)  # fmt: skip
def test_what_it_never_says_is_not_repeated(text: object) -> None:
    assert known_reason(text) == ""
    assert known_status(text) == ""


def test_statuses() -> None:
    statuses = ("ok", "partial", "no_face", "low_coverage", "decode_error", "failed")
    assert tuple(map(known_status, statuses)) == statuses
