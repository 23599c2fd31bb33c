"""Running the viewer on this machine, for one browser session."""

from __future__ import annotations

import secrets
import socket

import uvicorn

from emoclip_clinical.records import InputError
from emoclip_clinical.serving.viewer.access import Access
from emoclip_clinical.serving.viewer.app import make_app
from emoclip_clinical.serving.viewer.cohort import Cohort
from emoclip_clinical.study.provenance import Clock, utc_now

LOOPBACK = "127.0.0.1"


class ViewerServer:
    """The viewer, listening on the loopback address.

    Parameters
    ----------
    cohort : Cohort
        What is shown.
    port : int
        0: any that is free.
    show_faces : bool
        Whether the videos themselves are sent.
    now : callable
        The clock, for marks.

    Attributes
    ----------
    url : str
        Opens the page, once.

    Raises
    ------
    InputError
        If the port is in use.
    """

    def __init__(
        self, cohort: Cohort, *, port: int = 0, show_faces: bool = False, now: Clock = utc_now
    ) -> None:
        self._socket = _listening(port)
        self.port: int = self._socket.getsockname()[1]
        token = secrets.token_urlsafe(32)
        self.url = f"http://{LOOPBACK}:{self.port}/?token={token}"
        guarded = Access(
            make_app(cohort, show_faces=show_faces, now=now),
            port=self.port,
            token=token,
            session=secrets.token_urlsafe(32),
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                guarded,
                # A log would hold the token and the interviews that were looked at.
                access_log=False,
                log_level="error",
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )

    def run(self) -> None:
        """Answer requests until `stop` is called or the process is interrupted."""
        with self._socket:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Let `run` return soon."""
        self._server.should_exit = True


def _listening(port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((LOOPBACK, port))
        found.listen()
    except OSError as error:
        found.close()
        raise InputError(f"port {port} can not be used: {error.strerror}") from None
    return found
