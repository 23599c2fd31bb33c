"""The terminal: progress, tables, and the one place where errors become exit codes."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from emoclip_clinical.records import InputError
from emoclip_clinical.records import Progress as ProgressCallback

BAD_INPUT, PARTLY_DONE, INTERRUPTED = 2, 3, 130

_MOST_FINISHED_BARS = 6
_SECONDS_BETWEEN_LINES = 10.0

# Names of targets, columns and people may hold [brackets] and :colons:, which rich would obey.
console = Console(markup=False, emoji=False)
messages = Console(stderr=True, markup=False, emoji=False)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn bad input into its messages and exit code 2, and an interruption into 130."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except InputError as error:
            for fault in error.faults:
                messages.print(f"error: {fault}", style="red", highlight=False, soft_wrap=True)
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt as ended:
            # Its own words are those of who knows better what becomes of the work.
            messages.print(str(ended) or "interrupted; what was finished is kept", style="yellow")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None

    return run


def say(text: str) -> None:
    """Print a line about the work to stderr."""
    messages.print(text, highlight=False, soft_wrap=True)


def warn(warnings: Sequence[str]) -> None:
    """Print warnings to stderr, one a line."""
    for text in warnings:
        messages.print(f"warning: {text}", style="yellow", highlight=False, soft_wrap=True)


def is_a_helper() -> bool:
    """Say whether torchrun started this process beside a first one, which speaks for all."""
    return os.environ.get("RANK", "0") != "0"


@contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """Show progress: bars on a terminal, plain lines elsewhere."""
    if not messages.is_terminal:
        yield _PlainLines()
        return
    bars = Progress(
        TextColumn("{task.description:<16}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        _SpeedColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=messages,
    )
    tasks: dict[str, TaskID] = {}

    def show(task: str, done: int, total: int) -> None:
        if task not in tasks:
            tasks[task] = bars.add_task(task, total=total)
        # A cohort has hundreds of interviews, and a terminal a few dozen lines.
        visible = done < total or len(tasks) <= _MOST_FINISHED_BARS
        bars.update(tasks[task], completed=done, total=total, visible=visible)

    with bars:
        yield show


class _SpeedColumn(ProgressColumn):
    """Units a second: clips, for a training."""

    def render(self, task: Task) -> Text:
        """Return the speed of a task, or nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g}/s", style="progress.data.speed")


class _PlainLines:
    """Progress for a log: a line at the end of a task, and a few on the way of a long one."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[float, int]] = {}
        self._last: dict[str, float] = {}

    def __call__(self, task: str, done: int, total: int) -> None:
        now = time.monotonic()
        started, done_then = self._begun.setdefault(task, (now, done))
        quiet_for = now - self._last.get(task, started)
        if done < total and quiet_for < _SECONDS_BETWEEN_LINES:
            return
        self._last[task] = now
        rate = (done - done_then) / (now - started) if now > started else 0.0
        left = f" ({rate:.3g}/s, {(total - done) / rate:.0f} s left)" if rate > 0 else ""
        say(f"{task}: {done} of {total}{left if done < total else ''}")
