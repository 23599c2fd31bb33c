"""The server's side of the fork server: start a process, kill it, learn how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading

_MODULE = "emoclip_clinical.serving.isolation.fork_server"
_MOST_NOTICE_BYTES = 4096
_END_SECONDS = 10.0
# A token that stands in the server's environment is no business of a process that reads a video.
_KEPT_ENVIRONMENT = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "XDG_CACHE_HOME",
)
_OWN_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Each arena of the allocator keeps memory that another one could use.
    "MALLOC_ARENA_MAX": "2",
}


class ForkServerError(Exception):
    """The fork server could not be started."""


class IsolatedProcess:
    """One process that reads a file.

    Attributes
    ----------
    process_id : int or None
        None before it was started.
    exit_code : int or None
        As `subprocess.Popen.returncode`: minus the signal's number where one ended it; None
        before the end.
    """

    def __init__(self, server: _Running, number: int) -> None:
        self._server = server
        self._number = number
        self._ended = threading.Event()
        self.process_id: int | None = None
        self.exit_code: int | None = None

    def kill(self) -> None:
        """End it at once; nothing happens where it has ended."""
        if not self._ended.is_set():
            self._server.order({"kill": self._number})

    def wait(self) -> int | None:
        """Wait for its end, which someone must have caused, and return `exit_code`."""
        self._ended.wait(_END_SECONDS)
        return self.exit_code

    def has_ended(self, exit_code: int) -> None:
        """Note how it ended; for the one who hears of it."""
        self.exit_code = exit_code
        self._ended.set()


class _Running:
    """One run of the fork server, and a thread that hears what it says."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-m", _MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**kept, **_OWN_ENVIRONMENT},
                pass_fds=[theirs.fileno()],
            )
        self._lock = threading.Lock()
        self._children: dict[int, IsolatedProcess] = {}
        self._n_started = 0
        self.ended = False
        self.ready = threading.Event()
        self.has_been_ready = False
        self._listener = threading.Thread(target=self._listen, name="fork-server", daemon=True)
        self._listener.start()

    def start(self, *, file: int, channel: int) -> IsolatedProcess:
        with self._lock:
            self._n_started += 1
            child = IsolatedProcess(self, self._n_started)
            if self.ended:
                child.has_ended(-signal.SIGKILL)
                return child
            self._children[self._n_started] = child
            order = json.dumps({"start": self._n_started}).encode()
            # Where it has ended meanwhile, the listener says so.
            with contextlib.suppress(OSError):
                socket.send_fds(self._control, [order], [file, channel])
        return child

    def order(self, what: dict[str, int]) -> None:
        with contextlib.suppress(OSError):
            self._control.send(json.dumps(what).encode())

    def process_ids(self) -> tuple[int, ...]:
        with self._lock:
            found = [child.process_id for child in self._children.values()]
        return tuple(process_id for process_id in found if process_id is not None)

    def stop(self) -> None:
        # The end of the socket is its sign to end, and the kernel ends what it has forked.
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listener.join()
        self._control.close()

    def _listen(self) -> None:
        while text := self._notice():
            notice = json.loads(text)
            if "ready" in notice:
                self.has_been_ready = True
                self.ready.set()
            elif "started" in notice:
                self._children[notice["started"]].process_id = notice["process_id"]
            else:
                with self._lock:
                    child = self._children.pop(notice["ended"])
                child.has_ended(notice["exit_code"])
        with self._lock:
            self.ended = True
            left = list(self._children.values())
            self._children.clear()
        for child in left:
            # The kernel ends them with the fork server.
            child.has_ended(-signal.SIGKILL)
        self.ready.set()

    def _notice(self) -> bytes:
        try:
            return self._control.recv(_MOST_NOTICE_BYTES)
        except OSError:
            return b""


class ForkServer:
    """Starts processes that read files; started itself with the first one, and again if it dies.

    All of it may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._closed = False

    def ready(self) -> None:
        """Start, and wait until its libraries are loaded.

        Raises
        ------
        ForkServerError
            If they can not be loaded.
        """
        running = self._run()
        running.ready.wait()
        if not running.has_been_ready:
            raise ForkServerError("the process that starts the readers of videos can not start")

    def start(self, *, file: int, channel: int) -> IsolatedProcess:
        """Start a process.

        Parameters
        ----------
        file, channel : int
            Descriptors of the file and of its end of the channel, which it gets copies of.

        Returns
        -------
        IsolatedProcess
            Which may have ended already.
        """
        return self._run().start(file=file, channel=channel)

    def process_ids(self) -> tuple[int, ...]:
        """Return the ids of the processes that run now."""
        with self._lock:
            return () if self._running is None else self._running.process_ids()

    def close(self) -> None:
        """End it, and all that it has started."""
        with self._lock:
            running, self._running, self._closed = self._running, None, True
        if running is not None:
            running.stop()

    def _run(self) -> _Running:
        with self._lock:
            if self._closed:
                raise ForkServerError("the server is ending")
            if self._running is not None and self._running.ended:
                self._running.stop()
                self._running = None
            if self._running is None:
                self._running = _Running()
            return self._running
