"""What the kernel holds a process to that opens files from outside."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_MOST_FILES = 64
_MIB = 2**20


@dataclass(frozen=True)
class ProcessLimits:
    """Limits of one process.

    Attributes
    ----------
    memory_mib : int
        On top of what the libraries take, which all such processes share.
    cpu_seconds : int
        Of all its threads together.
    """

    memory_mib: int
    cpu_seconds: int


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends, and never give it more rights.

    Parameters
    ----------
    parent : int
        Process id of the parent.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It ended before the kernel was asked.
        os._exit(1)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def be_ended_first() -> None:
    """Where the machine runs out of memory, let the kernel end this process before the server."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        # Some containers forbid it; the limit on memory holds all the same.
        return


def apply(limits: ProcessLimits) -> None:
    """Hold this process to limits, for good.

    Parameters
    ----------
    limits : ProcessLimits
        Which.
    """
    memory = _data_bytes() + limits.memory_mib * _MIB
    cpu = limits.cpu_seconds
    for what, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
    ):
        _lower(what, most, most)
    # The kernel's first word is SIGXCPU, which tells why the process ended.
    _lower(resource.RLIMIT_CPU, cpu, cpu + 5)


def _lower(what: int, soft: int, hard: int) -> None:
    _, ceiling = resource.getrlimit(what)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(what, (soft, hard))


def _data_bytes() -> int:
    """Return how much memory of its own this process has, as RLIMIT_DATA counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status names no VmData")


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
