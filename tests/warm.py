"""Commands without their long start: forked from one process that has imported PyTorch already.

A process that needs PyTorch and open_clip spends ten seconds on their imports, most of what many
a test would take. Here a parent imports them once and forks for each command, which else runs as
`emoclip-clinical` does: with its own arguments, folder, environment, streams and exit code. Tests
of the start itself, and of what is installed, start their processes the usual way.

As a script: ``warm.py parent SOCKET`` is the parent, ``warm.py command SOCKET ...`` a command.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

# Heavy, and without a state of their own that a command's environment would change.
IMPORTED = (
    "av",
    "cv2",
    "fastapi",
    "matplotlib.figure",
    "onnxruntime.quantization",
    "open_clip",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.metrics",
    "statsmodels.regression.mixed_linear_model",
    "torch",
    "uvicorn",
)


class WarmProcess:
    """A command that runs; as `subprocess.Popen`, as far as the tests need it.

    Parameters
    ----------
    address : str
        Of the parent.
    streams : list of int
        What is to be its stdin, stdout and stderr.

    Attributes
    ----------
    pid : int
        Of the command itself.
    """

    def __init__(
        self,
        address: str,
        arguments: list[str],
        *,
        cwd: str,
        env: dict[str, str],
        streams: list[int],
    ) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(address)
        wanted = json.dumps({"arguments": arguments, "cwd": cwd, "env": env}).encode()
        socket.send_fds(self._socket, [b"%16d" % len(wanted)], streams)
        self._socket.sendall(wanted)
        self._told = self._socket.makefile("r")
        self.pid = int(self._told.readline())
        self._code: int | None = None

    def send_signal(self, number: int) -> None:
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code; minus the signal that ended it."""
        if self._code is None:
            self._socket.settimeout(timeout)
            self._code = int(self._told.readline())
            self._socket.close()
        return self._code


@cache
def parent() -> str:
    """Return the address of this process's parent of commands, started when first asked for."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    address = folder / "socket"
    process = subprocess.Popen(
        [sys.executable, __file__, "parent", str(address)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    script = folder / "emoclip-clinical"
    script.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -SE "{__file__}" command "{address}" "$@"\n'
    )
    script.chmod(0o755)

    def end() -> None:
        process.stdin.close()
        process.wait()
        shutil.rmtree(folder)

    atexit.register(end)
    return str(address)


def commands() -> Path:
    """Return a folder for PATH, whose `emoclip-clinical` needs no start."""
    return Path(parent()).parent


def _command(address: str, arguments: list[str]) -> int:
    process = WarmProcess(
        address, arguments, cwd=os.getcwd(), env=dict(os.environ), streams=[0, 1, 2]
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: process.send_signal(number))
    return process.wait()


def _parent(address: str) -> list[str] | None:
    """Answer until stdin ends; return a command's arguments in each child that is to run one."""
    for name in IMPORTED:
        __import__(name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen()
    # Nobody waits for the keepers of commands.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            return None
        asking, _ = listener.accept()
        if os.fork():
            asking.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return _keep(asking)


def _keep(asking: socket.socket) -> list[str]:
    """Fork again, for the command; its keeper tells how it ends, and ends it with who asked."""
    size, streams, _, _ = socket.recv_fds(asking, 16, 3)
    wanted = json.loads(asking.makefile("rb").read(int(size)))
    pid = os.fork()
    if pid == 0:
        asking.close()
        _become(wanted, streams)
        return list(wanted["arguments"])
    for number in streams:
        os.close(number)
    asking.sendall(b"%d\n" % pid)
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([ended, asking], [], [])
    if ended not in ready:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        asking.sendall(b"%d\n" % code)
    os._exit(0)


def _become(wanted: dict, streams: list[int]) -> None:
    """Take the folder, the environment and the streams of who asked."""
    for number, output in enumerate(streams):
        os.dup2(output, number)
        os.close(output)
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])


if __name__ == "__main__":
    role, address, *rest = sys.argv[1:]
    if role == "command":
        sys.exit(_command(address, rest))
    arguments = _parent(address)
    if arguments is not None:
        sys.argv = ["emoclip-clinical", *arguments]
        runpy.run_module("emoclip_clinical", run_name="__main__", alter_sys=True)
