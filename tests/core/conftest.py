"""What the tests of training share: grey clips with captions, and a tower without batch norm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emoclip_clinical.core.clips import Clip, read_clips
from emoclip_clinical.core.config import ModelConfig, TowerConfig

SHADES = {"dark": 40, "middle": 120, "bright": 210}
WHO = ("A man", "A woman", "A child")


@pytest.fixture(scope="session")
def shade_manifest(
    tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]
) -> Path:
    """A manifest of clips whose captions say how bright they are; 11 train, 3 validate, 3 test."""
    folder = tmp_path_factory.mktemp("shades")
    rng = np.random.default_rng(0)
    rows = ["path,caption,label,group,split"]
    for i in range(17):
        shade = list(SHADES)[i % 3]
        frames = SHADES[shade] + rng.normal(0, 12, (4 + i % 3, 64, 64, 3))
        write_video(folder / f"{i}.mp4", frames.clip(0, 255).astype(np.uint8), fps=6)
        split = "train" if i < 11 else "validation" if i < 14 else "test"
        caption = f"{WHO[i % 2]} talks about paint. The {shade} face and the number {i // 3} nose."
        rows.append(f"{i}.mp4,{caption},{shade},g{i},{split}")
    manifest = folder / "clips.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


@pytest.fixture(scope="session")
def shade_clips(shade_manifest: Path) -> list[Clip]:
    """The clips of `shade_manifest`."""
    return read_clips(shade_manifest)


@pytest.fixture(scope="session")
def vit_model(small_model: ModelConfig) -> ModelConfig:
    """A small model whose image tower treats every picture alone."""
    definition = dict(small_model.tower.definition or {})
    definition["vision_cfg"] = {
        "image_size": 64,
        "patch_size": 32,
        "layers": 2,
        "width": 32,
        "head_width": 16,
    }
    definition["text_cfg"] = {**definition["text_cfg"], "layers": 2}
    tower = TowerConfig(name="tiny-vit", definition=definition, pretrained="none")
    return small_model.model_copy(update={"tower": tower})
