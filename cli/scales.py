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
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    # What is typed is never broken; a terminal of 80 columns has room for it.
    table.add_column("scale", no_wrap=True)
    table.add_column("form", max_width=12)
    table.add_column("items", no_wrap=True)
    table.add_column("range", no_wrap=True)
    table.add_column("scores", overflow="fold")
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
        scores = Table()
        scores.add_column("target", no_wrap=True)
        scores.add_column("range", no_wrap=True)
        scores.add_column("items")
        for s in scale.sums:
            target = Target("", (*s.items, *s.minus), scale, s.score, s.minus)
            counted = ("mean of " if s.score == "mean" else "") + ", ".join(s.items)
            scores.add_row(
                f"{scale.name}.{s.name}",
                f"{target.minimum:g} to {target.maximum:g}",
                counted + (f"; minus {', '.join(s.minus)}" if s.minus else ""),
            )
        console.print(scores)
        for source in dict.fromkeys(s.source for s in scale.sums if s.source):
            of = ", ".join(s.name for s in scale.sums if s.source == source)
            console.print(f"{of}: {source}", highlight=False)
    items = Table("item", "name", "in a picture of the face")
    for item in scale.items:
        items.add_row(item.code, item.name, item.face.replace("_", " "))
    console.print(items)
    if scale.derived:
        console.print(f"derived columns, never added: {', '.join(scale.derived)}", highlight=False)
