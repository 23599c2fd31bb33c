"""The log of an unattended run: what was done and why, with no name of a file in it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from emoclip_clinical.records import InputError
from emoclip_clinical.study.graph import Decision, StepEnd
from emoclip_clinical.study.protocol import CACHES
from emoclip_clinical.study.provenance import Clock, utc_now


class RunLog:
    """Lines of text with the time before each; every line is on the disk when it is written.

    Parameters
    ----------
    path : Path
        Made with its folder; lines are added to a file that is there.
    now : callable
        The clock.

    Raises
    ------
    InputError
        If the file can not be written.
    """

    def __init__(self, path: Path, *, now: Clock = utc_now) -> None:
        self._now = now
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise InputError(f"can not write the log {path}: {error.strerror}") from None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.write(f"ended by {kind.__name__}; what was finished is kept")
        self._file.close()

    def write(self, text: str) -> None:
        """Write one line."""
        self._file.write(f"{self._now().isoformat(timespec='seconds')} {text}\n")

    def note(self, what: StepEnd | Decision) -> None:
        """Write what a run decided, or how a step ended."""
        why = f" ({'; '.join(what.reasons)})" if what.reasons else ""
        if isinstance(what, Decision):
            self.write(f"{what.step}: begins{why}")
        elif what.ending == "failed":
            self.write(f"{what.step}: failed: {_kind(what.error)}")
        elif what.ending == "blocked":
            self.write(f"{what.step}: not run{why}")
        elif what.ending == "skipped":
            self.write(f"{what.step}: nothing has changed")
        else:
            self.write(f"{what.step}: {what.ending}")


def default_log(study: Path, *, now: Clock = utc_now) -> Path:
    """Return where the log of a run that begins now lies."""
    return study / CACHES / "logs" / f"run-{now().strftime('%Y%m%dT%H%M%S%fZ')}.log"


def _kind(error: Exception | None) -> str:
    """Say what kind of failure it was; its message may name files."""
    if isinstance(error, InputError):
        return f"bad input, {len(error.faults)} faults, which the terminal shows"
    return f"{type(error).__name__}, a bug; the terminal shows where"
