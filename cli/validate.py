"""`validate`: every fault of a study, before it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import guarded, say
from ._options import SetOption, StudyOption


@guarded
def command(
    study: StudyOption = Path(),
    without_values: Annotated[
        bool,
        typer.Option(
            "--without-values", help="Of the ratings check keys and columns only: no look."
        ),
    ] = False,
    set_: SetOption = [],  # noqa: B006
) -> None:
    """Check protocol, clips, interviews, prompts and ratings; list every fault at once.

    Reads rating values, which the study's history.jsonl records as a look at the outcome: a
    result that comes after it is exploratory. With --without-values it reads none.
    """
    from emoclip_clinical.study.checks import validate_study

    say(validate_study(study, overrides=set_, values=not without_values))
