"""A small study and its viewer on a port of its own; a small model behind a door."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from emoclip_clinical.core.checkpoint import save_checkpoint
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.embedder import Embedder, load_model
from emoclip_clinical.core.model import build_model
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.prompt_sets import load_prompt_sets
from emoclip_clinical.records import InterviewKey
from emoclip_clinical.serving.app import make_app
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.desk import Desk
from emoclip_clinical.serving.door import Door
from emoclip_clinical.serving.encoding import ServedModel
from emoclip_clinical.serving.isolation.reader import VideoReader
from emoclip_clinical.serving.jobs import Jobs
from emoclip_clinical.serving.metrics import Metrics
from emoclip_clinical.serving.prompts import LoadedPrompts
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


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, small_model: ModelConfig) -> Path:
    """A small model with random weights."""
    folder = tmp_path_factory.mktemp("models") / "small"
    built = build_model(small_model, seed=0)
    save_checkpoint(folder, built=built, config=small_model, card={})
    return folder


@pytest.fixture(scope="session")
def embedder(model_folder: Path) -> Embedder:
    """The small model as users load it, for answers that are compared with the server's."""
    return load_model(model_folder, device="cpu")


def made_door(
    parts: ExitStack, model_folder: Path, *, extraction: ExtractionConfig | None, **limits: object
) -> Door:
    """Make a door whose threads and processes end with `parts`."""
    config, metrics = ServingConfig.model_validate(limits), Metrics()
    made = ServedModel(load_model(model_folder, device="cpu"), config=config, log=metrics)
    model = parts.enter_context(made)
    reader = VideoReader(model, config=config)
    parts.callback(reader.close)
    desk = Desk(config=config)
    parts.callback(desk.close)
    own, others = load_prompt_sets(("basic_seven",)), load_prompt_sets(("mafw_compounds",))
    return Door(
        model=model,
        config=config,
        extraction=extraction or ExtractionConfig(face="whole_frame"),
        prompts=LoadedPrompts(model, own=own, others=others),
        reader=reader,
        jobs=Jobs(config=config),
        desk=desk,
        estimators=None,
        metrics=metrics,
    )


@pytest.fixture
def open_door(model_folder: Path) -> Iterator[Callable[..., Door]]:
    """Return a function that makes a door of the small model; all are closed at the end."""
    with ExitStack() as parts:

        def make(*, extraction: ExtractionConfig | None = None, **limits: object) -> Door:
            return made_door(parts, model_folder, extraction=extraction, **limits)

        yield make


@pytest.fixture(scope="module")
def door(model_folder: Path) -> Iterator[Door]:
    """A door with the limits as they are, for all tests of a file."""
    with ExitStack() as parts:
        yield made_door(parts, model_folder, extraction=None)


@pytest.fixture
def client(door: Door) -> Iterator[TestClient]:
    """A client on this machine of a server without tokens."""
    with TestClient(make_app(door), base_url="http://localhost") as made:
        yield made
