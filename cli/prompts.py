"""`prompts`: the prompt sets that ship, and a check of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import console, guarded
from ._options import JsonOption

if TYPE_CHECKING:
    from emoclip_clinical.records import PromptSet


@guarded
def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME|FILE]...", help="Sets to show; a list of all if left out."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """List the shipped prompt sets, or show and check some: shipped names or YAML files.

    Every fault of a file is listed, and the exit code is 2.
    """
    from emoclip_clinical.features.prompt_sets import load_prompt_sets, shipped_prompt_sets

    sets = load_prompt_sets(tuple(names or shipped_prompt_sets()), folder=Path())
    if json_:
        typer.echo(json.dumps([_summary(s) for s in sets], indent=2, ensure_ascii=False))
    elif names:
        for prompts in sets:
            _print(prompts)
    else:
        _print_list(sets)


def _print_list(sets: tuple[PromptSet, ...]) -> None:
    from rich.table import Table

    table = Table("set", "classes", "compounds", "language", "date")
    for prompts in sets:
        table.add_row(
            prompts.name,
            str(len(prompts.classes)),
            str(len(prompts.compounds) or ""),
            prompts.language,
            prompts.date,
        )
    console.print(table)
    console.print("sentences and authors: emoclip-clinical prompts NAME", highlight=False)


def _print(prompts: PromptSet) -> None:
    from rich.table import Table

    console.print(prompts.name, style="bold", highlight=False)
    details = (prompts.language, prompts.author, prompts.date)
    console.print(", ".join(filter(None, details)), highlight=False)
    classes = Table("class", "sentences")
    for name, sentences in prompts.classes.items():
        classes.add_row(name, "\n".join(sentences))
    console.print(classes)
    if prompts.compounds:
        compounds = Table("compound", "mean of")
        for name, parts in prompts.compounds.items():
            compounds.add_row(name, ", ".join(parts))
        console.print(compounds)


def _summary(prompts: PromptSet) -> dict[str, object]:
    from emoclip_clinical.features.prompt_sets import prompt_set_hash

    return {
        "name": prompts.name,
        "language": prompts.language,
        "author": prompts.author,
        "date": prompts.date,
        "hash": prompt_set_hash(prompts),
        "classes": {name: list(texts) for name, texts in prompts.classes.items()},
        "compounds": {name: list(parts) for name, parts in prompts.compounds.items()},
    }
