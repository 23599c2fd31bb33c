"""The registry of rating scales: items, ranges, sums, and what a face can show of each item.

Each scale is a YAML file in ``regression/scales/``; a new scale is a new file and no new code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML

from emoclip_clinical.records import InputError

FaceVisibility = Literal["visible", "partly", "not_visible"]


class Item(BaseModel):
    """One item of a scale: its code, a short name, and whether a face can show it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="Column name in a table.")
    name: str = Field(min_length=1, description="Short name; never the copyrighted wording.")
    face: FaceVisibility = Field(description="What a picture of the face can show of the item.")


class Sum(BaseModel):
    """A sum of items that the scale defines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$", description="Name after the scale's.")
    title: str = Field(min_length=1, description="Name for reports.")
    short: bool = Field(
        default=False, description="Whether the name alone, without the scale's, means this sum."
    )
    items: tuple[str, ...] = Field(min_length=2, description="Codes of the items that are added.")


class Scale(BaseModel):
    """A rating scale.

    Item values are integers from `item_minimum` to `item_maximum`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$", description="Registry name.")
    title: str = Field(min_length=1, description="Full name.")
    source: str = Field(min_length=1, description="Publication that defines the scale.")
    item_minimum: int = Field(description="Lowest value of an item, scale points.")
    item_maximum: int = Field(description="Highest value of an item, scale points.")
    items: tuple[Item, ...] = Field(min_length=1, description="Every item, in the scale's order.")
    sums: tuple[Sum, ...] = Field(default=(), description="The sums that the scale defines.")

    @model_validator(mode="after")
    def _consistent(self) -> Scale:
        codes = [item.code for item in self.items]
        if self.item_minimum >= self.item_maximum:
            raise ValueError("item_minimum must lie below item_maximum")
        names = codes + [s.name for s in self.sums]
        if len(set(names)) < len(names):
            raise ValueError("an item code or the name of a sum stands twice")
        for s in self.sums:
            if len(set(s.items)) < len(s.items) or not set(s.items) <= set(codes):
                raise ValueError(f"sum {s.name!r} must add different items of the scale")
        return self

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of all items, in the scale's order."""
        return tuple(item.code for item in self.items)

    def item(self, code: str) -> Item:
        """Return an item by its code; KeyError for a code that is not of this scale."""
        for item in self.items:
            if item.code == code:
                return item
        raise KeyError(code)


@dataclass(frozen=True)
class Target:
    """What is to be estimated: a sum of columns of a ratings table.

    Attributes
    ----------
    name : str
        Qualified name (``panss.negative_symptoms``, ``panss.N1``) or the column's own name.
    items : tuple of str
        Columns that are added; one for an item or a plain column.
    scale : Scale or None
        The scale that the items belong to; None for a plain column.
    """

    name: str
    items: tuple[str, ...]
    scale: Scale | None = None

    @property
    def minimum(self) -> float | None:
        """Lowest possible value in scale points, None where no scale is known."""
        return None if self.scale is None else float(self.scale.item_minimum * len(self.items))

    @property
    def maximum(self) -> float | None:
        """Highest possible value in scale points, None where no scale is known."""
        return None if self.scale is None else float(self.scale.item_maximum * len(self.items))

    @property
    def visible_items(self) -> tuple[str, ...]:
        """Items that a face can show, at least partly; empty for a plain column."""
        if self.scale is None:
            return ()
        return tuple(i for i in self.items if self.scale.item(i).face != "not_visible")


@cache
def scales() -> Mapping[str, Scale]:
    """Return every scale of the registry by name, read from the package's YAML files."""
    found: dict[str, Scale] = {}
    folder = files("emoclip_clinical.regression") / "scales"
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if not entry.name.endswith(".yaml"):
            continue
        scale = parse_scale(entry.read_text(encoding="utf-8"), name=entry.name)
        found[scale.name] = scale
    _names(found.values())
    return found


def parse_scale(text: str, *, name: str) -> Scale:
    """Read one scale from YAML.

    Raises
    ------
    InputError
        With every fault of the file.
    """
    try:
        return Scale.model_validate(YAML(typ="safe").load(text))
    except ValidationError as error:
        raise InputError(
            f"scale {name}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}"
            for e in error.errors()
        ) from None


def _names(known: Iterable[Scale]) -> dict[str, list[Target]]:
    """Every name that can be typed, qualified or short, with the targets that it may mean."""
    names: dict[str, list[Target]] = {}
    for scale in known:
        for s in scale.sums:
            target = Target(f"{scale.name}.{s.name}", s.items, scale)
            names.setdefault(target.name, []).append(target)
            if s.short:
                names.setdefault(s.name, []).append(target)
        for code in scale.codes:
            target = Target(f"{scale.name}.{code}", (code,), scale)
            names.setdefault(target.name, []).append(target)
            names.setdefault(code, []).append(target)
    twice = [
        f"short name {name!r} is claimed by {', '.join(t.name for t in targets)}"
        for name, targets in names.items()
        if len(targets) > 1 and any(len(t.items) > 1 for t in targets)
    ]
    if twice:
        raise InputError(twice)
    return names


def target_names() -> tuple[str, ...]:
    """Return every qualified name of the registry, sums before items within a scale."""
    return tuple(name for name, targets in _names(scales().values()).items() if "." in name)


def resolve_target(name: str, columns: Iterable[str]) -> Target:
    """Return what a target's name means in a table with these columns.

    Parameters
    ----------
    name : str
        A name of the registry (``panss.negative_symptoms``, ``negative_symptoms``, ``N1``), a sum
        of columns (``N1+N3+N6``), or any column.
    columns : iterable of str
        Columns of the ratings table that may be a target (keys left out).

    Raises
    ------
    InputError
        For an unknown name (with near ones), a short name that two scales share, or columns that
        the target needs and the table lacks.
    """
    columns = list(columns)
    if "+" in name and name not in columns:
        target = _sum_of([part.strip() for part in name.split("+")], columns)
    else:
        target = _single(name, columns)
    missing = [item for item in target.items if item not in columns]
    if missing:
        raise InputError(
            [
                f"target {target.name}: column {item!r} is missing from the ratings"
                for item in missing
            ]
        )
    return target


def _single(name: str, columns: list[str]) -> Target:
    registered = _names(scales().values()).get(name, [])
    if len(registered) > 1:
        qualified = ", ".join(t.name for t in registered)
        raise InputError(f"target {name!r} may mean {qualified}: write one of them")
    if registered:
        return registered[0]
    if name in columns:
        return Target(name, (name,))
    raise InputError(f"target {name!r} is unknown{_near(name, columns)}")


def _sum_of(parts: list[str], columns: list[str]) -> Target:
    if len(set(parts)) < len(parts) or not all(parts):
        raise InputError(f"target {'+'.join(parts)!r}: each item may stand once, and none be empty")
    targets = [_single(part, columns) for part in parts]
    sums = [t.name for t in targets if len(t.items) > 1]
    if sums:
        raise InputError(f"target {'+'.join(parts)!r}: only items can be added, got {sums[0]}")
    items = tuple(t.items[0] for t in targets)
    scale = targets[0].scale
    shared = scale is not None and all(t.scale is scale for t in targets)
    if shared and scale is not None:
        return Target(f"{scale.name}.{'+'.join(items)}", items, scale)
    return Target("+".join(items), items)


def _near(name: str, columns: list[str]) -> str:
    known = [*_names(scales().values()), *columns]
    by_fold = {k.casefold(): k for k in reversed(known)}
    near = [by_fold[k] for k in difflib.get_close_matches(name.casefold(), by_fold, n=4)]
    if near:
        return f"; near names: {', '.join(near)}"
    return f"; known are {', '.join(known[:4])} ... and the numeric columns of the ratings"
