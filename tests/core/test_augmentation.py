"""Augmentation: off by default, one change for a whole clip, and nothing random but the seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from emoclip_clinical.core.augmentation import CLIP_MEAN, augment
from emoclip_clinical.core.augmentation_config import AugmentationConfig
from emoclip_clinical.records import InputError

PAPER = AugmentationConfig(rotation_degrees=6, horizontal_flip=True)
ALL = AugmentationConfig(
    rotation_degrees=6,
    horizontal_flip=True,
    smallest_crop=0.7,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.05,
)


def _smooth(seed: int = 0, side: int = 48) -> np.ndarray:
    """One picture without sharp edges, so that two ways of interpolating hardly differ."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def _clip(picture: np.ndarray, n: int = 4) -> np.ndarray:
    return np.broadcast_to(picture.transpose(2, 0, 1), (n, 3, *picture.shape[:2])).copy()


def test_it_is_off_by_default() -> None:
    clip = _clip(_smooth())
    assert augment(clip, config=AugmentationConfig(), seed=3) is clip


@pytest.mark.parametrize("config", [PAPER, ALL])
def test_all_frames_of_a_clip_change_alike_and_the_seed_decides(config: AugmentationConfig) -> None:
    clip = _clip(_smooth())
    made = [augment(clip, config=config, seed=s) for s in range(6)]
    for frames in made:
        assert frames.dtype == np.uint8
        assert frames.shape == clip.shape
        assert np.array_equal(frames, np.broadcast_to(frames[0], frames.shape))
    assert len({frames.tobytes() for frames in made}) == 6
    assert np.array_equal(made[2], augment(clip, config=config, seed=2))


def test_no_global_generator_is_used_or_moved() -> None:
    clip = _clip(_smooth())
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = augment(clip, config=ALL, seed=5)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    torch.manual_seed(2)
    assert np.array_equal(first, augment(clip, config=ALL, seed=5))


def test_half_of_the_clips_are_mirrored_exactly() -> None:
    clip = _clip(_smooth(), n=2)
    config = AugmentationConfig(horizontal_flip=True)
    mirrored = 0
    for seed in range(200):
        frames = augment(clip, config=config, seed=seed)
        flipped = np.array_equal(frames, clip[..., ::-1])
        assert flipped or np.array_equal(frames, clip)
        mirrored += flipped
    assert 75 <= mirrored <= 125


def test_rotation_is_what_pil_rotates_and_stays_within_its_limit() -> None:
    picture = _smooth()
    clip = _clip(picture, n=1)
    config = AugmentationConfig(rotation_degrees=6)
    image = Image.fromarray(picture)
    angles = np.arange(-6, 6.01, 0.25)
    turned = [
        np.asarray(image.rotate(a, Image.Resampling.BILINEAR, fillcolor=CLIP_MEAN)).transpose(
            2, 0, 1
        )
        for a in angles
    ]
    found = []
    for seed in range(12):
        frame = augment(clip, config=config, seed=seed)[0].astype(int)
        inner = np.s_[:, 6:-6, 6:-6]
        gaps = [np.abs(frame[inner] - t[inner]).mean() for t in turned]
        assert min(gaps) < 1.0
        found.append(angles[int(np.argmin(gaps))])
    assert min(found) < -2
    assert max(found) > 2


def test_a_corner_that_rotation_leaves_empty_has_the_colour_asked_for() -> None:
    clip = np.full((1, 3, 64, 64), 255, np.uint8)
    config = AugmentationConfig(rotation_degrees=45)
    seed = next(
        s for s in range(50) if (augment(clip, config=config, seed=s)[0, :, 0, 0] < 255).all()
    )
    assert augment(clip, config=config, seed=seed)[0, :, 0, 0].tolist() == list(CLIP_MEAN)
    other = augment(clip, config=config, seed=seed, fill=(1, 2, 3))
    assert other[0, :, 0, 0].tolist() == [1, 2, 3]


def test_a_crop_keeps_the_share_it_may_and_no_less() -> None:
    side = 64
    ramp = np.broadcast_to(np.linspace(0, 255, side), (1, 3, side, side)).astype(np.uint8)
    config = AugmentationConfig(smallest_crop=0.25)
    shares = []
    for seed in range(40):
        row = augment(ramp.copy(), config=config, seed=seed)[0, 0, 20].astype(float)
        shares.append(((row[-4] - row[3]) / (ramp[0, 0, 0, -4] - float(ramp[0, 0, 0, 3]))) ** 2)
    assert 0.2 < min(shares) < 0.4
    assert 0.85 < max(shares) < 1.05


def test_brightness_is_one_factor_within_its_limit() -> None:
    clip = np.full((2, 3, 8, 8), 100, np.uint8)
    values = [
        int(augment(clip, config=AugmentationConfig(brightness=0.3), seed=s).max())
        for s in range(40)
    ]
    assert 70 <= min(values) < 80
    assert 120 < max(values) <= 130


def test_other_arrays_are_refused() -> None:
    with pytest.raises(InputError, match=r"uint8 of shape \(t, 3, s, s\), got float32"):
        augment(np.zeros((2, 3, 8, 8), np.float32), config=PAPER, seed=0)
    with pytest.raises(InputError, match=r"got uint8 of shape \(8, 8, 3\)"):
        augment(np.zeros((8, 8, 3), np.uint8), config=PAPER, seed=0)
