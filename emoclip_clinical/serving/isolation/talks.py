"""All that is tried with one file: a process, another one if it dies, for so long and no longer."""

from __future__ import annotations

import logging
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Generic, Protocol, TypeVar

from emoclip_clinical.serving.batching import BatchingStopped
from emoclip_clinical.serving.isolation.messages import Channel, ChannelClosedError, ProtocolError
from emoclip_clinical.serving.isolation.orders import MOST_JSON_BYTES, MOST_RESULT_BYTES
from emoclip_clinical.serving.isolation.processes import (
    ForkServer,
    ForkServerError,
    IsolatedProcess,
)
from emoclip_clinical.serving.isolation.sessions import ReaderFault, Session
from emoclip_clinical.serving.problems import Problem

LOG = logging.getLogger(__name__)
_ATTEMPTS = 2
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_.:<> ]")

T = TypeVar("T")


class OpenFile(Protocol):
    """An uploaded file; see `serving.uploads.SealedFile`."""

    @property
    def fd(self) -> int:
        """Its descriptor."""


class ReaderBugError(Exception):
    """A process ended by an error of our own; the message says where."""


class _ProcessEndedError(Exception):
    def __init__(self, exit_code: int | None) -> None:
        self.exit_code = exit_code
        super().__init__()

    @property
    def how(self) -> str:
        code = self.exit_code
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


class Talk(Generic[T]):
    """One file's reading, from the first process to the result; used by one thread.

    Parameters
    ----------
    forks : ForkServer
        Starts processes.
    file : OpenFile
        What is read.
    session : callable
        Makes a session for each attempt.
    seconds : float
        For all attempts together, from the moment that `run` is called.
    what : str
        ``the video`` or ``the table``, for messages.
    """

    def __init__(
        self,
        forks: ForkServer,
        file: OpenFile,
        session: Callable[[], Session[T]],
        *,
        seconds: float,
        what: str,
    ) -> None:
        self._forks = forks
        self._file = file
        self._make_session = session
        self._seconds = seconds
        self._what = what
        self._lock = threading.Lock()
        self._stopped = False
        self._process: IsolatedProcess | None = None
        self._session: Session[T] | None = None

    def stop(self) -> None:
        """Kill the process; from any thread. Who waits for `run` gets a `Problem`."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()
            if self._session is not None:
                self._session.give_up()

    def run(self) -> T:
        """Read.

        Raises
        ------
        Problem
            See `VideoReader.read`.
        """
        deadline = time.monotonic() + self._seconds
        endings: list[str] = []
        while len(endings) < _ATTEMPTS:
            try:
                return self._answered(deadline)
            except _ProcessEndedError as ended:
                endings.append(ended.how)
                LOG.warning("a process that read an upload ended (%s)", ended.how)
        how = " and ".join(dict.fromkeys(endings))
        raise Problem(422, f"the process that read {self._what} ended ({how}) twice")

    def _answered(self, deadline: float) -> T:
        """Make one attempt, and turn what can go wrong into answers."""
        try:
            return self._attempt(deadline)
        except ReaderFault as fault:
            raise self._problem(fault) from None
        except TimeoutError:
            raise self._too_slow() from None
        except ProtocolError as error:
            LOG.warning("a process that read an upload sent what it should not: %s", error)
            raise Problem(
                422,
                f"the process that read {self._what} did not keep to its protocol: it was ended",
            ) from None
        except (BatchingStopped, CancelledError, ForkServerError):
            raise self._ending() from None

    def _attempt(self, deadline: float) -> T:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = self._begin(theirs.fileno())
            channel = Channel(
                ours,
                most_json_bytes=MOST_JSON_BYTES,
                most_payload_bytes=MOST_RESULT_BYTES,
                deadline=deadline,
            )
            session = self._make_session()
            try:
                self._session = session
                return session.run(channel, deadline=deadline)
            except ChannelClosedError:
                exit_code = process.wait()
                if self._stopped:
                    raise self._ending() from None
                if exit_code == -signal.SIGXCPU:
                    raise TimeoutError from None
                raise _ProcessEndedError(exit_code) from None
            finally:
                self._finish(process, session)

    def _begin(self, channel: int) -> IsolatedProcess:
        with self._lock:
            if self._stopped:
                raise self._ending()
            self._process = self._forks.start(file=self._file.fd, channel=channel)
            return self._process

    def _finish(self, process: IsolatedProcess, session: Session[T]) -> None:
        with self._lock:
            self._process = self._session = None
        session.give_up()
        process.kill()
        process.wait()

    def _problem(self, fault: ReaderFault) -> Exception:
        if fault.reason == "input":
            return Problem(422, fault.faults)
        if fault.reason == "too_large":
            return Problem(413, fault.faults)
        if fault.reason == "memory":
            return Problem(
                422, f"reading {self._what} takes more memory than a process here may have"
            )
        where = " < ".join(reversed(fault.faults))
        LOG.error("a bug in a process that read an upload: %s", _NOT_PLAIN.sub("?", where))
        return ReaderBugError(where)

    def _too_slow(self) -> Problem:
        return Problem(504, f"reading {self._what} took longer than {self._seconds:g} s")

    def _ending(self) -> Problem:
        return Problem(503, "the server is ending, or nobody waits", retry_after_seconds=10)
