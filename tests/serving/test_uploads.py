"""Uploads: what comes in is what was sent, within limits, and nothing is left of it."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import httpx2
import numpy as np
import psutil
import pytest
from starlette.requests import Request

from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.jobs import Jobs, Place
from emoclip_clinical.serving.json_bodies import read_json
from emoclip_clinical.serving.places import Places
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.schemas import TextsRequest
from emoclip_clinical.serving.sealed_files import SealedFile
from emoclip_clinical.serving.uploads import Upload, receive

MIB = 2**20
BOTH = frozenset({"video", "frames"})
PROMPTS = frozenset({"prompts"})
TWO_TYPES = ("video/mp4", "application/octet-stream")
SMALL = ServingConfig(max_video_bytes=3 * MIB, max_frames_bytes=MIB, max_json_bytes=2048)


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[None]:
    """No descriptor stays open and no file has a name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = psutil.Process().num_fds()
    yield
    assert psutil.Process().num_fds() <= before
    assert list(tmp_path.iterdir()) == []


def request_of(
    chunks: Iterable[bytes | float | str | asyncio.Event],
    headers: dict[str, str],
    *,
    state: SimpleNamespace | None = None,
) -> Request:
    """A request whose body comes in chunks.

    A number or an event is a pause, "gone" the client's end.
    """
    waiting = iter(chunks)

    async def get() -> dict[str, object]:
        chunk = next(waiting, None)
        while isinstance(chunk, float | asyncio.Event):
            await (asyncio.sleep(chunk) if isinstance(chunk, float) else chunk.wait())
            chunk = next(waiting, None)
        if chunk is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        if chunk == "gone":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": True}

    app = SimpleNamespace(state=state or SimpleNamespace())
    encoded = [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": encoded, "app": app}
    return Request(scope, get)


def received(
    chunks: Iterable[bytes | float | str],
    headers: dict[str, str],
    *,
    config: ServingConfig = SMALL,
    kinds: frozenset = BOTH,
    fields: frozenset[str] = frozenset(),
) -> tuple[str, bytes, dict[str, bytes]]:
    async def run() -> Upload:
        return await receive(request_of(chunks, headers), config=config, kinds=kinds, fields=fields)

    upload = asyncio.run(run())
    content = os.pread(upload.file.fd, upload.file.size + 1, 0)
    assert os.fstat(upload.file.fd).st_nlink == 0
    upload.close()
    return upload.kind, content, dict(upload.fields)


def refused(chunks: Iterable[bytes | float | str], headers: dict[str, str], **given) -> Problem:
    with pytest.raises(Problem) as caught:
        received(chunks, headers, **given)
    return caught.value


def cut(content: bytes, *, size: int) -> list[bytes]:
    return [content[i : i + size] for i in range(0, len(content), size)]


def noise(n_bytes: int) -> bytes:
    return np.random.default_rng(n_bytes).bytes(n_bytes)


def form_of(parts: dict[str, tuple], *, data: dict[str, str] | None = None):
    """A form as an independent client writes it."""
    request = httpx2.Request("POST", "http://localhost/", files=parts, data=data)
    return request.read(), {"Content-Type": request.headers["content-type"]}


@pytest.mark.parametrize("n_bytes", [0, 1, 1000, MIB, MIB + 1, 3 * MIB])
@pytest.mark.parametrize("size", [1009, 65_536])
def test_a_body_comes_as_it_was_sent(n_bytes: int, size: int) -> None:
    content = noise(n_bytes)
    kind, found, _ = received(cut(content, size=size), {"Content-Type": "video/mp4"})
    assert (kind, found == content) == ("video", True)


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ("video/mp4", "video"),
        ("Video/X-Matroska; codecs=a", "video"),
        ("application/octet-stream", "video"),
        ("application/x-npy", "frames"),
        ("application/vnd.apache.arrow.stream", "arrow"),
    ],
)
def test_types(named: str, kind: str) -> None:
    kinds = frozenset({"video", "frames", "arrow"})
    assert received([b"x"], {"Content-Type": named}, kinds=kinds)[0] == kind


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/vnd.apache.arrow.stream"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "video/mp4", "Content-Encoding": "gzip"},
    ],
)
def test_other_types_are_refused(headers: dict[str, str]) -> None:
    problem = refused([b"x"], headers)
    assert problem.status == 415


@pytest.mark.parametrize("declared", [{"Content-Length": str(100 * MIB)}, {}])
def test_a_body_that_is_too_large(declared: dict[str, str]) -> None:
    n_given = 0

    def endless() -> Iterable[bytes]:
        nonlocal n_given
        for _ in range(100 * 16):
            n_given += 1
            yield bytes(65_536)

    problem = refused(endless(), {"Content-Type": "video/mp4", **declared})
    assert problem.status == 413
    assert problem.faults == (f"the body may have at most {3 * MIB} bytes",)
    assert problem.headers["Connection"] == "close"
    # What is allowed, and a little on top, so that the client sees the answer.
    assert n_given <= 8 * 16


def test_frames_have_their_own_limit() -> None:
    assert refused([bytes(MIB + 1)], {"Content-Type": "application/x-npy"}).status == 413


def test_a_stalled_body() -> None:
    config = SMALL.model_copy(update={"upload_stall_seconds": 0.1})
    problem = refused([b"abc", 0.5, b"d"], {"Content-Type": "video/mp4"}, config=config)
    assert (problem.status, problem.faults[0]) == (408, "nothing of the body came for 0.1 s")


def test_a_dripping_body() -> None:
    config = SMALL.model_copy(update={"upload_stall_seconds": 0.1})
    drops = [part for _ in range(50) for part in (b"x", 0.03)]
    problem = refused(drops, {"Content-Type": "video/mp4"}, config=config)
    assert problem.status == 408
    assert "more slowly than" in problem.faults[0]


def test_a_dripping_body_of_json() -> None:
    config = SMALL.model_copy(update={"upload_stall_seconds": 0.1})
    drops = [part for _ in range(50) for part in (b" ", 0.03)]
    request = request_of(drops, {"Content-Type": "application/json"})
    with pytest.raises(Problem) as caught:
        asyncio.run(read_json(request, TextsRequest, config=config))
    assert caught.value.status == 408
    assert "more slowly than" in caught.value.faults[0]


def test_who_has_sent_all_is_refused_at_once_and_may_stay() -> None:
    whole = [{"type": "http.request", "body": b"no form", "more_body": False}]

    async def get() -> dict[str, object]:
        # A second call would wait, until the client hangs up.
        return whole.pop()

    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    request = request_of([], headers)
    request._receive = get
    with pytest.raises(Problem) as caught:
        asyncio.run(receive(request, config=SMALL, kinds=BOTH))
    assert caught.value.status == 400
    assert "Connection" not in caught.value.headers


@pytest.mark.parametrize("before", [b"abc", bytes(2 * MIB)])
def test_a_client_that_hangs_up(before: bytes) -> None:
    assert refused([before, "gone"], {"Content-Type": "video/mp4"}).status == 400


def test_a_request_that_is_cancelled() -> None:
    async def run() -> None:
        request = request_of([bytes(2 * MIB), 30.0], {"Content-Type": "video/mp4"})
        task = asyncio.ensure_future(receive(request, config=SMALL, kinds=BOTH))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert request.app.state.uploads.n_taken == 0

    asyncio.run(run())


def test_so_many_at_once_and_no_more() -> None:
    config = SMALL.model_copy(update={"max_uploads": 2})
    state = SimpleNamespace()

    async def run() -> None:
        go_on = asyncio.Event()
        chunks = [b"a", go_on, b"b"]
        films = [request_of(chunks, {"Content-Type": t}, state=state) for t in TWO_TYPES]
        slow = [asyncio.ensure_future(receive(film, config=config, kinds=BOTH)) for film in films]
        await asyncio.sleep(0.1)
        third = request_of([b"a"], {"Content-Type": "video/mp4"}, state=state)
        with pytest.raises(Problem) as caught:
            await receive(third, config=config, kinds=BOTH)
        assert caught.value.status == 429
        assert "Retry-After" in caught.value.headers
        go_on.set()
        for upload in await asyncio.gather(*slow):
            upload.close()
        again = request_of([b"a"], {"Content-Type": "video/mp4"}, state=state)
        (await receive(again, config=config, kinds=BOTH)).close()

    asyncio.run(run())


def test_videos_leave_places_to_short_requests() -> None:
    config = SMALL.model_copy(update={"max_uploads": 2})
    state = SimpleNamespace()

    async def run() -> None:
        films = [request_of([b"a", 30.0], {"Content-Type": t}, state=state) for t in TWO_TYPES]
        slow = [asyncio.ensure_future(receive(film, config=config, kinds=BOTH)) for film in films]
        await asyncio.sleep(0.1)
        text = request_of([b'{"texts": ["a"]}'], {"Content-Type": "application/json"}, state=state)
        assert (await read_json(text, TextsRequest, config=config)).texts == ["a"]
        small = request_of([b"a"], {"Content-Type": "application/x-npy"}, state=state)
        (await receive(small, config=config, kinds=BOTH)).close()
        for upload in slow:
            upload.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    asyncio.run(run())


def test_one_token_leaves_half_of_the_places_to_others() -> None:
    places = Places(3)
    with places.taken("a"), places.taken("a"):
        with pytest.raises(Problem, match="of yours") as caught, places.taken("a"):
            pass
        assert caught.value.status == 429
        assert "Retry-After" in caught.value.headers
        with places.taken("b"), pytest.raises(Problem, match="too many uploads at once"):
            places.taken("c").__enter__()
    assert places.n_taken == 0
    # Without tokens nobody is told from anybody.
    with places.taken(""), places.taken(""), places.taken(""):
        assert places.n_taken == 3


def test_a_body_must_keep_up_a_rate_on_the_whole() -> None:
    config = SMALL.model_copy(
        update={"upload_stall_seconds": 0.5, "min_upload_bytes_per_second": 100_000}
    )
    # Each second 50,000 bytes; none of the pauses is a stall.
    crawl = [part for _ in range(40) for part in (bytes(2500), 0.05)]
    began = time.monotonic()
    problem = refused(crawl, {"Content-Type": "video/mp4"}, config=config)
    assert (problem.status, problem.faults) == (
        408,
        ("the body came more slowly than 100000 bytes a second",),
    )
    # t = 0.5 + 50,000 t / 100,000 at 1 s; then a refused body is read on for a second.
    assert 0.9 < time.monotonic() - began < 5
    config = config.model_copy(update={"min_upload_bytes_per_second": 10_000})
    assert received(crawl, {"Content-Type": "video/mp4"}, config=config)[1] == bytes(100_000)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "video/mp4", "Content-Length": str(100 * MIB)}, 413),
        ({"Content-Type": "text/html", "Content-Length": "10"}, 415),
        ({"Content-Type": "video/mp4", "Content-Encoding": "gzip"}, 415),
    ],
)
def test_who_asks_for_leave_is_refused_without_it(headers: dict[str, str], status: int) -> None:
    async def get() -> dict[str, object]:
        raise AssertionError("to ask for the body is to invite it")

    request = request_of([], {**headers, "Expect": "100-continue"})
    request._receive = get
    with pytest.raises(Problem) as caught:
        asyncio.run(receive(request, config=SMALL, kinds=BOTH))
    assert caught.value.status == status
    assert caught.value.headers["Connection"] == "close"


def a_video_form(content: bytes) -> tuple[list[bytes], dict[str, str]]:
    body, headers = form_of({"video": ("x", content)})
    return cut(body, size=5000), headers


def test_a_place_for_the_job_is_kept_before_the_video_comes() -> None:
    jobs = Jobs(config=ServingConfig(max_jobs=1))

    def reserve() -> Place:
        return jobs.reserve("")

    async def run(chunks: Iterable[bytes | float | str], headers: dict[str, str]) -> Upload:
        request = request_of(chunks, headers)
        return await receive(request, config=SMALL, kinds=BOTH, reserve=reserve)

    form, form_headers = a_video_form(noise(50_000))
    for chunks, headers in (([b"x"], {"Content-Type": "video/mp4"}), (form, form_headers)):
        upload = asyncio.run(run(chunks, headers))
        with pytest.raises(Problem) as caught:
            jobs.reserve("")
        assert caught.value.status == 429
        upload.close()
    # Frames become no job.
    with asyncio.run(run([b"x"], {"Content-Type": "application/x-npy"})).file:
        place = jobs.reserve("")
    with pytest.raises(Problem) as caught:
        asyncio.run(run(form, form_headers))
    assert (caught.value.status, caught.value.faults[0][:13]) == (429, "too many jobs")
    place.give_back()
    place.give_back()
    for broken in ([b"x", "gone"], [bytes(4 * MIB)]):
        with pytest.raises(Problem):
            asyncio.run(run(broken, {"Content-Type": "video/mp4"}))
        jobs.reserve("").give_back()


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: SealedFile, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SealedFile, "write", full)
    problem = refused([bytes(2 * MIB)], {"Content-Type": "video/mp4"})
    assert problem.status == 507


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("first", ["video", "prompts"])
def test_a_form_in_any_order_and_any_pieces(size: int, first: str) -> None:
    content = noise(20_000) + b"\r\n--\r\n" + noise(100)
    parts = {"video": ("patient name.mp4", content, "video/mp4"), "prompts": ("p", b"{}", "a/b")}
    order = [first, *(name for name in parts if name != first)]
    body, headers = form_of({name: parts[name] for name in order})
    kind, found, fields = received(cut(body, size=size), headers, fields=PROMPTS)
    assert (kind, found == content, fields) == ("video", True, {"prompts": b"{}"})


def test_a_large_form() -> None:
    content = noise(3 * MIB)
    body, headers = form_of({"video": ("x", content)})
    assert received(cut(body, size=65_536), headers)[1] == content


@pytest.mark.parametrize(
    ("parts", "status", "said"),
    [
        ({"other": ("x", b"secret")}, 422, "unknown name"),
        ({"prompts": ("x", b"{}")}, 422, "must have a part frames or video"),
        ({"video": ("x", b"1"), "frames": ("x", b"2")}, 422, "one part"),
        ({"video": ("x", b"1"), "prompts": ("x", bytes(2049))}, 413, "the part prompts"),
        ({"frames": ("x", bytes(MIB + 1))}, 413, "the part frames"),
    ],
)
def test_forms_of_other_parts(parts: dict[str, tuple], status: int, said: str) -> None:
    body, headers = form_of(parts)
    problem = refused(cut(body, size=5000), headers, fields=PROMPTS)
    assert problem.status == status
    assert said in problem.faults[0]
    assert "secret" not in problem.faults[0]


def test_parts_that_stand_twice() -> None:
    request = httpx2.Request(
        "POST", "http://x/", files=[("video", ("a", b"1")), ("video", ("b", b"2"))]
    )
    headers = {"Content-Type": request.headers["content-type"]}
    assert refused([request.read()], headers).status == 422


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=b"),
        (b"--b\r\n", "multipart/form-data; boundary=b"),
        (b"nothing of a form", "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\nx',
            "multipart/form-data; boundary=b",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="video"\r\n'
            b"Content-Transfer-Encoding: base64\r\n\r\nx\r\n--b--\r\n",
            "multipart/form-data; boundary=b",
        ),
        (b"--b\r\n" + b"A: b\r\n" * 20 + b"\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"--b\r\nA: " + b"b" * 10_000, "multipart/form-data; boundary=b"),
        (b"--b--\r\n", "multipart/form-data"),
        (b"--b--\r\n", f"multipart/form-data; boundary={'b' * 71}"),
    ],
)
def test_what_is_no_form(body: bytes, kind: str) -> None:
    problem = refused(cut(body, size=100), {"Content-Type": kind})
    assert problem.status in (400, 422)


def test_files_move_to_the_disk_when_they_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real: Callable[..., object] = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **k: made.append(1) or real(**k))
    with SealedFile() as file:
        file.write(bytes(MIB))
        assert made == []
        file.write(b"x")
        assert made == [1]
        assert (file.size, os.fstat(file.fd).st_size) == (MIB + 1, MIB + 1)
        # Decoders open it by this name; there is no other.
        assert Path(f"/proc/self/fd/{file.fd}").read_bytes() == bytes(MIB) + b"x"


def test_a_refusal_of_a_whole_body_comes_at_once() -> None:
    body, headers = form_of({"prompts": ("x", b"{}")})
    asked = 0

    async def run() -> Problem:
        request = request_of([body], headers)
        inner = request.receive

        async def counted() -> dict[str, object]:
            nonlocal asked
            asked += 1
            return await inner()

        request._receive = counted
        with pytest.raises(Problem) as caught:
            await receive(request, config=SMALL, kinds=BOTH, fields=PROMPTS)
        return caught.value

    problem = asyncio.run(run())
    assert problem.status == 422
    # The body and its end; then nobody waits for more, which does not come.
    assert asked == 2
    assert "Connection" not in problem.headers
