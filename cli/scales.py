"""`scales`: the registry of rating scales."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import console, guarded

if TYPE_CHECKING:
    from emoclip_clinical.regression.scales import Scale


@guarded
def command(
    name: Annotated[
        str | None, typer.Argument(help="A scale; a list of all of them if left out.")
    ] = None,
    file: Annotated[
        list[Path],
        typer.Option("--file", help="A scale file of your own beside the shipped. Repeatable."),
    ] = [],  # noqa: B006
) -> None:
    """Show the rating scales: items, ranges, scores, and what a face can show."""
    import difflib

    from emoclip_clinical.records import InputError
    from emoclip_clinical.regression.scales import load_scales

    known = load_scales(file)
    if name is None:
        _list(list(known.values()))
        return
    if name.lower() not in known:
        near = difflib.get_close_matches(name.lower(), list(known), n=3)
        hint = f"; near names: {', '.join(near)}" if near else ""
        raise InputError(f"no scale is called {name!r}; known: {', '.join(known)}{hint}")
    _print(known[name.lower()])


def _list(scales: list[Scale]) -> None:
    from rich.table import Table

    table = Table("scale", "form", "items", "range")
    table.add_column("scores", overflow="fold", min_width=28)
    for scale in scales:
        table.add_row(
            scale.name,
            scale.form or "",
            str(len(scale.items)),
            f"{scale.item_minimum} to {scale.item_maximum}",
            ", ".join(s.name for s in scale.sums),
        )
    console.print(table)
    console.print("items and sources: emoclip-clinical scales NAME", highlight=False)


def _print(scale: Scale) -> None:
    from rich.table import Table

    from emoclip_clinical.regression.targets import Target

    console.print(f"{scale.name}: {scale.title}", style="bold", highlight=False)
    console.print(scale.source, highlight=False)
    console.print(
        f"items are integers from {scale.item_minimum} to {scale.item_maximum}; a score is made of "
        f"complete items, or by choice prorated from {scale.prorate_minimum_share:.0%} of them",
        highlight=False,
    )
    if scale.sums:
        scores = Table("target", "range", "items", "source")
        for s in scale.sums:
            target = Target("", (*s.items, *s.minus), scale, s.score, s.minus)
            counted = ("mean of " if s.score == "mean" else "") + ", ".join(s.items)
            scores.add_row(
                f"{scale.name}.{s.name}",
                f"{target.minimum:g} to {target.maximum:g}",
                counted + (f"; minus {', '.join(s.minus)}" if s.minus else ""),
                s.source or "",
            )
        console.print(scores)
    items = Table("item", "name", "in a picture of the face")
    for item in scale.items:
        items.add_row(item.code, item.name, item.face.replace("_", " "))
    console.print(items)
    if scale.derived:
        console.print(f"derived columns, never added: {', '.join(scale.derived)}", highlight=False)
