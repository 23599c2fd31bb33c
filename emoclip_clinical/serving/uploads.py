"""Bodies that are files: counted, timed and kept without a name while they come in."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from emoclip_clinical.serving.answers import ARROW, NPY
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.connections import SLOWEST_BYTES_PER_SECOND
from emoclip_clinical.serving.forms import FORM, FileKind, Form
from emoclip_clinical.serving.json_bodies import media_type, refuse_content_encoding
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.sealed_files import SealedFile

Kind = Literal[FileKind, "arrow"]

OCTETS = "application/octet-stream"
_TYPES: Mapping[Kind, str] = {"video": f"video/* or {OCTETS}", "frames": NPY, "arrow": ARROW}
_WRITTEN_AT_ONCE_BYTES = 2**20
_FORM_BYTES = 65_536
_READ_ON_BYTES = 4 * 2**20
_READ_ON_SECONDS = 1.0
_RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Upload:
    """What a client sent, complete.

    Attributes
    ----------
    kind : str
        What the file is said to be.
    file : SealedFile
        Its content, to be closed by `close`.
    fields : mapping of str to bytes
        Small parts of a form.
    """

    kind: Kind
    file: SealedFile
    fields: Mapping[str, bytes]

    def close(self) -> None:
        """Give up the file."""
        self.file.close()


class _Sink(Protocol):
    """Takes the chunks of a body, and has a file at the end; a `Form`, or one file alone."""

    @property
    def unwritten(self) -> bytearray:
        """What waits for `flush`."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""

    def flush(self) -> None:
        """Write what has come of the file, which may take a while."""

    def finish(self) -> tuple[Kind, SealedFile, Mapping[str, bytes]]:
        """Return what came."""

    def close(self) -> None:
        """Give up the file."""


class _OneFile:
    """A body that is a file."""

    def __init__(self, kind: Kind) -> None:
        self.unwritten = bytearray()
        self._kind: Kind = kind
        self._file = SealedFile()

    def feed(self, chunk: bytes) -> None:
        self.unwritten += chunk

    def flush(self) -> None:
        self._file.write(self.unwritten)
        self.unwritten.clear()

    def finish(self) -> tuple[Kind, SealedFile, Mapping[str, bytes]]:
        return self._kind, self._file, {}

    def close(self) -> None:
        self._file.close()


async def receive(
    request: Request,
    *,
    config: ServingConfig,
    kinds: frozenset[Kind],
    fields: frozenset[str] = frozenset(),
) -> Upload:
    """Receive a body that is a file, or a form with a file.

    Parameters
    ----------
    request : Request
        Its body has not been read.
    config : ServingConfig
        How large it may be, how slow, and how many there may be at once.
    kinds : frozenset of str
        ``video``, ``frames`` (npy) or ``arrow``.
    fields : frozenset of str
        Small parts that a form may have beside its file.

    Returns
    -------
    Upload
        To be closed.

    Raises
    ------
    Problem
        400 for what is no form, or ends too early; 408 where it stalls; 413 where it is too
        large; 415 for another type; 422 for other parts; 429 where too many are sent at once;
        507 where the disk is full.
    """
    body = _Body(request, config)
    try:
        refuse_content_encoding(request)
        kind = _kind(request, kinds)
        body.limit(_most_bytes(config, kind, kinds))
        with _counted(request, config):
            return await _received(body, _sink(request, config, kind, kinds, fields))
    except Problem as problem:
        # One that still sends would otherwise see a broken connection, and not the answer.
        if not body.ended:
            await _read_on(request)
            problem.headers["Connection"] = "close"
        raise


def _kind(request: Request, kinds: frozenset[Kind]) -> Kind | None:
    """Return what a body is said to be; None for a form."""
    named = media_type(request)
    found: Kind | None = None
    if named == FORM and kinds & {"video", "frames"}:
        return None
    if named.startswith("video/") or named == OCTETS:
        found = "video"
    elif named == NPY:
        found = "frames"
    elif named == ARROW:
        found = "arrow"
    if found is None or found not in kinds:
        wanted = [_TYPES[kind] for kind in _TYPES if kind in kinds]
        forms = [FORM] if kinds & {"video", "frames"} else []
        raise Problem(415, f"the body must be {', '.join([*wanted, *forms])}")
    return found


def _most_bytes(config: ServingConfig, kind: Kind | None, kinds: frozenset[Kind]) -> int:
    if kind is not None:
        return _file_bytes(config, kind)
    largest = max(_file_bytes(config, kind) for kind in kinds if kind != "arrow")
    return largest + config.max_json_bytes + _FORM_BYTES


def _file_bytes(config: ServingConfig, kind: Kind) -> int:
    return config.max_video_bytes if kind == "video" else config.max_frames_bytes


def _sink(
    request: Request,
    config: ServingConfig,
    kind: Kind | None,
    kinds: frozenset[Kind],
    fields: frozenset[str],
) -> _Sink:
    if kind is not None:
        return _OneFile(kind)
    in_forms: tuple[FileKind, ...] = ("video", "frames")
    files = {name: _file_bytes(config, name) for name in in_forms if name in kinds}
    return Form(
        request.headers["content-type"],
        files=files,
        fields=dict.fromkeys(fields, config.max_json_bytes),
    )


@contextmanager
def _counted(request: Request, config: ServingConfig) -> Iterator[None]:
    """Let so many bodies come in at once, and no more."""
    state = request.app.state
    running = getattr(state, "n_uploads", 0)
    if running >= config.max_uploads:
        raise Problem(429, "too many uploads at once", retry_after_seconds=_RETRY_SECONDS)
    state.n_uploads = running + 1
    try:
        yield
    finally:
        state.n_uploads -= 1


async def _received(body: _Body, sink: _Sink) -> Upload:
    try:
        async with aclosing(body.chunks()) as chunks:
            async for chunk in chunks:
                sink.feed(chunk)
                if len(sink.unwritten) >= _WRITTEN_AT_ONCE_BYTES:
                    await run_in_threadpool(sink.flush)
        await run_in_threadpool(sink.flush)
        return Upload(*sink.finish())
    except OSError as error:
        sink.close()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Problem(507, "the server has no room left to keep the upload") from None
        raise
    except BaseException:
        sink.close()
        raise


class _Body:
    """A body's chunks within limits."""

    def __init__(self, request: Request, config: ServingConfig) -> None:
        self._request = request
        self._stall_seconds = config.upload_stall_seconds
        self._most_bytes = 0
        self.ended = False

    def limit(self, most_bytes: int) -> None:
        """Let so many bytes come, and refuse a body that says that it has more."""
        self._most_bytes = most_bytes
        declared = self._request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most_bytes:
            raise self._too_large()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        began, n_bytes = time.monotonic(), 0
        stream = self._request.stream()
        while (chunk := await self._next(stream)) is not None:
            n_bytes += len(chunk)
            if n_bytes > self._most_bytes:
                raise self._too_large()
            slowest = self._stall_seconds + n_bytes / SLOWEST_BYTES_PER_SECOND
            if time.monotonic() - began > slowest:
                raise Problem(
                    408,
                    f"the body came more slowly than {SLOWEST_BYTES_PER_SECOND} bytes a second",
                )
            yield chunk
        self.ended = True

    async def _next(self, stream: AsyncGenerator[bytes, None]) -> bytes | None:
        try:
            async with asyncio.timeout(self._stall_seconds):
                return await anext(stream, None)
        except TimeoutError:
            raise Problem(408, f"nothing of the body came for {self._stall_seconds:g} s") from None
        except ClientDisconnect:
            self.ended = True
            raise Problem(400, "the body ended too early") from None

    def _too_large(self) -> Problem:
        return Problem(413, f"the body may have at most {self._most_bytes} bytes")


async def _read_on(request: Request) -> None:
    """Read a little of what a refused client still sends."""
    n_bytes = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_READ_ON_SECONDS):
            while n_bytes < _READ_ON_BYTES:
                message = await request.receive()
                n_bytes += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
