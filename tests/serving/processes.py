"""A server in a process of its own, as users start it."""

from __future__ import annotations

import os
import re
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.warm import WarmProcess, parent

_START_SECONDS = 240


@dataclass
class ServerProcess:
    """A running server.

    Attributes
    ----------
    url : str
        Where it listens.
    said : list of str
        Lines of its stderr.
    """

    process: WarmProcess
    url: str
    said: list[str] = field(default_factory=list)

    @property
    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def ask_to_end(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self, *, seconds: float = 120) -> int:
        return self.process.wait(timeout=seconds)


@contextmanager
def server_process(
    model: Path, *options: str, scratch: Path, most_files: int | None = None
) -> Iterator[ServerProcess]:
    """Start `emoclip-clinical serve`, and kill it at the end where it still runs.

    With `most_files`, it may have no more open at once, whatever it asks for.
    """
    mine, its = os.pipe()
    nothing = os.open(os.devnull, os.O_RDWR)
    process = WarmProcess(
        parent(),
        ["serve", "--model", str(model), "--port", "0", *options],
        cwd=str(scratch),
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)},
        streams=[nothing, nothing, its],
    )
    if most_files is not None:
        # Long before the model is loaded, after which the server looks at its limit.
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most_files, most_files))
    os.close(nothing)
    os.close(its)
    said: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        with open(mine) as stderr:
            for line in stderr:
                said.append(line)
                if line.startswith("ready: "):
                    ready.set()
        ready.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        assert ready.wait(_START_SECONDS), "".join(said)
        found = re.search(r"ready: (\S+)", "".join(said))
        assert found, "".join(said)
        yield ServerProcess(process, found.group(1), said)
    finally:
        process.kill()
        process.wait()
        listener.join()
