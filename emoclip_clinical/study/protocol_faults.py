"""Faults of a protocol in words: which key, in which file, on which line, and what is near it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from emoclip_clinical.features.interview_tables import table_instead
from emoclip_clinical.study.protocol_reading import KeyPath, Place, ProtocolText

_MAY_BE_FILES: tuple[KeyPath, ...] = (("data", "clips"), ("evaluation", "data"))
"""Settings that name a file, or are a section."""
_KINDS = frozenset({"str", "int", "float"})
"""How the kinds are called that a value of `where` may have."""
_LISTS = frozenset({"tuple_type", "list_type"})
_WANTED = {
    **dict.fromkeys(_LISTS, "should be a list"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "should be an integer"),
    **dict.fromkeys(("float_type", "float_parsing"), "should be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "should be true or false"),
    "dict_type": "should be a section of keys and values",
    "string_type": "should be text",
    "string_too_short": "must not be empty",
    "missing": "is missing",
}
"""What was wanted, by pydantic's type of the fault."""


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
    errors: list[Any] = [*error.errors()]
    found = [_fault(e, text.places, schema) for e in errors if not _follows(e, errors)]
    ordered = sorted(found, key=lambda f: (f[0].file, f[0].line))
    # A value that may be text or a number has a fault for each, in the same words.
    return list(dict.fromkeys(message for _, message in ordered))


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
            instead = table_instead(folder / value) if key == "interviews" else ""
            faults.append(f"{where}data.{key}: no such file or folder: {folder / value}{instead}")
    return faults


def _fault(
    error: Any, places: Mapping[KeyPath, Place], schema: type[BaseModel]
) -> tuple[Place, str]:
    path = _as_written(tuple(str(part) for part in error["loc"]))
    one_of_several = path[-1:] and path[-1] in _KINDS and path not in places
    if one_of_several:
        path = path[:-1]
    place = _place(path, places)
    key = ".".join(path) or "the protocol"
    if error["type"] == "extra_forbidden":
        return place, f"{place}: unknown key {key}{_suggestion(path, schema)}"
    got = "" if isinstance(error["input"], dict) else f", got {_shown(error['input'])}"
    if one_of_several:
        return place, f"{place}: {key} should be text or a number{got}"
    wanted = _wanted(error, path)
    # Checks of ours may have said it already.
    got = "" if wanted.endswith(got) else got
    return place, f"{place}: {key} {wanted}{got}{_as_a_list(error)}"


def _wanted(error: Any, path: KeyPath) -> str:
    """Return what was wanted in the words of a protocol, not of Python."""
    kind = str(error["type"])
    if kind == "model_type":
        either = "a file's name or " if path in _MAY_BE_FILES else ""
        return f"should be {either}a section with keys of its own"
    if kind == "too_short":
        least = error["ctx"]["min_length"]
        return f"should have at least {least} {'entry' if least == 1 else 'entries'}"
    if kind in _WANTED:
        return _WANTED[kind]
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return message.removeprefix(f"{path[-1]} ") if path else message


def _shown(value: object) -> str:
    """Return a value as YAML would have it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _as_a_list(error: Any) -> str:
    """Return how a text would be written as a list."""
    text = error["input"]
    if error["type"] not in _LISTS or not isinstance(text, str):
        return ""
    parts = [part.strip() for part in text.split(",")]
    # Other signs mean something in YAML, and need quotes.
    plain = all(re.fullmatch(r"[A-Za-z][\w.+() -]*", part) for part in parts)
    return f"; write [{', '.join(parts)}]" if plain else ""


def _follows(error: Any, errors: Sequence[Any]) -> bool:
    """Say whether a list is too short only because its entries have faults of their own."""
    path = error["loc"]
    return error["type"] == "too_short" and any(
        other["loc"][: len(path)] == path and len(other["loc"]) > len(path) for other in errors
    )


def _as_written(path: KeyPath) -> KeyPath:
    """Leave out what pydantic calls the forms of a setting that may be text or a section."""
    for place in _MAY_BE_FILES:
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
