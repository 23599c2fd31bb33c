"""How many files and connections this process may have open at once."""

from __future__ import annotations

import errno
import resource
from dataclasses import dataclass

from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.problems import Problem

_MOST_FILES = 65_536
"""A hard limit may be a thousand millions, and some libraries close every number below it."""
_MOST_CONNECTIONS = 2048
_LEAST_CONNECTIONS = 16
_FILES_OF_LIBRARIES = 128
_FILES_OF_A_READER = 4
_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})
_RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class OpenFiles:
    """What the limit on open files leaves to connections.

    Attributes
    ----------
    most_connections : int
        Those that may be open at once.
    warnings : tuple of str
        Why there are few.
    """

    most_connections: int
    warnings: tuple[str, ...] = ()


def raise_open_files(config: ServingConfig) -> OpenFiles:
    """Let this process have as many files open as it is allowed, and share them out.

    Parameters
    ----------
    config : ServingConfig
        How many uploads, jobs and readers there may be, which need files, too.

    Returns
    -------
    OpenFiles
        With a warning where connections get fewer places than they would elsewhere.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return shared_out(_MOST_FILES if soft == resource.RLIM_INFINITY else soft, config)


def shared_out(n_files: int, config: ServingConfig) -> OpenFiles:
    """Return what so many files leave to connections; see `raise_open_files`."""
    # A file that moves to the disk is open twice for a moment.
    bodies = 2 * config.max_uploads + 2 * config.max_small_uploads
    work = bodies + config.max_jobs + _FILES_OF_A_READER * config.decoders + _FILES_OF_LIBRARIES
    most = min(_MOST_CONNECTIONS, n_files - work)
    if most == _MOST_CONNECTIONS:
        return OpenFiles(most)
    most = max(_LEAST_CONNECTIONS, most)
    wanted = work + _MOST_CONNECTIONS
    return OpenFiles(most, (_few(n_files, most, wanted=wanted),))


def _few(n_files: int, most: int, *, wanted: int) -> str:
    return (
        f"this process may have {n_files} files open, so at most {most} connections are held; "
        f"for {_MOST_CONNECTIONS}, the hard limit (ulimit -Hn, LimitNOFILE=) must be {wanted}"
    )


def none_left(error: OSError) -> Problem | None:
    """Return what is answered where no further file could be opened; None for other errors."""
    if error.errno not in _NONE_LEFT:
        return None
    return Problem(503, "too many files are open at once", retry_after_seconds=_RETRY_SECONDS)
