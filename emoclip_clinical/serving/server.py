"""A server's life: load, listen, finish what was accepted, end."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from http import HTTPStatus
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import uvicorn

from emoclip_clinical.core.checkpoint import load_checkpoint
from emoclip_clinical.core.embedder import Embedder
from emoclip_clinical.records import InputError
from emoclip_clinical.regression.estimator import FinalEstimator
from emoclip_clinical.serving.app import make_app
from emoclip_clinical.serving.connections import connections, unsent_bytes
from emoclip_clinical.serving.desk import Desk
from emoclip_clinical.serving.door import Door
from emoclip_clinical.serving.encoding import PICTURES, SEQUENCES, TEXTS, ServedModel
from emoclip_clinical.serving.estimates import (
    ServedEstimators,
    features_precision,
    load_estimators,
)
from emoclip_clinical.serving.isolation.reader import VideoReader
from emoclip_clinical.serving.jobs import Jobs
from emoclip_clinical.serving.metrics import Metrics
from emoclip_clinical.serving.open_files import none_left, raise_open_files
from emoclip_clinical.serving.plan import ServerPlan, checked_tokens, listening_socket
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.prompts import LoadedPrompts
from emoclip_clinical.serving.video_features import video_features

LOG = logging.getLogger("emoclip_clinical.serving")

_KEEP_ALIVE_SECONDS = 75
_LAST_SECONDS = 5
_ACCEPT_LOG_SECONDS = 60.0
_ACCEPTED_AT_ONCE = 128
"""Before those that are too many can be closed: they stay below the limit on open files."""
_WAITING_CONNECTIONS = 2048

ExceptionInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


def serve(
    plan: ServerPlan, *, say: Callable[[str], None], warn: Callable[[Sequence[str]], None]
) -> None:
    """Serve until the process is asked to end.

    SIGTERM and SIGINT end it when all that was accepted is done; a second one ends it at once.

    Parameters
    ----------
    plan : ServerPlan
        What to serve, and where.
    say : callable
        Shows a line to whoever started the server.
    warn : callable
        Shows warnings.

    Raises
    ------
    InputError
        If the plan can not be carried out.
    KeyboardInterrupt
        After a second signal; its message says what that means.
    """
    tokens = checked_tokens(plan.address)
    with listening_socket(plan.address) as listening, open_door(plan) as door:
        files = raise_open_files(plan.config)
        door.standing.most_running = files.most_connections
        of_estimators = door.estimators.warnings if door.estimators else ()
        warn([*plan.address.warnings, *files.warnings, *of_estimators])
        _log_to_stderr()
        scheme = "https" if plan.address.is_encrypted else "http"
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if listening.family == socket.AF_INET6 else host
        server = DoorServer(
            uvicorn.Config(
                make_app(door, tokens=tokens),
                ssl_certfile=plan.address.certificate_file,
                ssl_keyfile=plan.address.key_file,
                http=connections(
                    stall_seconds=plan.config.upload_stall_seconds, most=files.most_connections
                ),
                lifespan="off",
                ws="none",
                # The log of uvicorn holds paths, which may hold anything.
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                backlog=_ACCEPTED_AT_ONCE,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_LAST_SECONDS,
            ),
            door=door,
            ready=lambda: say(f"ready: {scheme}://{shown}:{port}"),
        )
        server.run(sockets=[listening])
    if server.force_exit:
        raise KeyboardInterrupt("ended at once; what was not answered is lost")
    say("ended")


@contextmanager
def open_door(plan: ServerPlan) -> Iterator[Door]:
    """Load everything that a plan names.

    Yields
    ------
    Door
        Its threads and processes end with the context.

    Raises
    ------
    InputError
        If something can not be loaded.
    """
    config, metrics = plan.config, Metrics()
    fitted = load_estimators(plan.estimators)
    embedder = Embedder(
        load_checkpoint(plan.model_folder),
        device=plan.device,
        precision=_precision(plan, fitted),
        batch_frames=max(config.max_batch_frames, config.max_batch_texts),
    )
    model = ServedModel(embedder, config=config, log=metrics)
    prompts = LoadedPrompts(model, own=plan.own_prompts, others=plan.other_prompts)
    estimators = _served(fitted, plan, model)
    with ExitStack() as parts:
        parts.enter_context(model)
        reader = VideoReader(model, config=config)
        parts.callback(reader.close)
        desk = Desk(config=config)
        parts.callback(desk.close)
        reader.check(plan.extraction)
        door = Door(
            model=model,
            config=config,
            extraction=plan.extraction,
            prompts=prompts,
            reader=reader,
            jobs=Jobs(config=config),
            desk=desk,
            estimators=estimators,
            metrics=metrics,
        )
        _watch_work(door)
        yield door


def _watch_work(door: Door) -> None:
    """Show how much there is to do."""
    metrics, jobs, standing = door.metrics, door.jobs, door.standing
    for kind in (PICTURES, TEXTS, SEQUENCES):
        metrics.watch(f"waiting_{kind}", f"Waiting {kind}.", partial(door.model.n_waiting, kind))
    metrics.watch("running_requests", "Requests being answered.", lambda: standing.n_running)
    metrics.watch("pending_jobs", "Jobs that wait or run.", lambda: jobs.pending)
    metrics.watch("unread_jobs", "Jobs whose result nobody has read.", lambda: jobs.unread)


def _served(
    fitted: Sequence[FinalEstimator], plan: ServerPlan, model: ServedModel
) -> ServedEstimators | None:
    if not fitted:
        return None
    videos = video_features(model.embedder, extraction=plan.extraction, prompts=plan.own_prompts)
    return ServedEstimators(fitted, model=model.about, videos=videos)


def _precision(plan: ServerPlan, fitted: Sequence[FinalEstimator]) -> str:
    """Return what the image tower computes with: what the estimators' features were made with."""
    if plan.precision != "auto":
        return plan.precision
    if plan.extraction.precision != "auto":
        return plan.extraction.precision
    made_with = {p for one in fitted if (p := features_precision(one)) is not None}
    # Where they differ, videos are refused for some whatever is taken, with a warning.
    return made_with.pop() if len(made_with) == 1 else "float32"


class DoorServer(uvicorn.Server):
    """A server that goes on answering while it finishes what it has accepted.

    Parameters
    ----------
    config : uvicorn.Config
        How it listens.
    door : Door
        What knows how much is left to do.
    ready : callable
        Called when it answers.
    """

    def __init__(self, config: uvicorn.Config, *, door: Door, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._door = door
        self._ready = ready
        self._ends_by = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Do what the first request would have to wait for, and listen."""
        asyncio.get_running_loop().set_exception_handler(_BesideRequests().tell)
        await asyncio.to_thread(self._door.reader.ready)
        await self._encode_first()
        await super().startup(sockets=sockets)
        for one in sockets or ():
            # asyncio has one number for those that wait and those that it takes at once.
            one.listen(_WAITING_CONNECTIONS)
        self._ready()

    async def _encode_first(self) -> None:
        """Encode a picture, and the server's own prompts."""
        model = self._door.model
        side = model.embedder.image_size_pixels
        try:
            await model.encode_frames(np.zeros((1, side, side, 3), dtype=np.uint8))
            if model.embedder.has_text_tower:
                await self._door.prompts.own_vectors()
        except Problem as problem:
            # Nobody else asks yet: a picture and all own prompts have room.
            if problem.status != HTTPStatus.GATEWAY_TIMEOUT:
                raise
            raise InputError(
                [f"limit request_seconds is too short here: {fault}" for fault in problem.faults]
            ) from None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Give up what was not done in time, and close all connections."""
        await self._door.jobs.close()
        await super().shutdown(sockets=sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end at the first signal; end at once at the second."""
        if self._door.standing.is_draining:
            self.should_exit = self.force_exit = True
            return
        self._door.standing.drain()
        self._ends_by = time.monotonic() + self._door.config.shutdown_seconds

    async def on_tick(self, counter: int) -> bool:
        """End where nothing is left to do; called ten times a second."""
        if self._door.standing.is_draining and (
            self._is_done() or time.monotonic() > self._ends_by
        ):
            self.should_exit = True
        return await super().on_tick(counter)

    def _is_done(self) -> bool:
        jobs = self._door.jobs
        # An answer counts as given when it lies in a connection's buffer.
        unsent = sum(unsent_bytes(one.transport) for one in self.server_state.connections)
        left = (self._door.standing.n_running, jobs.pending, jobs.unread, unsent)
        return not any(left)


class _WithoutMessages(logging.Formatter):
    """Shows where an error came from; its message may hold what a client sent."""

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802
        name = "" if ei[0] is None else ei[0].__name__
        return "".join([*traceback.format_tb(ei[2]), name])


class _BesideRequests:
    """Logs what nobody waited for; asyncio's own words would quote its message."""

    def __init__(self) -> None:
        self._silent_until = 0.0

    def tell(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error, and connections that can not be taken once a minute."""
        error = context.get("exception")
        if isinstance(error, OSError) and "socket" in context and none_left(error) is not None:
            # asyncio tries again thousands of times a second.
            if time.monotonic() >= self._silent_until:
                self._silent_until = time.monotonic() + _ACCEPT_LOG_SECONDS
                LOG.warning("connections can not be taken: too many files are open at once")
        elif error is not None:
            LOG.error("a bug: beside every request", exc_info=error)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WithoutMessages("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("emoclip_clinical.serving").setLevel(logging.INFO)
