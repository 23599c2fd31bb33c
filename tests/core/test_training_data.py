"""Which frames of a clip are seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emoclip_clinical.core.clip_reading import Sampling, read_frames, sample_indices
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.training_data import ClipFrames
from emoclip_clinical.records import InputError


def _slow(times: np.ndarray, fps: float, most: int) -> list[int]:
    slots = []
    slot = times[0]
    while slot <= times[-1] + 1e-9:
        slots.append(slot)
        slot = times[0] + len(slots) / fps
    if len(slots) > most:
        start = (len(slots) - most) // 2
        slots = slots[start : start + most]
    nearest = [min(range(len(times)), key=lambda i: (abs(times[i] - s), i)) for s in slots]
    return sorted(set(nearest))


@pytest.mark.parametrize("seed", range(5))
def test_sampling_equals_a_loop_at_variable_frame_rate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.01, 0.4, 60)) + 3.7
    for most in (5, 1000):
        ours = sample_indices(times, Sampling(6.25, most, 64))
        assert ours.tolist() == _slow(times, 6.25, most)


def test_a_single_frame_is_a_clip() -> None:
    assert sample_indices(np.array([0.5]), Sampling(6.25, 8, 64)).tolist() == [0]


def test_reads_the_frames_at_the_sampled_times(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    grey = np.linspace(20, 230, 50).astype(np.uint8)
    frames = np.broadcast_to(grey[:, None, None, None], (50, 64, 64, 3)).copy()
    path = write_video(tmp_path / "ramp.mp4", frames, fps=25)
    seen = read_frames(path, Sampling(5.0, 32, 64))
    assert seen.shape == (10, 3, 64, 64)
    np.testing.assert_allclose(seen.mean(axis=(1, 2, 3)), grey[::5], atol=2)


def test_real_clips_of_a_common_data_set_are_read(assets: Path) -> None:
    for path in sorted((assets / "videos").glob("cremad_*.flv")):
        frames = read_frames(path, Sampling(6.25, 32, 64))
        assert 8 <= len(frames) <= 32
        assert frames.std() > 10


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
