"""`run`: everything that a protocol names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import PARTLY_DONE, guarded, progress_bars, say, warn
from ._options import DeviceOption, JsonOption, SetOption

if TYPE_CHECKING:
    from emoclip_clinical.study.graph import Decision, StepEnd
    from emoclip_clinical.study.run import StudyRun

THERE_ALREADY = {
    "train": "the model is there already",
    "evaluate": "the results are there already",
    "extract": "the features are there already",
    "regress": "the results are there already",
    "report": "the reports are there already",
}


@guarded
def command(
    protocol: Annotated[
        str,
        typer.Argument(
            metavar="[PROTOCOL]",
            help="A protocol file in the study's folder, or a shipped one by its name: the study "
            "is then the present folder.",
        ),
    ] = "protocol.yaml",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and why, and run nothing.")
    ] = False,
    first: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STEP",
            help="Begin with this step (train, evaluate, extract, regress, report): it runs even "
            "if nothing has changed, those before it are left alone.",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="STEP", help="This step alone, even if nothing changed."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", help="Add lines to this file; .emoclip/logs/run-<time>.log if none."),
    ] = None,
    device: DeviceOption = "auto",
    set_: SetOption = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Do everything that a protocol names, leaving out what is already done.

    Train; evaluate, where the protocol has an evaluation section; extract, regress and report,
    where the study has interviews or ratings. A step is left out while its inputs, its settings
    and the version of this program are those of its last run. If one fails, those that do not
    need it still run.
    """
    from emoclip_clinical.study.protocol import open_study
    from emoclip_clinical.study.run import needed_files, plan_study, run_study
    from emoclip_clinical.study.shipped import protocol_path, shipped_protocols

    shipped = protocol in shipped_protocols()
    file = protocol_path(protocol)
    folder = Path() if shipped else file.parent
    study = open_study(folder, overrides=set_, protocol_file=file)
    needs = needed_files(study, first=first, only=only)
    study = open_study(folder, overrides=set_, needs=needs, protocol_file=file)
    if dry_run:
        _show_plan(plan_study(study, first=first, only=only), as_json=json_)
        return
    with progress_bars() as progress:
        done = run_study(
            study, first=first, only=only, device=device, log=log, progress=progress, listen=_tell
        )
    _show(done, as_json=json_)
    done.raise_failures()
    if any(end.ending == "partly" for end in done.ends) or (
        done.extracted is not None and not done.extracted.complete
    ):
        raise typer.Exit(PARTLY_DONE)


def _tell(what: StepEnd | Decision) -> None:
    from emoclip_clinical.study.graph import Decision

    if isinstance(what, Decision):
        say(f"{what.step}: begins, since {'; '.join(what.reasons)}")
    elif what.ending == "skipped":
        say(f"{what.step}: {THERE_ALREADY[what.step]}, made from the same inputs and settings")
    elif what.ending == "blocked":
        warn([f"{what.step} did not run: {'; '.join(what.reasons)}"])
    elif what.ending == "failed":
        warn([f"{what.step} failed; what it had before is kept, steps that do not need it go on"])


def _show(done: StudyRun, *, as_json: bool) -> None:
    from .evaluate import show as show_evaluation
    from .regress import show

    if done.trained is not None:
        warn(done.trained.warnings)
    if done.evaluated is not None:
        show_evaluation(done.evaluated, as_json=as_json)
    if done.extracted is not None:
        warn(done.extracted.warnings)
        kept, all_ = done.extracted.n_kept, len(done.extracted.interviews)
        say(f"extract: {all_} interviews, {kept} of them kept from an earlier run")
        for outcome in done.extracted.interviews:
            if outcome.status != "ok":
                say(f"{outcome.key.name}: {outcome.status}: {outcome.reason}")
    if done.results is not None:
        show(done.results, as_json=as_json)


def _show_plan(plan: tuple[Decision, ...], *, as_json: bool) -> None:
    if as_json:
        steps = [{"step": d.step, "verdict": d.verdict, "reasons": list(d.reasons)} for d in plan]
        typer.echo(json.dumps({"steps": steps}))
        return
    words = {"run": "would run", "perhaps": "may run", "skip": "is done already"}
    for decision in plan:
        why = f": {'; '.join(decision.reasons)}" if decision.reasons else ""
        typer.echo(f"{decision.step} {words[decision.verdict]}{why}")
