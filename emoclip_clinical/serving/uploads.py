"""Bodies that are files: counted, timed and kept without a name while they come in."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from emoclip_clinical.serving.answers import ARROW, NPY
from emoclip_clinical.serving.bodies import Body, body_of, media_type
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.forms import FORM, FileKind, Form
from emoclip_clinical.serving.jobs import Place
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.sealed_files import SealedFile

Kind = Literal[FileKind, "arrow"]

OCTETS = "application/octet-stream"
_TYPES: Mapping[Kind, str] = {"video": f"video/* or {OCTETS}", "frames": NPY, "arrow": ARROW}
_WRITTEN_AT_ONCE_BYTES = 2**20
_FORM_BYTES = 65_536


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
    place : Place or None
        What is kept for the job that a video becomes.
    """

    kind: Kind
    file: SealedFile
    fields: Mapping[str, bytes]
    place: Place | None = None

    def close(self) -> None:
        """Give up the file, and the place."""
        self.file.close()
        if self.place is not None:
            self.place.give_back()


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
    reserve: Callable[[], Place] | None = None,
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
    reserve : callable, optional
        Keeps a place for a video's job; called once it is known that a video comes, and before
        it is received.

    Returns
    -------
    Upload
        To be closed.

    Raises
    ------
    Problem
        400 for what is no form, or ends too early; 408 where it stalls; 413 where it is too
        large; 415 for another type; 422 for other parts; 429 where too many are sent at once, or
        of `reserve`; 507 where the disk is full.
    """
    async with body_of(request, config=config) as body:
        kind = _kind(request, kinds)
        body.limit(_most_bytes(config, kind, kinds))
        kept = _Kept(reserve)
        try:
            if kind is not None:
                kept.is_a(kind)
            sink = _sink(request, config, kind, kinds, fields, found=kept.is_a)
            return Upload(*await _received(body, sink), place=kept.place)
        except BaseException:
            kept.give_back()
            raise


class _Kept:
    """The place that is kept for a video, from the moment at which it is known that one comes."""

    def __init__(self, reserve: Callable[[], Place] | None) -> None:
        self._reserve = reserve
        self.place: Place | None = None

    def is_a(self, kind: Kind) -> None:
        if kind == "video" and self._reserve is not None:
            self.place = self._reserve()

    def give_back(self) -> None:
        if self.place is not None:
            self.place.give_back()


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
    *,
    found: Callable[[FileKind], None],
) -> _Sink:
    if kind is not None:
        return _OneFile(kind)
    in_forms: tuple[FileKind, ...] = ("video", "frames")
    files = {name: _file_bytes(config, name) for name in in_forms if name in kinds}
    return Form(
        request.headers["content-type"],
        files=files,
        fields=dict.fromkeys(fields, config.max_json_bytes),
        found=found,
    )


async def _received(body: Body, sink: _Sink) -> tuple[Kind, SealedFile, Mapping[str, bytes]]:
    try:
        async with aclosing(body.chunks()) as chunks:
            async for chunk in chunks:
                sink.feed(chunk)
                if len(sink.unwritten) >= _WRITTEN_AT_ONCE_BYTES:
                    await run_in_threadpool(sink.flush)
        await run_in_threadpool(sink.flush)
        return sink.finish()
    except OSError as error:
        sink.close()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Problem(507, "the server has no room left to keep the upload") from None
        raise
    except BaseException:
        sink.close()
        raise
