"""`validate`: every fault of a study, before it is run."""

from __future__ import annotations

from pathlib import Path

from ._console import guarded, say
from ._options import SetOption, StudyOption


@guarded
def command(study: StudyOption = Path(), set_: SetOption = []) -> None:  # noqa: B006
    """Check protocol, clips, interviews, prompts and ratings; list every fault at once.

    Reads rating values, which the study's history.jsonl records.
    """
    from emoclip_clinical.study.checks import validate_study

    say(validate_study(study, overrides=set_))
