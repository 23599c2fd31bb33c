"""A small study with two videos, and the viewer on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InterviewKey
from emoclip_clinical.serving.viewer.cohort import open_cohort
from emoclip_clinical.serving.viewer.server import ViewerServer
from emoclip_clinical.study.protocol import open_study

KEYS = [InterviewKey("sub-01"), InterviewKey("sub-02", "ses-1"), InterviewKey("sub-03")]
N_SEGMENTS = 5


def pictures(seconds: float, *, fps: int = 10, start: int = 40) -> np.ndarray:
    """A striped wall that grows brighter by 10 a second, and a small chequered square on it."""
    made = []
    for i in range(round(seconds * fps)):
        image = np.full((96, 160, 3), start + i, dtype=np.uint8)
        image[40:56:2, 72:88] = 255
        made.append(image)
    return np.stack(made)


def write_webm(path: Path, frames: np.ndarray, *, fps: int = 10) -> Path:
    """Write VP8, which every build of Chromium plays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=fps, options={"cpu-used": "8", "g": "10"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 400_000
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_webm(tmp_path_factory.mktemp("wall") / "wall.webm", pictures(10))


@pytest.fixture
def study(tmp_path: Path, wall: Path, write_features: Callable[..., Path]) -> Path:
    """Three interviews, two of them with a video; estimates and moments of one target."""
    write_features(tmp_path / "features", interviews=KEYS, n_segments=N_SEGMENTS)
    (tmp_path / "interviews").mkdir()
    for name in ("sub-01_anna-smith", "sub-02_ses-1"):
        (tmp_path / "interviews" / f"{name}.webm").write_bytes(wall.read_bytes())
    folder = tmp_path / "results" / "N1"
    folder.mkdir(parents=True)
    rows = [(k.participant_id, k.session_id, r, 0, 3, 4.0 + r) for k in KEYS for r in range(2)]
    columns = ["participant_id", "session_id", "repeat", "fold", "observed", "predicted"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "predictions.csv", index=False)
    (folder / "metrics.json").write_text('{"target": "N1"}')
    (folder / "moments.csv").write_text(
        "participant_id,session_id,interview,segment,onset,duration,face_coverage,influence,rank\n"
        "sub-01,,sub-01,3,6.0,2.0,0.9,0.31,1\nsub-01,,sub-01,1,2.0,2.0,0.8,-0.12,2\n"
    )
    (tmp_path / "protocol.yaml").write_text("name: little study\n")
    (tmp_path.parent / "outside.txt").write_text("outside the study")
    return tmp_path


@pytest.fixture
def serve() -> Iterator[Callable[..., ViewerServer]]:
    """Return a function that starts the viewer of a study; all are stopped at the end."""
    running: list[tuple[ViewerServer, threading.Thread]] = []

    def start(study: Path, *, hide_estimates: bool = False, show_faces: bool = False):
        cohort = open_cohort(open_study(study), hide_estimates=hide_estimates)
        now = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
        server = ViewerServer(cohort, show_faces=show_faces, now=lambda: now)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.stop()
        thread.join(timeout=10)
        assert not thread.is_alive()
