"""The process that forks: it loads the libraries once, and opens no file from outside itself.

Started by `processes.ForkServer` as ``python -m … <descriptor>``; orders come over a socket, with
the descriptors of the file and of the channel. It is alone in its thread, so that a fork copies no
lock that another thread holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import NoReturn

_PRELOADED = (
    "emoclip_clinical.serving.isolation.worker",
    # What these load on first use, every video would load again.
    "cv2",
    "pyarrow.ipc",
)
_MOST_ORDER_BYTES = 4096
_FILE, _CHANNEL = 3, 4


@dataclass
class _Forked:
    process_ids: dict[int, int] = field(default_factory=dict)
    watched: dict[int, int] = field(default_factory=dict)


def main() -> NoReturn:
    """Serve until the other end of the socket is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A signal to the whole group is the server's to answer: it finishes what it accepted.
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in _PRELOADED:
        importlib.import_module(module)
    # What is never collected is never written to, and stays shared with what is forked.
    gc.collect()
    gc.freeze()
    _tell(control, {"ready": True})
    _serve(control)
    # The libraries' own farewells take seconds, and say things on stderr.
    os._exit(0)


def _serve(control: socket.socket) -> None:
    forked = _Forked()
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not control:
                    _reap(key.fd, forked, selector, control)
                elif not _obey(control, forked, selector):
                    # The kernel ends what was forked, when this process ends.
                    return


def _obey(control: socket.socket, forked: _Forked, selector: selectors.BaseSelector) -> bool:
    text, descriptors, _, _ = socket.recv_fds(control, _MOST_ORDER_BYTES, 2)
    if not text:
        return False
    order = json.loads(text)
    if "kill" in order:
        process_id = forked.process_ids.get(order["kill"])
        if process_id is not None:
            os.kill(process_id, signal.SIGKILL)
        return True
    number, server = order["start"], os.getpid()
    process_id = os.fork()
    if process_id == 0:
        _work(server, *descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    watch = os.pidfd_open(process_id)
    forked.process_ids[number], forked.watched[watch] = process_id, number
    selector.register(watch, selectors.EVENT_READ)
    _tell(control, {"started": number, "process_id": process_id})
    return True


def _reap(
    watch: int, forked: _Forked, selector: selectors.BaseSelector, control: socket.socket
) -> None:
    number = forked.watched.pop(watch)
    selector.unregister(watch)
    os.close(watch)
    _, status = os.waitpid(forked.process_ids.pop(number), 0)
    _tell(control, {"ended": number, "exit_code": os.waitstatus_to_exitcode(status)})


def _tell(control: socket.socket, what: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        control.send(json.dumps(what).encode())


def _work(server: int, file: int, channel: int) -> NoReturn:
    """Keep the file and the channel and nothing else, then read."""
    code = 1
    try:
        from emoclip_clinical.serving.isolation.limits import be_ended_first, die_with_parent
        from emoclip_clinical.serving.isolation.worker import main as read

        die_with_parent(server)
        be_ended_first()
        _keep_only(file, channel)
        read(file=_FILE, channel=_CHANNEL)
        code = 0
    finally:
        # Nothing of the fork server's own may be finished here.
        os._exit(code)


def _keep_only(file: int, channel: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    # First out of the way of the numbers that they are to have.
    free = [fcntl.fcntl(number, fcntl.F_DUPFD, _CHANNEL + 1) for number in (file, channel)]
    for number, source in enumerate((nowhere, nowhere, nowhere, *free)):
        os.dup2(source, number)
    os.closerange(_CHANNEL + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


if __name__ == "__main__":
    main()
