"""Jobs with a clock of the test's own; and over HTTP."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from emoclip_clinical.records import InputError
from emoclip_clinical.serving.answers import Answer
from emoclip_clinical.serving.app import make_app
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.door import Door
from emoclip_clinical.serving.job_answers import answered
from emoclip_clinical.serving.jobs import Job, Jobs
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.sealed_files import SealedFile
from tests.serving.near import assert_near

ANSWER = Answer(pa.table({"a": [1, 2]}), {"model": "m"})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def store(clock: Clock, **limits: object) -> Jobs:
    return Jobs(config=ServingConfig(**{"decoders": 2, "max_jobs": 4, **limits}), clock=clock)


class Gate:
    """Work that waits until it is let on, and tells what became of it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.n_begun = self.n_cancelled = self.n_released = 0

    async def work(self, told: Callable[[float, float], None]) -> Answer:
        self.n_begun += 1
        told(3.0, 10.0)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        return ANSWER

    def release(self) -> None:
        self.n_released += 1


async def steps() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_job_from_its_start_to_its_end(clock: Clock) -> None:
    async def run() -> None:
        jobs, gate = store(clock, result_seconds=500), Gate()
        job = jobs.start(gate.work, owner="a", release=gate.release)
        assert job.state == "waiting"
        await steps()
        assert (job.state, job.seconds_done, job.seconds_total) == ("running", 3.0, 10.0)
        assert (jobs.pending, jobs.unread, jobs.expires_in(job)) == (1, 0, None)
        with pytest.raises(Problem) as caught:
            job.result()
        assert caught.value.status == 409
        gate.open.set()
        await job.wait()
        await steps()
        assert job.state == "done"
        assert (job.seconds_done, job.seconds_total) == (10.0, 10.0)
        assert job.result() is ANSWER
        assert (jobs.pending, jobs.unread, gate.n_released) == (0, 1, 1)
        assert jobs.expires_in(job) == 500

    asyncio.run(run())


def test_so_many_run_at_once_and_so_many_wait(clock: Clock) -> None:
    async def run() -> None:
        jobs, gate, refused = store(clock), Gate(), Gate()
        made = [jobs.start(gate.work, owner="") for _ in range(4)]
        await steps()
        assert [job.state for job in made] == ["running", "running", "waiting", "waiting"]
        with pytest.raises(Problem) as caught:
            jobs.start(refused.work, owner="", release=refused.release)
        assert caught.value.status == 429
        assert int(caught.value.headers["Retry-After"]) >= 1
        assert (refused.n_begun, refused.n_released) == (0, 1)
        gate.open.set()
        await asyncio.gather(*(job.wait() for job in made))
        assert gate.n_begun == 4
        await jobs.close()

    asyncio.run(run())


def test_a_result_goes_a_minute_after_it_was_read(clock: Clock) -> None:
    async def run() -> None:
        jobs, gate = store(clock), Gate()
        gate.open.set()
        job = jobs.start(gate.work, owner="a")
        await job.wait()
        await steps()
        clock.now += 100
        assert jobs.find(job.id, owner="a") is job
        jobs.note_read(job)
        assert jobs.unread == 0
        clock.now += 59
        assert jobs.find(job.id, owner="a") is job
        clock.now += 1
        with pytest.raises(Problem) as caught:
            jobs.find(job.id, owner="a")
        assert caught.value.status == 404

    asyncio.run(run())


def test_a_result_that_nobody_reads_goes_as_well(clock: Clock) -> None:
    async def run() -> None:
        jobs, gate = store(clock, result_seconds=50), Gate()
        job = jobs.start(gate.work, owner="a")
        clock.now += 1000
        # While it runs, it stays.
        assert jobs.find(job.id, owner="a") is job
        gate.open.set()
        await job.wait()
        await steps()
        clock.now += 49
        # Reading does not make it stay for longer.
        jobs.note_read(job)
        assert jobs.expires_in(job) == 1
        clock.now += 1
        jobs.sweep()
        assert jobs.unread == 0
        with pytest.raises(Problem):
            jobs.find(job.id, owner="a")

    asyncio.run(run())


def test_what_was_read_makes_room(clock: Clock) -> None:
    async def run() -> None:
        jobs, gate = store(clock), Gate()
        gate.open.set()
        made = [jobs.start(gate.work, owner="") for _ in range(4)]
        await asyncio.gather(*(job.wait() for job in made))
        await steps()
        with pytest.raises(Problem):
            jobs.start(gate.work, owner="")
        jobs.note_read(made[2])
        jobs.start(gate.work, owner="")
        with pytest.raises(Problem):
            jobs.find(made[2].id, owner="")
        assert jobs.find(made[0].id, owner="") is made[0]
        await jobs.close()

    asyncio.run(run())


def test_one_client_leaves_places_to_the_others(clock: Clock) -> None:
    async def run() -> None:
        jobs, gate, refused = store(clock, max_jobs_of_one=2), Gate(), Gate()
        gate.open.set()
        made = [jobs.start(gate.work, owner="a") for _ in range(2)]
        await asyncio.gather(*(job.wait() for job in made))
        await steps()
        with pytest.raises(Problem, match="of yours") as caught:
            jobs.start(refused.work, owner="a", release=refused.release)
        assert (caught.value.status, refused.n_released) == (429, 1)
        others = jobs.start(gate.work, owner="b")
        jobs.note_read(made[0])
        jobs.start(gate.work, owner="a")
        assert jobs.find(others.id, owner="b") is others
        with pytest.raises(Problem):
            jobs.find(made[0].id, owner="a")
        await jobs.close()

    asyncio.run(run())


def test_without_tokens_all_places_are_everybodys(clock: Clock) -> None:
    async def run() -> None:
        jobs, gate = store(clock, max_jobs_of_one=1), Gate()
        jobs.reserve("")
        for _ in range(3):
            jobs.start(gate.work, owner="")
        with pytest.raises(Problem, match="too many jobs wait"):
            jobs.start(gate.work, owner="")
        await jobs.close()

    asyncio.run(run())


def test_room_is_kept_for_jobs_whose_video_still_comes(clock: Clock) -> None:
    async def run() -> None:
        jobs, gate = store(clock, max_jobs_of_one=2), Gate()
        gate.open.set()
        place = jobs.reserve("a")
        jobs.start(gate.work, owner="a")
        with pytest.raises(Problem, match="of yours"):
            jobs.reserve("a")
        others = [jobs.reserve("b"), jobs.reserve("b")]
        with pytest.raises(Problem, match="too many jobs wait"):
            jobs.reserve("c")
        # What was kept is there, and is used up.
        jobs.start(gate.work, owner="a", place=place)
        with pytest.raises(Problem, match="too many jobs wait"):
            jobs.reserve("c")
        for one in others:
            one.give_back()
        jobs.start(gate.work, owner="c")
        assert (jobs.pending, jobs.unread) == (3, 0)
        await jobs.close()

    asyncio.run(run())


def test_a_full_store_refuses_a_video_before_it_is_received(
    open_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    door = open_door(max_jobs=1)

    def none(self: SealedFile, content: bytes) -> None:
        raise AssertionError("it is received")

    with TestClient(make_app(door), base_url="http://localhost") as client:
        place = door.jobs.reserve("")
        headers = {"Content-Type": "video/mp4"}
        sent = ({"content": b"x", "headers": headers}, {"files": {"video": ("v", b"x")}})
        with monkeypatch.context() as patched:
            patched.setattr(SealedFile, "write", none)
            for address in ("/v1/embeddings/video", "/v1/scores"):
                for one in sent:
                    answer = client.post(address, **one)
                    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
        place.give_back()
        # However a request ends, its place is free again.
        for content in (b"no video", b""):
            assert client.post("/v1/scores", content=content, headers=headers).status_code == 422
        bad = {"prompts": ("p", "{", "application/json"), "video": ("v", b"x", "video/mp4")}
        assert client.post("/v1/scores", files=bad).status_code == 400
        frame = client.post("/v1/embeddings/video?unit=frame", content=b"x", headers=headers)
        assert frame.status_code == 422
        door.jobs.reserve("").give_back()


def test_nobody_else_finds_a_job(clock: Clock) -> None:
    async def run() -> None:
        jobs, gate = store(clock), Gate()
        job = jobs.start(gate.work, owner="a")
        for owner, job_id in (("b", job.id), ("", job.id), ("a", job.id[:-1]), ("a", "")):
            with pytest.raises(Problem) as caught:
                jobs.find(job_id, owner=owner)
            assert caught.value.status == 404
        assert len(job.id) >= 32
        await jobs.close()

    asyncio.run(run())


@pytest.mark.parametrize("begun", [True, False])
def test_a_job_that_is_deleted_is_cancelled(clock: Clock, begun: bool) -> None:
    async def run() -> None:
        jobs, gate = store(clock), Gate()
        job = jobs.start(gate.work, owner="a", release=gate.release)
        if begun:
            await steps()
        await jobs.delete(job)
        await steps()
        assert (gate.n_begun, gate.n_cancelled) == ((1, 1) if begun else (0, 0))
        assert (gate.n_released, job.state, jobs.pending) == (1, "cancelled", 0)
        with pytest.raises(Problem):
            jobs.find(job.id, owner="a")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "status", "faults"),
    [
        (Problem(413, ("too long", "too wide")), 413, ("too long", "too wide")),
        (InputError(["one", "two"]), 422, ("one", "two")),
        (KeyError("the patient's name"), 500, ("a fault of the server",)),
        (OSError(errno.EMFILE, "x"), 503, ("too many files are open at once",)),
        (OSError(errno.EIO, "the patient's name"), 500, ("a fault of the server",)),
    ],
)
def test_a_job_that_fails(
    clock: Clock,
    error: Exception,
    status: int,
    faults: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(told: Callable[[float, float], None]) -> Answer:
        raise error

    async def run() -> Job:
        jobs = store(clock)
        job = jobs.start(fail, owner="a")
        await job.wait()
        await steps()
        assert jobs.unread == 1
        return job

    job = asyncio.run(run())
    assert (job.state, job.faults) == ("failed", faults)
    with pytest.raises(Problem) as caught:
        job.result()
    assert caught.value.status == status
    assert "patient's name" not in caplog.text


def test_who_waits_at_the_end_is_told_to_come_again(clock: Clock) -> None:
    async def run() -> None:
        jobs, gate = store(clock), Gate()
        request = Request(
            {"type": "http", "headers": [], "state": {}}, receive=asyncio.Event().wait
        )
        asked = asyncio.create_task(answered(request, jobs, gate.work, wait_seconds=60))
        await steps()
        await jobs.close()
        with pytest.raises(Problem) as caught:
            await asked
        assert caught.value.status == 503
        assert caught.value.headers["Retry-After"] == "10"

    asyncio.run(run())


def test_all_are_cancelled_at_the_end(clock: Clock) -> None:
    async def run() -> None:
        jobs, gate = store(clock), Gate()
        for _ in range(4):
            jobs.start(gate.work, owner="", release=gate.release)
        await steps()
        await jobs.close()
        assert (gate.n_cancelled, gate.n_released, jobs.pending) == (2, 4, 0)

    asyncio.run(run())


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two minutes that take a second to read."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(600):
            picture = np.full((64, 64, 3), i % 200, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.fixture
def posted(client: TestClient, door: Door, film: bytes) -> Iterator[str]:
    """A job over HTTP, at whose end nothing runs."""
    door.reader.ready()
    response = client.post(
        "/v1/embeddings/video?wait=0", content=film, headers={"Content-Type": "video/mp4"}
    )
    assert response.status_code == 202, response.text
    where = response.headers["location"]
    assert response.json()["job"] == where.rpartition("/")[2]
    yield where
    client.delete(where)


def ended(client: TestClient, where: str) -> dict[str, object]:
    for _ in range(600):
        told = client.get(where).json()
        if told["state"] not in ("waiting", "running"):
            return told
        time.sleep(0.1)
    raise AssertionError("the job does not end")


def test_a_job_over_http(client: TestClient, door: Door, posted: str, film: bytes) -> None:
    # A job of two minutes of video is not done at once.
    assert client.get(f"{posted}/result").status_code == 409
    told = ended(client, posted)
    assert told["state"] == "done"
    assert told["seconds_total"] == told["seconds_done"] == 120.0
    assert 3500 < told["expires_in_seconds"] <= 3600
    first = client.get(f"{posted}/result")
    assert first.status_code == 200
    assert client.get(posted).json()["expires_in_seconds"] <= 60
    assert_near(client.get(f"{posted}/result").json(), first.json())
    npy = client.get(f"{posted}/result", headers={"Accept": "application/x-npy"})
    assert npy.content[:6] == b"\x93NUMPY"
    at_once = client.post(
        "/v1/embeddings/video", content=film, headers={"Content-Type": "video/mp4"}
    )
    # Batches differ from run to run, and with them the last digits.
    assert at_once.json()["video"] == first.json()["video"]
    assert client.delete(posted).status_code == 204
    assert client.get(posted).status_code == 404
    assert client.get(f"{posted}/result").status_code == 404
    assert client.delete(posted).status_code == 404
    assert door.reader.process_ids == ()


def test_a_job_that_is_cancelled_over_http(client: TestClient, door: Door, posted: str) -> None:
    assert client.delete(posted).status_code == 204
    assert door.reader.process_ids == ()
    assert client.get(posted).status_code == 404


def test_a_job_that_fails_over_http(client: TestClient, door: Door) -> None:
    door.reader.ready()
    headers = {"Content-Type": "video/mp4"}
    response = client.post("/v1/scores?wait=0", content=b"no video", headers=headers)
    where = response.headers["location"]
    told = ended(client, where)
    assert told["state"] == "failed"
    assert told["faults"] == ["the video can not be read: not a video: the file holds text"]
    result = client.get(f"{where}/result")
    assert (result.status_code, result.json()["faults"]) == (422, told["faults"])
    at_once = client.post("/v1/scores", content=b"no video", headers=headers)
    assert (at_once.status_code, at_once.json()["faults"]) == (422, told["faults"])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("wait=-1", "wait"),
        ("face=precomputed", "face"),
        ("patient=someone", "patient"),
        ("sample_fps=0", "sample_fps"),
        ("window_seconds=3600", "at most 39 sampled frames"),
        ("stride_seconds=0.001", "stride_seconds"),
        ("windows=3", "query.*: "),
        ("unit=frame", "query.unit"),
        ("sample_fps=1e999&patient=secret", "patient"),
    ],
)
def test_queries_that_make_no_sense(client: TestClient, query: str, said: str) -> None:
    response = client.post(
        f"/v1/embeddings/video?{query}", content=b"x", headers={"Content-Type": "video/mp4"}
    )
    assert response.status_code == 422, response.text
    assert said in response.json()["detail"]
    assert "secret" not in response.text


def test_settings_of_videos_are_refused_for_frames(client: TestClient) -> None:
    response = client.post(
        "/v1/embeddings/video?face=detect&sample_fps=5",
        content=b"x",
        headers={"Content-Type": "application/x-npy"},
    )
    assert response.status_code == 422
    assert len(response.json()["faults"]) == 2


def test_a_client_that_hangs_up_takes_its_job_with_it(door: Door, film: bytes) -> None:
    """Over ASGI, where the test says when the client is gone."""
    door.reader.ready()

    async def run() -> int:
        sent = [{"type": "http.request", "body": film, "more_body": False}]

        async def receive() -> dict[str, object]:
            if sent:
                return sent.pop()
            while not door.reader.process_ids:
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, object]) -> None:
            """Nobody is there."""

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/embeddings/video",
            "raw_path": b"/v1/embeddings/video",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"video/mp4")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            "root_path": "",
            "http_version": "1.1",
        }
        await make_app(door)(scope, receive, send)
        return len(door.reader.process_ids)

    before = door.jobs.pending
    assert asyncio.run(run()) == 0
    assert door.jobs.pending == before


def test_addresses_are_described(client: TestClient, tmp_path: Path) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/embeddings/video", "/v1/scores"):
        post = paths[path]["post"]
        assert {"application/x-npy", "video/*", "multipart/form-data"} <= set(
            post["requestBody"]["content"]
        )
        assert {"200", "202", "408", "413", "415", "422", "429"} <= set(post["responses"])
    assert {"get", "delete"} <= set(paths["/v1/jobs/{job}"])
