"""`import-checkpoint`: the EmoCLIP authors' weights as a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ._console import guarded, say, warn
from ._options import JsonOption


@guarded
def command(
    file: Annotated[Path, typer.Argument(help="The authors' .pth.", metavar="FILE.pth")],
    output: Annotated[Path, typer.Option("--output", help="Model folder to write: models/NAME.")],
    add_text_tower: Annotated[
        str | None,
        typer.Option(
            "--add-text-tower",
            help="For a file without text tower: openai (fetched once), or a file of weights.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is there already.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a checkpoint of the EmoCLIP authors into a model folder."""
    from emoclip_clinical.core.official_checkpoint import import_official
    from emoclip_clinical.study.cards import write_model_documents

    done = import_official(file, folder=output, text_tower=add_text_tower, overwrite=overwrite)
    write_model_documents(done.folder)
    temporal, tower = done.config.temporal, done.config.tower
    say(
        f"{done.form} form: {len(done.found)} tensors found, {len(done.missing)} (groups of) "
        f"tensors missing, {len(done.left_out)} left out"
    )
    for title, names in (("missing", done.missing), ("left out", done.left_out)):
        for name in names:
            say(f"  {title}: {name}")
    say(
        f"image tower {tower.name}; temporal part of {temporal.layers} layers, {temporal.heads} "
        f"heads of width {temporal.head_width}, MLP {temporal.mlp_width}, {temporal.positions} "
        f"positions{' (the published geometry)' if done.config.faithful else ''}"
    )
    say(
        "text tower: none, so texts and scores are refused (--add-text-tower openai adds one)"
        if done.text_tower == "none"
        else f"text tower: from {done.text_tower}"
    )
    warn(done.warnings)
    say(f"model: {done.folder}")
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "folder": str(done.folder),
                    "form": done.form,
                    "found": list(done.found),
                    "missing": list(done.missing),
                    "left_out": list(done.left_out),
                    "text_tower": done.text_tower,
                    "architecture": done.config.model_dump(mode="json"),
                    "warnings": list(done.warnings),
                }
            )
        )
