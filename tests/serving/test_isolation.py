"""Processes that read videos: their limits, their deaths, and nothing left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import psutil
import pyarrow as pa
import pytest

from emoclip_clinical.core.preprocessing import CLIP_RESIZE, prepare
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.records import InputError
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.isolation.messages import (
    Channel,
    ChannelClosedError,
    ProtocolError,
)
from emoclip_clinical.serving.isolation.reader import VideoReader
from emoclip_clinical.serving.isolation.sessions import VideoSession
from emoclip_clinical.serving.isolation.worker import explained
from emoclip_clinical.serving.problems import Problem

WIDTH, SIDE = 4, 16
WHOLE = ExtractionConfig(face="whole_frame", sample_fps=5.0, window_seconds=2.0)


class Arithmetic:
    """Stands for the served model: vectors that a test can repeat, and a gate before them."""

    def __init__(self) -> None:
        self.embedder = SimpleNamespace(
            embedding_width=WIDTH,
            image_size_pixels=SIDE,
            sample_fps=5.0,
            frames_per_clip=10,
            longest_clip_frames=40,
            resize=CLIP_RESIZE,
        )
        self.temperature = 0.1
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()
        self.n_pictures = 0

    def submit_pictures(self, pictures: np.ndarray) -> Future[np.ndarray]:
        self.asked.set()
        self.n_pictures += len(pictures)
        means = pictures.reshape(len(pictures), 3, -1).mean(axis=2)
        return self._later(np.concatenate([means, np.ones((len(pictures), 1))], axis=1))

    def submit_sequences(self, vectors: np.ndarray, valid: np.ndarray) -> Future[np.ndarray]:
        mean = (vectors * valid[..., None]).sum(axis=1) / valid.sum(axis=1, keepdims=True)
        return self._later(mean / np.linalg.norm(mean, axis=1, keepdims=True))

    def _later(self, vectors: np.ndarray) -> Future[np.ndarray]:
        future: Future[np.ndarray] = Future()

        def encode() -> None:
            self.gate.wait()
            if future.set_running_or_notify_cancel():
                future.set_result(vectors.astype(np.float32))

        threading.Thread(target=encode, daemon=True).start()
        return future


class File:
    def __init__(self, content: bytes) -> None:
        self.fd = os.memfd_create("test")
        os.write(self.fd, content)


@contextmanager
def file_of(content: bytes) -> Iterator[File]:
    file = File(content)
    try:
        yield file
    finally:
        os.close(file.fd)


def flat_film(path: Path, *, seconds: float, fps: int = 10, side: int = 32) -> bytes:
    """A film that grows brighter."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "0"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for i in range(round(seconds * fps)):
            picture = np.full((side, side, 3), (5 * i) % 200 + 20, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return flat_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=20)


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """After all tests no process and no descriptor is there that was not there before."""
    this = psutil.Process()
    before = {child.pid for child in this.children(recursive=True)}
    n_before = this.num_fds()
    yield
    left = {child.pid for child in this.children(recursive=True)} - before
    assert not left
    assert this.num_fds() <= n_before


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Arithmetic, VideoReader]]:
    """One fork server for tests that leave it as it was."""
    model = Arithmetic()
    reader = VideoReader(model, config=ServingConfig(max_video_seconds=60, max_batch_frames=8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOCLIP_TEST_SECRET", "a token")
        reader.ready()
    yield model, reader
    reader.close()


@pytest.fixture
def reader(shared: tuple[Arithmetic, VideoReader]) -> VideoReader:
    return shared[1]


@pytest.fixture
def model(shared: tuple[Arithmetic, VideoReader]) -> Iterator[Arithmetic]:
    model = shared[0]
    model.gate.set()
    model.asked.clear()
    yield model
    model.gate.set()


@contextmanager
def limited(shared: tuple[Arithmetic, VideoReader], **limits: object) -> Iterator[None]:
    """Give the shared reader other limits for a while."""
    reader = shared[1]
    before = reader._config
    reader._config = before.model_copy(update=limits)
    try:
        yield
    finally:
        reader._config = before


def read(reader: VideoReader, content: bytes, **settings: object):
    async def run():
        with file_of(content) as file:
            return await reader.read(file, extraction=WHOLE.model_copy(update=settings), prompts=())

    return asyncio.run(run())


def refused(reader: VideoReader, content: bytes, **settings: object) -> Problem:
    with pytest.raises(Problem) as caught:
        read(reader, content, **settings)
    return caught.value


def the_child(reader: VideoReader) -> psutil.Process:
    for _ in range(500):
        if reader.process_ids:
            return psutil.Process(reader.process_ids[0])
        time.sleep(0.01)
    raise AssertionError("no process was started")


def without_children(reader: VideoReader) -> bool:
    for _ in range(500):
        if not reader.process_ids:
            return True
        time.sleep(0.01)
    return False


def by_hand(path: Path) -> np.ndarray:
    """Embeddings of the film by a slow and obvious loop."""
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    means = [
        prepare(frame, image_size_pixels=SIDE).reshape(3, -1).mean(axis=1) for frame in frames[::2]
    ]
    rows = []
    for start in range(0, len(means), 10):
        mean = np.append(np.mean(means[start : start + 10], axis=0), 1.0)
        rows.append(mean / np.linalg.norm(mean))
    return np.array(rows)


def vectors_of(reading) -> np.ndarray:
    return np.array(reading.embeddings["embedding"].to_pylist())


@pytest.fixture(scope="module")
def expected(film: bytes, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = tmp_path_factory.mktemp("by-hand") / "film.mp4"
    path.write_bytes(film)
    return by_hand(path)


def test_a_video_is_read(reader: VideoReader, film: bytes, expected: np.ndarray) -> None:
    reading = read(reader, film)
    assert reading.summary.status == "ok"
    np.testing.assert_allclose(vectors_of(reading), expected, rtol=0, atol=1e-6)
    assert reading.segments["onset"].to_pylist() == [2.0 * i for i in range(10)]
    assert without_children(reader)


def test_progress_is_told(reader: VideoReader, film: bytes) -> None:
    told: list[tuple[float, float]] = []

    async def run() -> None:
        with file_of(film) as file:
            await reader.read(
                file, extraction=WHOLE, prompts=(), progress=lambda *where: told.append(where)
            )

    asyncio.run(run())
    assert told
    assert told == sorted(told)
    assert {total for _, total in told} == {20.0}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"participant_id,N1\nsub-01,4\n" * 50, "holds text"),
        (np.random.default_rng(0).bytes(100_000), "not a video"),
        (b"\0\0\0\x20ftypisom" + bytes(2000), "no readable index"),
    ],
)
def test_what_is_no_video(reader: VideoReader, content: bytes, said: str) -> None:
    problem = refused(reader, content)
    assert problem.status == 422
    assert said in problem.faults[0]


def test_sound_alone_is_no_video(reader: VideoReader, tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), dtype=np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        for packet in (*stream.encode(sound), *stream.encode()):
            container.mux(packet)
    problem = refused(reader, path.read_bytes())
    assert problem.status == 422
    assert "only sound" in problem.faults[0]


def test_a_header_that_says_too_long(reader: VideoReader, tmp_path: Path) -> None:
    """A film of a picture a minute, so that its header says hours."""
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for i in range(180):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts = 60 * i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    problem = refused(reader, path.read_bytes())
    assert problem.status == 413
    assert "its header" in problem.faults[0]


def test_a_clock_that_runs_on_after_the_header(reader: VideoReader, tmp_path: Path) -> None:
    content = flat_film(tmp_path / "film.mkv", seconds=100)
    # Matroska's Duration: an element of 8 bytes, in milliseconds.
    said = b"\x44\x89\x88" + struct.pack(">d", 100_000)
    assert content.count(said) == 1
    problem = refused(reader, content.replace(said, said[:3] + struct.pack(">d", 10_000)))
    assert problem.status == 413
    assert problem.faults == ("the video is longer than 60 s, by its own clock",)


def test_huge_pictures_do_not_fit(
    shared: tuple[Arithmetic, VideoReader], reader: VideoReader, tmp_path: Path
) -> None:
    """A picture of a bit a pixel, 32 MB unpacked, of which RGB makes 768 MB."""
    path, side = tmp_path / "bomb.mov", 16_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width = stream.height = side
        stream.pix_fmt = "monob"
        frame = av.VideoFrame(side, side, "monob")
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    content = path.read_bytes()
    assert len(content) < 1_000_000
    this = psutil.Process()
    before = this.memory_info().rss
    with limited(shared, decoder_mib=512):
        problem = refused(reader, content)
    assert problem.status == 422
    assert "takes more memory" in problem.faults[0]
    assert this.memory_info().rss - before < 100 * 2**20


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory"),
        (InputError(["a", "b"]), "input"),
        (KeyError("the patient's name"), "bug"),
    ],
)
def test_what_a_process_says_of_errors(error: Exception, reason: str) -> None:
    told = explained(error)
    assert told["reason"] == reason
    assert "name" not in str(told)


def test_the_kernel_holds_it_to_its_limits(
    model: Arithmetic, reader: VideoReader, film: bytes
) -> None:
    model.gate.clear()
    with in_background(lambda: read(reader, film)):
        assert model.asked.wait(10)
        child = the_child(reader)
        parent = child.parent()
        assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_NOFILE) == (64, 64)
        assert child.rlimit(psutil.RLIMIT_CPU) == (7200, 7205)
        _, data = child.rlimit(psutil.RLIMIT_DATA)
        # Its own memory on top of the libraries, which the fork server has as well.
        libraries = parent.memory_full_info().data
        assert abs(data - 2048 * 2**20 - libraries) < 256 * 2**20
        assert "NoNewPrivs:\t1" in Path(f"/proc/{child.pid}/status").read_text()
        # The file, the channel, nothing and nothing and nothing; the decoder opens the file again.
        assert child.num_fds() <= 8
        assert "OMP_NUM_THREADS" in child.environ()
        assert "EMOCLIP_TEST_SECRET" not in child.environ()
        model.gate.set()


@contextmanager
def in_background(work: Callable[[], object]) -> Iterator[list[object]]:
    """Run `work` in a thread; what it returned or raised is in the list at the end."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(work())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ended
    finally:
        thread.join(60)
        assert not thread.is_alive()


def test_a_killed_process_is_replaced(
    model: Arithmetic, reader: VideoReader, film: bytes, expected: np.ndarray
) -> None:
    model.gate.clear()
    with in_background(lambda: read(reader, film)) as ended:
        assert model.asked.wait(10)
        first = the_child(reader)
        model.asked.clear()
        first.kill()
        # The pictures of the first are still in the encoder, which holds nobody up.
        model.gate.set()
    assert not isinstance(ended[0], BaseException), ended[0]
    np.testing.assert_allclose(vectors_of(ended[0]), expected, rtol=0, atol=1e-6)


def test_a_process_that_is_killed_twice(
    model: Arithmetic, reader: VideoReader, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = model.submit_pictures
    killed: set[int] = set()

    def kill_and_submit(pictures: np.ndarray) -> Future[np.ndarray]:
        child = the_child(reader)
        killed.add(child.pid)
        child.kill()
        return submit(pictures)

    monkeypatch.setattr(model, "submit_pictures", kill_and_submit)
    with pytest.raises(Problem) as caught:
        read(reader, film)
    assert len(killed) == 2
    assert (caught.value.status, caught.value.faults) == (
        422,
        ("the process that read the video ended (signal 9) twice",),
    )


def test_a_process_that_hangs_is_ended(
    shared: tuple[Arithmetic, VideoReader], model: Arithmetic, reader: VideoReader, film: bytes
) -> None:
    model.gate.clear()
    with limited(shared, decoder_seconds=3.0), in_background(lambda: read(reader, film)) as ended:
        assert model.asked.wait(10)
        child = the_child(reader)
        child.send_signal(signal.SIGSTOP)
        model.gate.set()
    problem = ended[0]
    assert isinstance(problem, Problem)
    assert (problem.status, problem.faults[0]) == (504, "reading the video took longer than 3 s")
    assert without_children(reader)
    assert not psutil.pid_exists(child.pid)


def test_who_is_cancelled_leaves_no_process(
    model: Arithmetic, reader: VideoReader, film: bytes
) -> None:
    model.gate.clear()

    async def run() -> float:
        with file_of(film) as file:
            task = asyncio.ensure_future(reader.read(file, extraction=WHOLE, prompts=()))
            while not model.asked.is_set():
                await asyncio.sleep(0.01)
            began = time.monotonic()
            task.cancel()
            # Nothing is encoded while the gate is shut.
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - began

    assert asyncio.run(run()) < 5
    assert reader.process_ids == ()


@pytest.mark.slow
def test_a_fork_server_that_dies_is_replaced(
    model: Arithmetic, reader: VideoReader, film: bytes, expected: np.ndarray
) -> None:
    model.gate.clear()
    with in_background(lambda: read(reader, film)) as ended:
        assert model.asked.wait(10)
        child = the_child(reader)
        child.parent().kill()
        model.gate.set()
    np.testing.assert_allclose(vectors_of(ended[0]), expected, rtol=0, atol=1e-6)
    assert not psutil.pid_exists(child.pid)


def test_settings_that_are_not_for_uploads(reader: VideoReader) -> None:
    settings = WHOLE.model_copy(
        update={"face": "precomputed", "patient": "reference", "window_seconds": 100.0}
    )
    with pytest.raises(InputError) as caught:
        reader.check(settings)
    assert len(caught.value.faults) == 3


def stream_of(table: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def read_table(reader: VideoReader, content: bytes, *, most_rows: int = 2**25) -> pa.Table:
    async def run() -> pa.Table:
        with file_of(content) as file:
            return await reader.read_table(file, most_rows=most_rows)

    return asyncio.run(run())


def test_a_table_comes_back_plain(reader: VideoReader) -> None:
    table = pa.table(
        {
            "name": pa.array(["a", None, "ä😀"]).dictionary_encode(),
            "small": pa.array([1, None, -3], type=pa.int8()),
            "half": pa.array([0.5, None, float("nan")], type=pa.float16()),
            "single": pa.array([0.1, None, 3e38], type=pa.float32()),
            "double": pa.array([0.1, 2.0, None]),
            "yes": pa.array([True, None, False]),
            "none": pa.nulls(3),
        }
    ).replace_schema_metadata({"source": '{"a": 1}'})
    found = read_table(reader, stream_of(table, compression="zstd"))
    assert found.schema.metadata == {b"source": b'{"a": 1}'}
    assert str(found["half"].to_pylist()) == "[0.5, None, nan]"
    for name in ("name", "small", "single", "double", "yes", "none"):
        assert found[name].to_pylist() == table[name].to_pylist(), name
    assert [str(t) for t in found.schema.types] == [
        "string", "int64", "double", "float", "double", "bool", "double",
    ]  # fmt: skip


@pytest.mark.parametrize("number", [pa.float32(), pa.float64(), pa.float16()])
def test_lists_of_one_length_come_back_as_vectors(reader: VideoReader, number: pa.DataType) -> None:
    rows = [[0.5, 0.25], None, [None, 3.0], [float("nan"), -1.0]]
    wanted = [[0.5, 0.25], None, [float("nan"), 3.0], [float("nan"), -1.0]]
    for kind in (pa.list_(number), pa.large_list(number), pa.list_(number, 2)):
        columns = {"a": pa.array(rows, kind), "b": [1.0, 2.0, 3.0, 4.0]}
        found = read_table(reader, stream_of(pa.table(columns)))
        assert str(found["a"].to_pylist()) == str(wanted)
        plain = pa.float32() if number == pa.float32() else pa.float64()
        assert found["a"].type == pa.list_(plain, 2)
        assert found["b"].to_pylist() == columns["b"]


def test_a_wide_list_does_not_widen_every_row(reader: VideoReader) -> None:
    wide = pa.array([[0.0] * 60_000] + [None] * 20_000, pa.list_(pa.float64()))
    few = pa.array(np.arange(20_001.0))
    assert read_table(reader, stream_of(pa.table({"a": wide, "b": few}))).column_names == ["b"]
    with pytest.raises(Problem) as caught:
        read_table(reader, stream_of(pa.table({"embedding": wide, "b": few})))
    assert caught.value.faults == ("column 'embedding' takes more than 64 MiB",)


def test_a_table_is_read_no_further_than_it_may_go(reader: VideoReader) -> None:
    batch = pa.record_batch({"a": np.zeros(100)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(50):
            writer.write_batch(batch)
    content = sink.getvalue().to_pybytes()
    assert read_table(reader, content, most_rows=5000).num_rows == 5000
    # What comes after the rows that are too many is not looked at.
    for sent in (content, content[: len(content) // 2] + b"x" * 1000):
        with pytest.raises(Problem) as caught:
            read_table(reader, sent, most_rows=450)
        assert caught.value.status == 413
        assert caught.value.faults == ("at most 450 rows were wanted, got more",)


@pytest.mark.parametrize("cut", [0, 3, 40, 200, 400])
def test_a_table_that_is_cut_off(reader: VideoReader, cut: int) -> None:
    content = stream_of(pa.table({"a": np.arange(100.0)}))[:cut]
    with pytest.raises(Problem) as caught:
        read_table(reader, content)
    assert caught.value.status == 422


def test_columns_of_other_types_are_left_aside_or_refused(reader: VideoReader) -> None:
    table = pa.table({"a": [[1]], "b": [1.0], "c": [b"x"]})
    assert read_table(reader, stream_of(table)).to_pydict() == {"b": [1.0]}
    for sent, faults in (
        (table.select(["a", "c"]), ["no column can"]),
        (
            table.rename_columns(["participant_id", "b", "session_id"]),
            ["column 'participant_id'", "column 'session_id'"],
        ),
        (table.rename_columns(["secret", "secret", "c"]), ["two columns have the same name"]),
    ):
        with pytest.raises(Problem) as caught:
            read_table(reader, stream_of(sent))
        assert caught.value.status == 422
        for fault, beginning in zip(caught.value.faults, faults, strict=True):
            assert fault.startswith(beginning)


def test_a_table_that_unpacks_to_gigabytes(reader: VideoReader) -> None:
    table = pa.table({"a": np.zeros(2**24)})
    content = stream_of(table, compression="zstd")
    assert len(content) < 10**6
    with pytest.raises(Problem) as caught:
        read_table(reader, content)
    assert caught.value.status == 413


PREFIX = struct.Struct("<IQ")


def framed(text: bytes, payload: bytes = b"", *, claimed: int | None = None) -> bytes:
    return PREFIX.pack(len(text), len(payload) if claimed is None else claimed) + text + payload


NONSENSE = [
    b"\xff" * 64,
    framed(b"{"),
    framed(b"[" * 50_000),
    framed(b"[]"),
    framed(b'{"kind": 3}'),
    framed(b'{"kind": "what"}'),
    framed(b'{"kind": "collect"}'),
    framed(b'{"kind": "pictures", "n": 9}', bytes(9 * 3 * SIDE * SIDE)),
    framed(b'{"kind": "pictures", "n": 2}', bytes(3 * SIDE * SIDE)),
    framed(b'{"kind": "pictures", "n": true}', bytes(3 * SIDE * SIDE)),
    framed(b'{"kind": "pictures", "n": 1}', bytes(3 * SIDE * SIDE)) * 5,
    framed(b'{"kind": "sequences", "n": 1, "t": 11}', bytes(11 * 4 * WIDTH + 11)),
    framed(b'{"kind": "sequences", "n": 1, "t": 2}', bytes(2 * 4 * WIDTH + 2)),
    framed(b'{"kind": "progress", "done": NaN, "total": 1}'),
    framed(b'{"kind": "progress", "done": 1e9, "total": 1}'),
    framed(b'{"kind": "fault"}'),
    framed(b'{"kind": "fault", "reason": "input", "faults": ["\\ud800"]}'),
    framed(b'{"kind": "result"}'),
    framed(b'{"kind": "result", "segments": {"n_rows": 1e9, "columns": []}}'),
    framed(
        b'{"kind": "result", "segments": {"n_rows": 99999999999, "columns": '
        b'[{"name": "a", "type": "float64"}]}}'
    ),
    framed(b"{}", claimed=2**62),
]


@pytest.mark.parametrize("sent", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_from_a_process_is_refused(reader: VideoReader, sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        deadline = time.monotonic() + 10
        channel = Channel(ours, most_json_bytes=2**20, most_payload_bytes=2**20, deadline=deadline)
        session = VideoSession(
            reader._order(WHOLE, ()),
            limits=reader._limits(1.0),
            encoding=Arithmetic(),
            progress=lambda done, total: None,
        )
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ProtocolError):
            session.run(channel, deadline=deadline)


def test_half_a_message_is_an_end() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        channel = Channel(ours, most_json_bytes=100, most_payload_bytes=100)
        with theirs:
            theirs.sendall(framed(b'{"kind": "collect"}')[:-3])
        with pytest.raises(ChannelClosedError):
            channel.receive()


def test_nobody_waits_longer_than_told() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(
            ours, most_json_bytes=100, most_payload_bytes=100, deadline=time.monotonic() + 0.1
        )
        with pytest.raises(TimeoutError):
            channel.receive()
        with pytest.raises(TimeoutError):
            channel.send("much", None, bytes(10_000_000))
