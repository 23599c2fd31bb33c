"""The JSON file beside a BIDS phenotype table, and whether it agrees with a scale's form."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.scales import Scale

SAME_NAME = 0.85
"""Likeness of two short names, from 0 to 1, above which they are taken for the same item."""
_AMERICAN = (("our", "or"), ("isation", "ization"), ("ise", "ize"))


@dataclass(frozen=True)
class ColumnNote:
    """What a side-car says of one column.

    Attributes
    ----------
    description : str
        Its description; empty where there is none.
    levels : tuple of float
        The numeric values that it lists; empty where it lists none.
    is_derived : bool
        Whether it is made from other columns.
    """

    description: str
    levels: tuple[float, ...]
    is_derived: bool


SideCar = Mapping[str, ColumnNote]


def read_side_car(table: Path) -> SideCar:
    """Read the JSON file beside a ``.tsv`` table; empty where there is none.

    Raises
    ------
    InputError
        If the file is not a JSON object.
    """
    path = table.with_suffix(".json")
    if table.suffix.lower() != ".tsv" or not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path.name}: not a readable JSON side-car") from error
    if not isinstance(content, dict):
        raise InputError(f"{path.name}: a JSON object was wanted, got {type(content).__name__}")
    return {str(name): _note(entry) for name, entry in content.items() if isinstance(entry, dict)}


def side_car_faults(
    side_car: SideCar, scale: Scale, *, columns: Mapping[str, str], file: str
) -> list[str]:
    """Say where a side-car contradicts the form of a scale.

    An item's description must not be the short name of another item of the form, and its levels
    must lie in the form's range. Descriptions that resemble no item (another language) say
    nothing.

    Parameters
    ----------
    side_car : mapping of str to ColumnNote
    scale : Scale
        The form that the target names.
    columns : mapping of str to str
        Column of each item's code.
    file : str
        Name of the table.
    """
    names = {item.code: _plain(item.name) for item in scale.items}
    others: list[str] = []
    outside: list[str] = []
    for code, column in columns.items():
        note = side_car.get(column)
        if note is None:
            continue
        likeness = {c: _likeness(_plain(note.description), name) for c, name in names.items()}
        best = max(likeness, key=lambda c: likeness[c])
        if likeness[best] >= SAME_NAME and likeness[code] < SAME_NAME:
            others.append(
                f"{file}: its side-car calls {column} {note.description!r}; in {scale.name} that "
                f"is {best}, and {code} is {scale.item(code).name!r}"
            )
        strange = [v for v in note.levels if not scale.item_minimum <= v <= scale.item_maximum]
        if strange:
            outside.append(
                f"{file}: its side-car lists the value {strange[0]:g} for {column}, items of "
                f"{scale.name} range from {scale.item_minimum} to {scale.item_maximum}"
            )
    # Where the form is wrong most items are, and one of them says it.
    return [
        f"{found[0]}{f' ({len(found) - 1} more columns alike)' if len(found) > 1 else ''}; name "
        "the form that was used"
        for found in (others, outside)
        if found
    ]


def derived_columns(side_car: SideCar, columns: Sequence[str]) -> list[str]:
    """Return those of the columns that the side-car calls derived."""
    return [c for c in columns if c in side_car and side_car[c].is_derived]


def _note(entry: Mapping[str, object]) -> ColumnNote:
    levels = entry.get("Levels")
    named = list(levels) if isinstance(levels, dict) else []
    description = entry.get("Description")
    return ColumnNote(
        description=description if isinstance(description, str) else "",
        levels=tuple(float(v) for v in named if re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", str(v))),
        is_derived=entry.get("Derivative") is True,
    )


def _plain(name: str) -> str:
    """Return a short name without its number, its punctuation and its spelling's country."""
    text = re.sub(r"^\s*\d+[a-z]?\s*[.):]\s*", "", name.casefold())
    for british, american in _AMERICAN:
        text = text.replace(british, american)
    return " ".join(re.findall(r"[a-z]+", text))


def _likeness(one: str, other: str) -> float:
    if not one or not other:
        return 0.0
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()
