"""Time `emoclip-clinical --help` and every `COMMAND --help`; each must answer in under a second.

Run where the project is installed: ``python benchmarks/help_speed.py``. Every call is a fresh
process, as a user's is. Ends with 1 when any median is over the limit.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.table import Table

LIMIT_SECONDS = 1.0


def command_paths(command: object, *, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words that lead to a command and to each of its sub-commands."""
    yield prefix
    children: dict[str, object] = getattr(command, "commands", {})
    for name in sorted(children):
        yield from command_paths(children[name], prefix=(*prefix, name))


def help_seconds(words: tuple[str, ...]) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "emoclip_clinical", *words, "--help"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats

    from emoclip_clinical.cli import app

    table = Table("command", "median (s)", "slowest (s)", title=f"--help, {repeats} runs each")
    slow = []
    for words in command_paths(typer.main.get_command(app)):
        seconds = [help_seconds(words) for _ in range(repeats)]
        median = statistics.median(seconds)
        if median >= LIMIT_SECONDS:
            slow.append(words)
        table.add_row(
            " ".join(("emoclip-clinical", *words)), f"{median:.2f}", f"{max(seconds):.2f}"
        )
    Console().print(table)
    return 1 if slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
