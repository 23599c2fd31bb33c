"""`run`: everything that a protocol names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import PARTLY_DONE, guarded, progress_bars, say, warn
from ._options import DeviceOption, JsonOption, SetOption


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
    device: DeviceOption = "auto",
    set_: SetOption = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Do everything that a protocol names, leaving out what is already done.

    Train; evaluate, where the protocol has an evaluation section; extract and regress, where the
    study has interviews or ratings.
    """
    from emoclip_clinical.study.protocol import open_study
    from emoclip_clinical.study.run import needed_files, needs_own_model, run_study
    from emoclip_clinical.study.shipped import protocol_path, shipped_protocols

    from .evaluate import show as show_evaluation
    from .regress import show

    shipped = protocol in shipped_protocols()
    file = protocol_path(protocol)
    folder = Path() if shipped else file.parent
    study = open_study(folder, overrides=set_, protocol_file=file)
    study = open_study(folder, overrides=set_, needs=needed_files(study), protocol_file=file)
    with progress_bars() as progress:
        done = run_study(study, device=device, progress=progress)
    if done.trained is None and needs_own_model(study):
        say("train: the model is there already, made from the same clips and settings")
    if done.evaluated is not None:
        show_evaluation(done.evaluated, as_json=json_)
    elif study.protocol.evaluation is not None:
        say("evaluate: the results are there already, made from the same inputs and settings")
    if done.extracted is None:
        return
    warn(done.extracted.warnings)
    kept, all_ = done.extracted.n_kept, len(done.extracted.interviews)
    say(f"extract: {all_} interviews, {kept} of them kept from an earlier run")
    for outcome in done.extracted.interviews:
        if outcome.status != "ok":
            say(f"{outcome.key.name}: {outcome.status}: {outcome.reason}")
    if done.results is None:
        say("regress: the results are there already, made from the same inputs and settings")
    else:
        show(done.results, as_json=json_)
    if done.extracted.n_failed or done.extracted.n_partial:
        raise typer.Exit(PARTLY_DONE)
