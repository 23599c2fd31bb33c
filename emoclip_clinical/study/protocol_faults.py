"""Faults of a protocol in words: which key, in which file, on which line, and what is near it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from emoclip_clinical.study.protocol_reading import KeyPath, Place, ProtocolText


def schema_faults(error: ValidationError, text: ProtocolText, schema: type[BaseModel]) -> list[str]:
    """Return every fault that the schema found, in the order of the files' lines.

    Parameters
    ----------
    error : ValidationError
    text : ProtocolText
        What was checked.
    schema : type of BaseModel
        By what.
    """
    found = [_fault(e, text.places, schema) for e in error.errors()]
    return [message for _, message in sorted(found, key=lambda f: (f[0].file, f[0].line))]


def missing_files(
    text: ProtocolText, folder: Path, *, needs: Iterable[str], defaults: Mapping[str, object]
) -> list[str]:
    """Return a fault for each key of `data` whose file is needed and not there.

    Parameters
    ----------
    text : ProtocolText
    folder : Path
        The study.
    needs : iterable of str
        Keys of `data`.
    defaults : mapping
        Their values where the protocol says nothing.
    """
    data = text.content.get("data")
    named = data if isinstance(data, dict) else {}
    faults = []
    for key in needs:
        value = named.get(key, defaults[key])
        if isinstance(value, str) and not (folder / value).exists():
            place = text.places.get(("data", key), Place())
            where = f"{place}: " if place.file else ""
            faults.append(f"{where}data.{key}: no such file or folder: {folder / value}")
    return faults


def _fault(
    error: Any, places: Mapping[KeyPath, Place], schema: type[BaseModel]
) -> tuple[Place, str]:
    path = _as_written(tuple(str(part) for part in error["loc"]))
    place = _place(path, places)
    key = ".".join(path) or "the protocol"
    if error["type"] == "extra_forbidden":
        return place, f"{place}: unknown key {key}{_suggestion(path, schema)}"
    got = "" if isinstance(error["input"], dict) else f", got {error['input']!r}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return place, f"{place}: {key} {message}{got}"


def _as_written(path: KeyPath) -> KeyPath:
    """Leave out what pydantic calls the forms of a setting that may be text or a section."""
    for place in (("data", "clips"), ("evaluation", "data")):
        if path[:2] == place and path[2:3] in (("manifest",), ("source",)):
            return path[:2] + path[3:]
    return path


def _place(path: KeyPath, places: Mapping[KeyPath, Place]) -> Place:
    for length in range(len(path), 0, -1):
        if path[:length] in places:
            return places[path[:length]]
    return Place()


def _suggestion(path: KeyPath, schema: type[BaseModel]) -> str:
    model: type[BaseModel] | None = schema
    for part in path[:-1]:
        if model is None:
            return ""
        known_field = model.model_fields.get(part)
        model = _section(known_field.annotation) if known_field else None
    if model is None:
        return ""
    close = difflib.get_close_matches(path[-1], list(model.model_fields), n=1)
    known = ", ".join(model.model_fields)
    return f"; did you mean {close[0]}?" if close else f"; known here: {known}"


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a setting is or may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType) or hasattr(annotation, "__metadata__"):
        found = (_section(part) for part in get_args(annotation))
        return next((section for section in found if section), None)
    return None
