"""`init`: a new study folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import guarded, say


@guarded
def command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")],
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="NAME", help="The shipped protocol to begin with.")
    ] = "new_study",
) -> None:
    """Make a study folder with a commented protocol.yaml."""
    from emoclip_clinical.study.shipped import begin_study

    for path in begin_study(directory, protocol=protocol):
        say(f"made {path}")
    # With the values it would be a look at the outcome, and no later result confirmatory.
    say(
        "next: put interviews and ratings.csv there, and run "
        "`emoclip-clinical validate --without-values`"
    )
