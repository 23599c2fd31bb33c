"""`faces`: one contact sheet an interview, to see who is taken for the patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import PARTLY_DONE, console, guarded, progress_bars, say, warn
from ._options import JsonOption, SetOption, StudyOption, given

if TYPE_CHECKING:
    from emoclip_clinical.features.contact_sheet import SheetOutcome


@guarded
def command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[PATH...]",
            help="Folders, videos, or an interviews.csv; else the study's interviews.",
        ),
    ] = [],  # noqa: B006
    study: StudyOption = Path(),
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of the pictures; else faces/.")
    ] = None,
    show_faces: Annotated[
        bool, typer.Option("--show-faces", help="Do not blur: the sheets then show people.")
    ] = False,
    face: Annotated[
        str | None, typer.Option("--face", help="detect, or precomputed boxes.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option("--detector", help="centerface, yunet or uniface.")
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option("--patient", help="longest, largest, left, right, track:<k> or reference."),
    ] = None,
    set_: SetOption = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Draw who is in each interview and who is taken for the patient, to be signed off.

    Faces are blurred unless --show-faces is given. The numbers are those of track:<k>.
    """
    from emoclip_clinical.study.contact_sheets import run_faces
    from emoclip_clinical.study.protocol import open_study

    opened = open_study(
        study,
        overrides=set_,
        settings=given(
            extraction__face=face, extraction__detector=detector, extraction__patient=patient
        ),
    )
    with progress_bars() as progress:
        outcomes = run_faces(opened, paths, output=output, show_faces=show_faces, progress=progress)
    warn([outcome.warning for outcome in outcomes if outcome.warning])
    for outcome in outcomes:
        if outcome.reason:
            say(f"{outcome.key.name}: {outcome.reason}")
    if json_:
        typer.echo(json.dumps([_summary(outcome) for outcome in outcomes], indent=2))
    else:
        _print(outcomes)
    folders = {str(outcome.path.parent) for outcome in outcomes if outcome.path is not None}
    for folder in sorted(folders):
        say(f"contact sheets: {folder}")
    if any(outcome.path is None for outcome in outcomes):
        raise typer.Exit(PARTLY_DONE)


def _print(outcomes: tuple[SheetOutcome, ...]) -> None:
    from rich.table import Table

    table = Table(title="People", title_justify="left")
    for name in ("interview", "people", "patient", "share", "lead"):
        table.add_column(name, justify="left" if name == "interview" else "right")
    for outcome in outcomes:
        if outcome.scan is not None:
            choice = outcome.scan.choice
            table.add_row(
                outcome.key.name,
                str(choice.n_people),
                "none" if choice.person is None else f"person {choice.person}",
                _percent(choice.share),
                _percent(choice.margin),
            )
    console.print(table)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _summary(outcome: SheetOutcome) -> dict[str, object]:
    found: dict[str, object] = {"interview": outcome.key.name, "reason": outcome.reason}
    if outcome.scan is not None:
        choice = outcome.scan.choice
        found |= {
            "n_people": choice.n_people,
            "patient_rule": choice.rule,
            "patient_track": choice.person,
            "patient_share": choice.share,
            "patient_margin": choice.margin,
            "patient_confidence": choice.confidence,
            "warning": outcome.warning,
        }
    return found
