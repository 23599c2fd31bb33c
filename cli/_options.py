"""Options that several commands share, and how they become settings of the protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

StudyOption = Annotated[Path, typer.Option("--study", help="The study's folder.", metavar="DIR")]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="Override a key of the protocol: section.key=value. Repeatable.",
        metavar="KEY=VALUE",
    ),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda[:k].")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print a machine-readable summary on stdout.")
]


def given(**options: Any) -> dict[str, object]:
    """Return the options that were given, by dotted protocol key (`__` stands for the dot)."""
    return {
        key.replace("__", "."): list(value) if isinstance(value, tuple) else value
        for key, value in options.items()
        if value is not None and value != [] and value != ()
    }
