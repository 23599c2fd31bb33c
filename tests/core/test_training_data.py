"""Clips as the training loop asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emoclip_clinical.core.clip_reading import Sampling
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.training_data import ClipFrames
from emoclip_clinical.records import InputError


def test_every_unreadable_clip_is_named(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    good = write_video(tmp_path / "good.mp4", np.zeros((5, 64, 64, 3), np.uint8))
    for name in ("text.mp4", "empty.mp4"):
        (tmp_path / name).write_bytes(b"" if name == "empty.mp4" else b"not a video")
    clips = [
        Clip(path, "a face", "", "", "", f"row {i} of clips.csv")
        for i, path in enumerate([good, tmp_path / "text.mp4", tmp_path / "empty.mp4"], start=2)
    ]
    frames = ClipFrames(clips, sampling=Sampling(6.25, 8, 64), memory_megabytes=1)
    with pytest.raises(InputError) as caught:
        frames.check()
    assert [f.split(":")[0] for f in caught.value.faults] == [
        "row 3 of clips.csv",
        "row 4 of clips.csv",
    ]
