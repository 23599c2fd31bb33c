"""What several rooms' tests share: the real files, small towers, one thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import numpy as np
import pytest

from emoclip_clinical.core.config import ModelConfig, TemporalConfig, TowerConfig

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real videos, ratings and models; the test skips where there is none."""
    folder = Path(os.environ.get("EMOCLIP_ASSETS", ROOT / ".." / "shared" / "assets")).resolve()
    if not (folder / "videos").is_dir():
        pytest.skip(f"real files are not here: {folder} (set EMOCLIP_ASSETS)")
    return folder


@pytest.fixture(scope="session")
def small_model() -> ModelConfig:
    """A model that trains in a second: open_clip's classes in miniature."""
    definition = {
        "embed_dim": 32,
        "vision_cfg": {
            "image_size": 64,
            "timm_model_name": "emoclip_small_convnet",
            "timm_pool": "",
            "timm_proj": "",
        },
        "text_cfg": {
            "context_length": 24,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 1,
        },
    }
    return ModelConfig(
        name="small",
        tower=TowerConfig(name="small", definition=definition, pretrained="none"),
        temporal=TemporalConfig(heads=2, head_width=8, mlp_width=64, positions=40),
        frames_per_clip=16,
    )


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Return a function that writes frames (n, height, width, 3) as an H.264 video."""

    def write(path: Path, frames: np.ndarray, *, fps: int = 25) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=fps, options={"crf": "12"})
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write
