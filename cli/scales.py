"""`scales`: the registry of rating scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ._console import console, guarded

if TYPE_CHECKING:
    from emoclip_clinical.regression.scales import Scale


@guarded
def command(
    name: Annotated[str | None, typer.Argument(help="A scale; all of them if left out.")] = None,
) -> None:
    """Show the rating scales: items, ranges, sums, and what a face can show."""
    from emoclip_clinical.records import InputError
    from emoclip_clinical.regression.scales import scales

    known = scales()
    if name is not None and name.lower() not in known:
        raise InputError(f"no scale is called {name!r}; known: {', '.join(known)}")
    for scale in [known[name.lower()]] if name else known.values():
        _print(scale)


def _print(scale: Scale) -> None:
    from rich.table import Table

    lowest, highest = scale.item_minimum, scale.item_maximum
    console.print(f"{scale.name}: {scale.title}", style="bold", highlight=False)
    console.print(scale.source, highlight=False)
    console.print(f"items are integers from {lowest} to {highest}", highlight=False)
    sums = Table("target", "range", "sum of")
    for each in scale.sums:
        n = len(each.items)
        sums.add_row(f"{scale.name}.{each.name}", f"{n * lowest} to {n * highest}",
                     ", ".join(each.items))  # fmt: skip
    console.print(sums)
    items = Table("item", "name", "in a picture of the face")
    for item in scale.items:
        items.add_row(item.code, item.name, item.face.replace("_", " "))
    console.print(items)
