"""Which frames of a clip are seen, from videos, GIFs and folders of pictures."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoclip_clinical.core.clip_reading import (
    Sampling,
    read_frames,
    read_views,
    sample_indices,
    view_indices,
)
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.preprocessing import Preprocessing, Resize
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


def test_a_drawn_start_is_a_window_anywhere_in_the_clip() -> None:
    times = np.arange(100) / 25
    whole = sample_indices(times, Sampling(25, 100, 64)).tolist()
    starts = set()
    for seed in range(300):
        window = sample_indices(times, Sampling(25, 96, 64, start_seed=seed)).tolist()
        assert window == whole[window[0] : window[0] + 96]
        starts.add(window[0])
    assert starts == {0, 1, 2, 3, 4}
    short = Sampling(25, 200, 64, start_seed=1)
    assert sample_indices(times, short).tolist() == whole


def test_views_spread_from_the_clip_s_start_to_its_end() -> None:
    times = np.arange(250) / 25
    sampling = Sampling(5.0, 10, 64)
    windows = view_indices(times, sampling, views=5)
    # 50 slots of 0.2 s, 40 of them spare: starts at slots 0, 10, 20, 30 and 40.
    assert [w[0] for w in windows] == [0, 50, 100, 150, 200]
    assert all(np.array_equal(np.diff(w), np.full(9, 5)) for w in windows)
    (middle,) = view_indices(times, sampling, views=1)
    assert middle.tolist() == sample_indices(times, sampling).tolist()
    assert len(view_indices(times[:55], sampling, views=5)) == 2
    assert len(view_indices(times[:20], sampling, views=5)) == 1
    with pytest.raises(InputError, match="at least 1, got 0"):
        view_indices(times, sampling, views=0)
    with pytest.raises(InputError, match="one window of a clip, got views 2"):
        view_indices(times, Sampling(5.0, 10, 64, faithful_stride_frames=4), views=2)


@pytest.mark.parametrize(
    ("n_frames", "start", "expected"),
    [
        # 10 strided frames 0 4 ... 36, window of 6: inside, then over the end.
        (40, 2, [8, 12, 16, 20, 24, 28]),
        (40, 7, [28, 32, 36, 0, 4, 8]),
        # 3 strided frames, window of 6, from the second: 4 8, then all of 0 4 8 (as many as
        # pass the end: 1 + 6 - 3 = 4, of which there are 3), then reflection: 4.
        (12, 1, [4, 8, 0, 4, 8, 4]),
        # From the first: 0 4 8, then 3 that pass the end.
        (12, 0, [0, 4, 8, 0, 4, 8]),
        # One frame: itself, once more, and reflected.
        (1, 0, [0, 0, 0, 0, 0, 0]),
    ],
)
def test_faithful_sampling_by_hand(n_frames: int, start: int, expected: list[int]) -> None:
    times = np.arange(n_frames) / 7.3
    n_strided = -(-n_frames // 4)
    seed = next(s for s in range(1000) if np.random.default_rng(s).integers(n_strided) == start)
    sampling = Sampling(6.25, 6, 64, start_seed=seed, faithful_stride_frames=4)
    assert sample_indices(times, sampling).tolist() == expected


def _ramp(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return grey levels and frames of shape (n, 64, 64, 3), each of one level."""
    grey = np.linspace(20, 230, n).astype(np.uint8)
    return grey, np.broadcast_to(grey[:, None, None, None], (n, 64, 64, 3)).copy()


def _write_folder(folder: Path, frames: np.ndarray, *, name: str = "{}.png") -> Path:
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames, start=1):
        Image.fromarray(frame).save(folder / name.format(i))
    return folder


def test_reads_the_frames_at_the_sampled_times(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    grey, frames = _ramp(50)
    path = write_video(tmp_path / "ramp.mp4", frames, fps=25)
    seen = read_frames(path, Sampling(5.0, 32, 64))
    assert seen.shape == (10, 3, 64, 64)
    np.testing.assert_allclose(seen.mean(axis=(1, 2, 3)), grey[::5], atol=2)


def test_frames_of_a_folder_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    grey, frames = _ramp(50)
    folder = _write_folder(tmp_path / "clip", frames, name="frame{}.png")
    (folder / "._frame3.png").write_bytes(b"what macOS leaves on foreign discs")
    (folder / "notes.txt").write_text("no picture")
    seen = read_frames(folder, Sampling(5.0, 32, 64))
    assert seen.mean(axis=(1, 2, 3)).tolist() == grey[::5].tolist()
    slower = read_frames(folder, Sampling(5.0, 64, 64), folder_fps=10)
    assert slower.mean(axis=(1, 2, 3)).tolist() == grey[::2].tolist()


def test_a_gif_goes_by_its_own_clock(tmp_path: Path) -> None:
    grey, frames = _ramp(20)
    path = tmp_path / "ramp.gif"
    images = [Image.fromarray(f) for f in frames]
    # The first ten frames for 0.2 s each, the others for 0.05 s.
    durations = [200] * 10 + [50] * 10
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)
    seen = read_frames(path, Sampling(5.0, 64, 64)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(seen, grey[[*range(11), 14, 18]], atol=4)


def test_a_video_and_its_frames_are_seen_alike(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    _, frames = _ramp(25)
    sampling = Sampling(5.0, 4, 32, start_seed=3)
    video = write_video(tmp_path / "a" / "clip.mp4", frames, fps=25)
    folder = _write_folder(tmp_path / "b" / "clip.mp4", frames)
    seen = [read_frames(p, sampling).astype(int) for p in (video, folder)]
    assert np.abs(seen[0] - seen[1]).max() <= 3


def test_views_are_the_windows_that_were_chosen(tmp_path: Path) -> None:
    grey, frames = _ramp(50)
    folder = _write_folder(tmp_path / "clip", frames)
    sampling = Sampling(25.0, 20, 64)
    first, middle, last = read_views(folder, sampling, views=3)
    for window, start in ((first, 0), (middle, 15), (last, 30)):
        assert window.mean(axis=(1, 2, 3)).tolist() == grey[start : start + 20].tolist()
    assert np.array_equal(middle, read_frames(folder, sampling))


def test_clips_read_with_one_seed_do_not_all_start_alike(tmp_path: Path) -> None:
    _, frames = _ramp(50)
    folders = [_write_folder(tmp_path / f"clip{i}", frames) for i in range(5)]
    sampling = Sampling(25.0, 4, 64, start_seed=0)
    first = [int(read_frames(f, sampling)[0, 0, 0, 0]) for f in folders]
    assert len(set(first)) > 1
    assert first == [int(read_frames(f, sampling)[0, 0, 0, 0]) for f in folders]


def test_faithful_frames_wrap_around(tmp_path: Path) -> None:
    grey, frames = _ramp(6)
    folder = _write_folder(tmp_path / "clip", frames)
    sampling = Sampling(6.25, 8, 64, start_seed=0, faithful_stride_frames=2)
    seen = read_frames(folder, sampling).mean(axis=(1, 2, 3))
    assert len(seen) == 8
    assert set(seen) == {float(g) for g in grey[::2]}


def test_a_model_says_how_it_samples() -> None:
    preprocessing = Preprocessing(48, (0.5,) * 3, (0.5,) * 3, Resize(mode="squash"))
    config = ModelConfig(sample_fps=5, frames_per_clip=7)
    assert Sampling.of(config, preprocessing) == Sampling(5, 7, 48, Resize(mode="squash"))
    faithful = Sampling.of(ModelConfig(stride_frames=4), preprocessing)
    assert (faithful.faithful_stride_frames, faithful.start_seed) == (4, 0)


def test_real_clips_of_a_common_data_set_are_read(assets: Path) -> None:
    for path in sorted((assets / "videos").glob("cremad_*.flv")):
        frames = read_frames(path, Sampling(6.25, 32, 64))
        assert 8 <= len(frames) <= 32
        assert frames.std() > 10


def test_damaged_clips_say_what_is_wrong(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    _, frames = _ramp(30)
    sampling = Sampling(25, 64, 64)
    video = write_video(tmp_path / "cut.mp4", frames)
    video.write_bytes(video.read_bytes()[:-200])
    gif = tmp_path / "text.gif"
    gif.write_bytes(b"GIF89a and no more")
    empty = tmp_path / "empty"
    empty.mkdir()
    folder = _write_folder(tmp_path / "folder", frames)
    whole = (folder / "7.png").read_bytes()
    for path, message in (
        (video, "it can not be decoded"),
        (gif, "it can not be decoded"),
        (empty, "it has no frames"),
    ):
        with pytest.raises(InputError, match=message):
            read_frames(path, sampling)
    for content in (whole[: len(whole) // 2], b"no picture", whole[:40] + b"x" * 60):
        (folder / "7.png").write_bytes(content)
        with pytest.raises(InputError, match=r"picture 7.png can not be decoded"):
            read_frames(folder, sampling)


def test_opening_clips_leaves_the_products_of_matrices_alone() -> None:
    code = """
        from pathlib import Path
        import emoclip_clinical.core.clip_media, torch
        matrix = torch.arange(4096, dtype=torch.float64).reshape(64, 64)
        assert (matrix @ torch.eye(64, dtype=torch.float64)).equal(matrix)
        loaded = Path("/proc/self/maps")
        assert not loaded.exists() or "nvblas" not in loaded.read_text()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
