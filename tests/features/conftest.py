"""A small stand-in for the model, and videos made on the spot."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from emoclip_clinical.records import PromptSet


class FakeEmbedder:
    """The Embedder's interface with arithmetic that a test can repeat by hand."""

    embedding_width = 8
    image_size_pixels = 16
    sample_fps = 5.0
    frames_per_clip = 10
    temperature = 0.1
    model_hash = "fake"
    precision = "float32"
    has_fast_bfloat16 = False
    batches_at_once = 2
    videos_at_once = 1

    def __init__(self) -> None:
        self.card: dict[str, Any] = {}
        self.n_encoded = 0
        self.n_pictures = 0
        self.batches: list[int] = []
        self._weights = np.random.default_rng(0).normal(size=(self.embedding_width, 3 * 16 * 16))

    def variant(self, *, precision: str, compiled: bool = False) -> FakeEmbedder:
        assert (precision, compiled) == ("float32", False)
        return self

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        side = self.image_size_pixels
        resized = Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC)
        return np.asarray(resized).transpose(2, 0, 1)

    def encode_prepared(self, frames: np.ndarray) -> np.ndarray:
        self.n_encoded += len(frames)
        # A picture of a video is never all black; what fills up a batch is.
        self.n_pictures += int(frames.any(axis=(1, 2, 3)).sum())
        self.batches.append(len(frames))
        flat = frames.reshape(len(frames), -1) / 255 - 0.45
        return (flat @ self._weights.T).astype(np.float32)

    def encode_sequences(self, frame_vectors: np.ndarray, valid: np.ndarray) -> np.ndarray:
        weight = valid.astype(np.float64)[..., None]
        mean = (frame_vectors * weight).sum(axis=1) / weight.sum(axis=1)
        return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        rows = []
        for text in texts:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
            row = np.random.default_rng(seed).normal(size=self.embedding_width)
            rows.append(row / np.linalg.norm(row))
        return np.asarray(rows, dtype=np.float32)

    def encode_prompts(self, prompts: PromptSet) -> tuple[np.ndarray, np.ndarray]:
        def direction(vectors: np.ndarray) -> np.ndarray:
            return vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))

        classes = {n: direction(self.encode_text(t)) for n, t in prompts.classes.items()}
        compounds = [
            direction(np.stack([classes[p] for p in parts])) for parts in prompts.compounds.values()
        ]
        empty = np.zeros((0, self.embedding_width))
        return (
            np.stack(list(classes.values())).astype(np.float32),
            (np.stack(compounds) if compounds else empty).astype(np.float32),
        )


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def prompts() -> PromptSet:
    return PromptSet(
        name="two",
        classes={"smile": ("a smile", "a grin"), "frown": ("a frown",), "rest": ("a face",)},
        compounds={"smile_frown": ("smile", "frown"), "smile_rest": ("smile", "rest")},
    )


def write_video(
    path: Path,
    *,
    images: Sequence[np.ndarray],
    milliseconds: Sequence[int],
    options: dict[str, str] | None = None,
    prepare: Callable[[Any], None] | None = None,
    pixel_format: str = "yuv420p",
) -> Path:
    """Encode pictures with the given times; H.264 in whatever container the name asks for."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.options = {"crf": "4", "threads": "1"}
        stream.codec_context.gop_size = 10
        if prepare is not None:
            prepare(stream)
        for image, time in zip(images, milliseconds, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    return write_video


@pytest.fixture(scope="session")
def numbered() -> Callable[[int], list[np.ndarray]]:
    """Return flat pictures whose grey level is 4 times their number, modulo 60."""

    def make(count: int, *, height: int = 64, width: int = 96) -> list[np.ndarray]:
        return [np.full((height, width, 3), 4 * (i % 60), dtype=np.uint8) for i in range(count)]

    return make


@pytest.fixture(scope="session")
def lively() -> Callable[..., list[np.ndarray]]:
    """Return pictures of smooth, changing noise."""

    def make(count: int, *, seed: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        first, second = rng.uniform(0, 255, size=(2, 4, 6, 3))
        pictures = []
        for i in range(count):
            share = 0.5 + 0.5 * np.sin(i / 7 + seed)
            small = (share * first + (1 - share) * second).astype(np.uint8)
            pictures.append(np.asarray(Image.fromarray(small).resize((width, height))))
        return pictures

    return make
