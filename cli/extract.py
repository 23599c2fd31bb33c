"""`extract`: interviews to segment scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import PARTLY_DONE, console, guarded, progress_bars, say, warn
from ._options import DeviceOption, JsonOption, SetOption, StudyOption, given

if TYPE_CHECKING:
    from emoclip_clinical.features.extract import ExtractionResult


@guarded
def command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders, videos, or an interviews.csv.")
    ],
    study: StudyOption = Path(),
    model: Annotated[
        Path | None, typer.Option("--model", help="A model folder; else the study's.")
    ] = None,
    prompts: Annotated[
        list[str], typer.Option("--prompts", help="A prompt set: a file, or a shipped name.")
    ] = [],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of the tables; else the study's.")
    ] = None,
    face: Annotated[
        str | None,
        typer.Option(
            "--face", help="detect; whole_frame for videos that are cropped already; precomputed."
        ),
    ] = None,
    detector: Annotated[
        str | None, typer.Option("--detector", help="centerface, yunet or uniface.")
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option("--patient", help="longest, largest, left, right, track:<k> or reference."),
    ] = None,
    device: DeviceOption = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make finished interviews again.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="Interviews read at once; else what the device needs."),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="local, or ray: the cluster that RAY_ADDRESS names.")
    ] = "local",
    shard: Annotated[
        str | None,
        typer.Option("--shard", help="Read the i-th of n parts of the interviews.", metavar="i/n"),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Make the tables of what all shards have read.")
    ] = False,
    set_: SetOption = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Turn interviews into segment scores, embeddings and pooled features.

    Goes on where an interrupted run stopped. An interview that can not be read, or of which no
    segment can be scored, is listed, the others go on, and the exit code is 3. Shards may run at
    the same time; when all have ended, the same call with --merge in place of --shard makes the
    tables.
    """
    from emoclip_clinical.features.scale_out import parse_scale
    from emoclip_clinical.study.extract import run_extract
    from emoclip_clinical.study.protocol import open_study

    opened = open_study(
        study,
        overrides=set_,
        settings=given(
            extraction__face=face, extraction__detector=detector, extraction__patient=patient
        ),
    )
    with progress_bars() as progress:
        result = run_extract(
            opened,
            paths,
            model_folder=model,
            output=output,
            prompts=prompts,
            device=device,
            overwrite=overwrite,
            scale=parse_scale(workers=workers, engine=engine, shard=shard, merge=merge),
            progress=progress,
        )
    warn(result.warnings)
    if json_:
        typer.echo(json.dumps(_summary(result), indent=2))
    else:
        _print(result)
    say(f"features: {result.folder}")
    if not result.complete:
        raise typer.Exit(PARTLY_DONE)


def _print(result: ExtractionResult) -> None:
    from rich.table import Table

    table = Table(title="Interviews", title_justify="left")
    table.add_column("status")
    table.add_column("interviews", justify="right")
    table.add_column("segments", justify="right")
    table.add_column("with scores", justify="right")
    for status in sorted({o.status for o in result.interviews}):
        chosen = [o for o in result.interviews if o.status == status]
        table.add_row(
            status,
            str(len(chosen)),
            str(sum(o.n_segments for o in chosen)),
            str(sum(o.n_ok for o in chosen)),
        )
    console.print(table)
    if result.n_kept:
        say(f"{result.n_kept} interviews were finished by an earlier run and kept")
    for outcome in result.interviews:
        if outcome.status != "ok":
            say(f"{outcome.key.name}: {outcome.status}: {outcome.reason}")


def _summary(result: ExtractionResult) -> dict[str, object]:
    return {
        "n_interviews": len(result.interviews),
        "n_failed": result.n_failed,
        "n_partial": result.n_partial,
        "n_unscored": result.n_unscored,
        "n_kept": result.n_kept,
        "warnings": list(result.warnings),
        "interviews": [
            {
                "interview": o.key.name,
                "status": o.status,
                "reason": o.reason,
                "n_segments": o.n_segments,
                "n_ok": o.n_ok,
            }
            for o in result.interviews
        ],
    }
