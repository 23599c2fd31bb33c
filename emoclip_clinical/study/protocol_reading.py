"""Protocol files as people write them: YAML with comments, extending others, keys on lines."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter

from emoclip_clinical.records import InputError
from emoclip_clinical.study.shipped import protocol_path, shipped_protocols
from emoclip_clinical.yaml_text import load_yaml

EXTENDS = "extends"
KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a key was written.

    Attributes
    ----------
    file : str
        Name of the file; empty where the command line has set the key.
    line : int
        From 1.
    """

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.file else "--set"


@dataclass(frozen=True)
class ProtocolText:
    """The content of a protocol, of those it extends and of the command line, in one.

    Attributes
    ----------
    content : CommentedMap
        Sections and keys with their comments; not checked yet.
    places : mapping of tuple of str to Place
        Where each key path was written last.
    """

    content: CommentedMap
    places: Mapping[KeyPath, Place]

    @property
    def plain(self) -> dict[str, Any]:
        """The content as plain values."""
        return dict(plain(self.content))


def read_protocol_text(path: Path) -> ProtocolText:
    """Read a protocol file and those that it extends, nearest last.

    Sections are merged key by key; a list, or a value that is no section on both sides, is
    replaced as a whole.

    Raises
    ------
    InputError
        If a file is not there, not YAML, or extends itself.
    """
    return _read(path, chain=())


def override_text(
    text: ProtocolText, overrides: Sequence[str], settings: Mapping[str, object]
) -> tuple[ProtocolText, list[str]]:
    """Set keys over a protocol's content.

    Parameters
    ----------
    text : ProtocolText
    overrides : sequence of str
        `section.key=value`, the value in YAML.
    settings : mapping
        The same with values that need no reading; they come last.

    Returns
    -------
    ProtocolText
    list of str
        What can not be set, each with the reason.
    """
    faults: list[str] = []
    items = [*(_override(o, faults) for o in overrides), *settings.items()]
    content, places = deepcopy(text.content), dict(text.places)
    for dotted, value in items:
        if not dotted:
            continue
        *sections, last = dotted.split(".")
        node: Any = content
        for section in sections:
            if node.get(section) is None:
                node[section] = CommentedMap()
            node = node[section]
            if not isinstance(node, dict):
                faults.append(f"{dotted}: {section} is not a section, it can not be set inside")
                break
        else:
            node[last] = value
            _forget_below(places, (*sections, last))
            places[(*sections, last)] = Place()
    return ProtocolText(content, places), faults


def read_yaml(path: Path) -> CommentedMap:
    """Read a mapping with its comments.

    Raises
    ------
    InputError
        If it is not there, or not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"no such protocol: {path}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} must be UTF-8, got byte 0x{error.object[error.start]:02x} "
                         f"at position {error.start}") from error  # fmt: skip
    raw = load_yaml(text, where=path.name, keep_comments=True)
    if raw is None:
        return CommentedMap()
    if not isinstance(raw, CommentedMap):
        raise InputError(f"{path.name} must be a mapping of sections, got {type(raw).__name__}")
    return raw


def yaml_text(content: Mapping[str, object]) -> str:
    """Return YAML; comments stay where the content has them."""
    yaml = YAML(typ="rt")
    yaml.Representer = _Representer
    yaml.width = 4096
    out = io.StringIO()
    yaml.dump(content, out)
    return out.getvalue()


class _Representer(RoundTripRepresenter):
    """Writes `null`, which a reader sees, where ruamel would write nothing."""


_Representer.add_representer(
    type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null")
)


def plain(node: object) -> Any:
    """Return YAML content as plain dicts, lists and values."""
    if isinstance(node, dict):
        return {str(k): plain(v) for k, v in node.items()}
    if isinstance(node, list):
        return [plain(v) for v in node]
    return node


def with_all_settings(content: CommentedMap, settings: Mapping[str, object]) -> CommentedMap:
    """Return settings in full, in the order of the schema, with the comments of a file.

    Parameters
    ----------
    content : CommentedMap
        What was written, with comments.
    settings : mapping
        Every key and its resolved value, as JSON has them.
    """
    full = CommentedMap()
    for key, value in settings.items():
        written = content.get(key)
        if isinstance(value, Mapping):
            inside = written if isinstance(written, CommentedMap) else CommentedMap()
            full[key] = with_all_settings(inside, value)
        else:
            full[key] = written if written is not None and plain(written) == value else _leaf(value)
        if key in content.ca.items:
            full.ca.items[key] = content.ca.items[key]
    if content.ca.comment:
        full.ca.comment = content.ca.comment
    return full


def _leaf(value: object) -> object:
    """Return a value, a list in one line."""
    if not isinstance(value, list):
        return value
    line = CommentedSeq(value)
    line.fa.set_flow_style()
    return line


def _read(path: Path, *, chain: tuple[Path, ...]) -> ProtocolText:
    raw = read_yaml(path)
    places = _places(raw, path.name)
    if EXTENDS not in raw:
        return ProtocolText(raw, places)
    base = _base_file(raw[EXTENDS], path, places[(EXTENDS,)])
    chain = (*chain, path)
    if base.resolve() in [p.resolve() for p in chain]:
        names = " → ".join(p.name for p in (*chain, base))
        raise InputError(f"{places[(EXTENDS,)]}: extends goes round in a circle: {names}")
    below = _read(base, chain=chain)
    del raw[EXTENDS]
    content, merged = deepcopy(below.content), dict(below.places)
    _merge(content, raw, places, merged, ())
    return ProtocolText(content, merged)


def _base_file(name: object, path: Path, place: Place) -> Path:
    if not isinstance(name, str) or not name.strip():
        raise InputError(
            f"{place}: extends must name a shipped protocol or a file, got {plain(name)!r}"
        )
    if name in shipped_protocols():
        return protocol_path(name)
    file = path.parent / name
    if not file.is_file():
        raise InputError(
            f"{place}: extends: no file (seen from this one) and no shipped protocol is called "
            f"{name!r}; shipped are {', '.join(shipped_protocols())}"
        )
    return file


def _merge(
    content: CommentedMap,
    over: CommentedMap,
    places: Mapping[KeyPath, Place],
    merged: dict[KeyPath, Place],
    path: KeyPath,
) -> None:
    for key, value in over.items():
        here = (*path, str(key))
        if isinstance(value, CommentedMap) and isinstance(content.get(key), CommentedMap):
            _merge(content[key], value, places, merged, here)
            merged[here] = places[here]
            continue
        _forget_below(merged, here)
        merged |= {p: place for p, place in places.items() if p[: len(here)] == here}
        content[key] = value
        if key in over.ca.items:
            content.ca.items[key] = over.ca.items[key]


def _forget_below(places: dict[KeyPath, Place], path: KeyPath) -> None:
    for below in [p for p in places if p[: len(path)] == path]:
        del places[below]


def _places(node: object, file: str, path: KeyPath = ()) -> dict[KeyPath, Place]:
    places: dict[KeyPath, Place] = {}
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            # A key that a YAML merge (<<) brought in has no line of its own.
            line = node.lc.key(key)[0] if key in (node.lc.data or {}) else node.lc.line
            places[(*path, str(key))] = Place(file, line + 1)
            places |= _places(value, file, (*path, str(key)))
    elif isinstance(node, CommentedSeq):
        for i, value in enumerate(node):
            places[(*path, str(i))] = Place(file, node.lc.item(i)[0] + 1)
            places |= _places(value, file, (*path, str(i)))
    return places


def _override(text: str, faults: list[str]) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        faults.append(f"--set takes section.key=value, got {text!r}")
        return "", None
    try:
        return key.strip(), load_yaml(value, where=f"--set {key.strip()}")
    except InputError as error:
        faults += error.faults
        return "", None
