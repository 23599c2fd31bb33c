"""What several rooms' tests share: the real files, small towers, one thread."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emoclip_clinical.core.config import ModelConfig, TemporalConfig, TowerConfig
from emoclip_clinical.features.layout import (
    InterviewSummary,
    embeddings_schema,
    interviews_schema,
    key_columns,
    segments_schema,
    table_of,
    vector_column,
)
from emoclip_clinical.features.pooled_parts import scored_segments
from emoclip_clinical.features.pooling import pool_segments, pooled_names
from emoclip_clinical.features.pooling_config import POOLING
from emoclip_clinical.features.scores import PromptVectors, score_columns
from emoclip_clinical.records import InterviewKey

ROOT = Path(__file__).resolve().parents[1]
BEGAN = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slow-minutes", type=float, metavar="MINUTES",
        help="begin no test marked slow after so many minutes; all of them if left out",
    )  # fmt: skip


def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.getoption("--slow-minutes")
    if minutes is None or item.get_closest_marker("slow") is None:
        return
    if time.monotonic() - BEGAN > 60 * minutes:
        pytest.skip(f"the {minutes:g} minutes for slow tests are over")


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


@pytest.fixture(scope="session")
def write_features() -> Callable[..., Path]:
    """Return a function that writes a features folder: no video, no model, extract's layout."""
    return _write_features


def _write_features(
    folder: Path, *, interviews: Sequence[InterviewKey], n_segments: int = 8, seed: int = 0
) -> Path:
    rng = np.random.default_rng(seed)
    sets = (PromptVectors("basic", ("happy", "sad", "calm"), np.zeros((0, 0))),)
    columns = score_columns(sets)
    tables: list[list[pa.Table]] = [[], []]
    rows: list[dict[str, object]] = []
    for key in interviews:
        place = {
            **key_columns(key, n_rows=n_segments),
            "segment": list(range(n_segments)),
            "onset": [2.0 * i for i in range(n_segments)],
            "duration": [2.0] * n_segments,
        }
        values = {
            name: rng.random(n_segments).astype(np.float32) + rng.normal() for name in columns
        }
        shares = rng.dirichlet([0.7] * 3, size=n_segments).astype(np.float32)
        values |= dict(zip(sets[0].emotion_columns, shares.T, strict=True))
        quality = dict.fromkeys(segments_schema(()).names[6:], [None] * n_segments)
        quality |= {"status": ["ok"] * n_segments, "reason": [""] * n_segments}
        quality |= {name: rng.random(n_segments) for name in ("face_coverage", "movement")}
        vectors = rng.normal(size=(n_segments, 4)).astype(np.float32)
        made = [
            table_of({**place, **quality, **values}, schema=segments_schema(columns)),
            table_of({**place, "embedding": vector_column(vectors)}, schema=embeddings_schema(4)),
        ]
        for table, part in zip(tables, made, strict=True):
            table.append(part)
        summary = InterviewSummary(n_segments, n_segments, 2.0 * n_segments, 0.9, 1, 1.0, "ok", "")
        pooled = pool_segments(scored_segments(*made, columns=columns), prompt_vectors=sets)
        keys = {name: values[0] for name, values in key_columns(key, n_rows=1).items()}
        rows.append({**keys, **asdict(summary), **pooled})
    names = pooled_names(sets, embedding_width=4)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(tables[0]), folder / "segments.parquet")
    pq.write_table(pa.concat_tables(tables[1]), folder / "embeddings.parquet")
    by_column = {name: [row[name] for row in rows] for name in interviews_schema(names).names}
    whole = table_of(by_column, schema=interviews_schema(names))
    pq.write_table(whole, folder / "interviews.parquet")
    settings = {
        "model": {"hash": "ab" * 32, "embedding_width": 4},
        "prompts": [
            {"name": "basic", "classes": [[c, [c]] for c in sets[0].classes], "compounds": []}
        ],
        "pooling": {"statistics": list(POOLING), "weights": "equal"},
        "pooled_features": list(names),
        "inputs": [],
    }
    (folder / "features.json").write_text(json.dumps(settings))
    return folder
