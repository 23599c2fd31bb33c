"""The registry of rating scales: items, ranges, sums, and what a face can show of each item.

Each scale, and each form of a scale whose items are numbered otherwise, is a YAML file in
``regression/scales/``; a new scale is a new file and no new code. Users add their own files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from emoclip_clinical.records import InputError
from emoclip_clinical.yaml_text import load_yaml

FaceVisibility = Literal["visible", "partly", "not_visible"]
Registry = Mapping[str, "Scale"]
"""Scales by name."""

NAME_PATTERN = r"^[a-z0-9]+(_[a-z0-9]+)*$"


class Item(BaseModel):
    """One item of a scale: its code, a short name, and whether a face can show it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_]*$",
        description="Column name in a table; upper and lower case are not told apart.",
    )
    name: str = Field(min_length=1, description="Short name; never the copyrighted wording.")
    face: FaceVisibility = Field(description="What a picture of the face can show of the item.")


class Sum(BaseModel):
    """A score that the scale defines from its items."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME_PATTERN, description="Name after the scale's.")
    title: str = Field(min_length=1, description="Name for reports.")
    source: str | None = Field(
        default=None, min_length=1, description="Publication; none: the scale's own."
    )
    short: bool = Field(
        default=False,
        description="Whether the bare name, without the scale's, always means this score.",
    )
    score: Literal["sum", "mean"] = Field(default="sum", description="Items are added or averaged.")
    items: tuple[str, ...] = Field(min_length=1, description="Codes of the items that count.")
    minus: tuple[str, ...] = Field(default=(), description="Codes of items that are subtracted.")

    @model_validator(mode="after")
    def _consistent(self) -> Sum:
        every = (*self.items, *self.minus)
        if len(set(every)) < len(every) or len(every) < 2:
            raise ValueError(f"score {self.name!r} must count two or more different items")
        if self.minus and self.score == "mean":
            raise ValueError(f"score {self.name!r}: a mean can not subtract items")
        return self


class Scale(BaseModel):
    """A rating scale, or a form of one.

    Item values are integers from `item_minimum` to `item_maximum`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME_PATTERN, description="Registry name.")
    title: str = Field(min_length=1, description="Full name.")
    source: str = Field(min_length=1, description="Publication that defines the scale.")
    family: str | None = Field(
        default=None, pattern=NAME_PATTERN, description="What forms of one scale have in common."
    )
    form: str | None = Field(default=None, min_length=1, description="Which form it is.")
    item_minimum: int = Field(description="Lowest value of an item, scale points.")
    item_maximum: int = Field(description="Highest value of an item, scale points.")
    prorate_minimum_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Share of a score's items from which it may be prorated, where that is chosen.",
    )
    items: tuple[Item, ...] = Field(min_length=1, description="Every item, in the scale's order.")
    sums: tuple[Sum, ...] = Field(default=(), description="The scores that the scale defines.")
    derived: tuple[str, ...] = Field(
        default=(), description="Columns that repeat items and are never added to anything."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Scale:
        codes = [item.code.casefold() for item in self.items]
        if self.item_minimum >= self.item_maximum:
            raise ValueError("item_minimum must lie below item_maximum")
        names = [*codes, *(s.name for s in self.sums), *(d.casefold() for d in self.derived)]
        if len(set(names)) < len(names):
            raise ValueError("an item code or the name of a score stands twice")
        for s in self.sums:
            unknown = [i for i in (*s.items, *s.minus) if i not in self.codes]
            if unknown:
                raise ValueError(
                    f"score {s.name!r} must count different items of the scale, got "
                    f"{', '.join(unknown)}"
                )
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


@cache
def scales() -> Registry:
    """Return every scale that the package ships by name, read from its YAML files."""
    folder = files("emoclip_clinical.regression") / "scales"
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    found = [
        parse_scale(entry.read_text(encoding="utf-8"), name=entry.name)
        for entry in entries
        if entry.name.endswith(".yaml")
    ]
    return {scale.name: scale for scale in found}


def load_scales(paths: Iterable[str | Path] = ()) -> Registry:
    """Return the shipped scales and those of a user's files.

    Parameters
    ----------
    paths : iterable of path
        YAML files, each with one scale in the form of the shipped ones.

    Returns
    -------
    mapping of str to Scale

    Raises
    ------
    InputError
        With every fault of all files: files that are not there or not YAML, fields that are
        missing or unknown, and names that another scale has.
    """
    known = dict(scales())
    reserved = {s.name: scale.name for scale in known.values() for s in scale.sums if s.short}
    faults: list[str] = []
    for path in map(Path, paths):
        try:
            scale = parse_scale(_text(path), name=path.name)
        except InputError as error:
            faults += error.faults
            continue
        if scale.name in known:
            faults.append(f"scale {path.name}: there is a scale called {scale.name!r} already")
        for s in scale.sums:
            if s.short and s.name in reserved:
                faults.append(
                    f"scale {path.name}: the bare name {s.name!r} always means "
                    f"{reserved[s.name]}.{s.name}; leave out 'short'"
                )
            elif s.short:
                reserved[s.name] = scale.name
        known.setdefault(scale.name, scale)
    if faults:
        raise InputError(faults)
    return known


def parse_scale(text: str, *, name: str) -> Scale:
    """Read one scale from YAML.

    Raises
    ------
    InputError
        With every fault of the file.
    """
    content = load_yaml(text, where=f"scale {name}")
    try:
        return Scale.model_validate(content)
    except ValidationError as error:
        raise InputError(
            f"scale {name}: {'.'.join(map(str, e['loc'])) or 'file'}: "
            f"{e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"scale {path.name}: no such file") from None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"scale {path.name}: not a readable UTF-8 file") from None
