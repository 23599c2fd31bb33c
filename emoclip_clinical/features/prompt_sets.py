"""Prompt sets as YAML: the ones that ship, by name, and a user's own, by path.

A file holds ``name``, ``classes`` (each with one sentence or a list of them) and optionally
``compounds`` (each with the names of its components), ``language``, ``author`` and ``date``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from emoclip_clinical.features.config import canonical_hash
from emoclip_clinical.records import InputError, PromptSet
from emoclip_clinical.tables import is_file
from emoclip_clinical.yaml_text import load_yaml

_KEYS = ("name", "classes", "compounds", "language", "author", "date")
_SUFFIXES = (".yaml", ".yml")


def shipped_prompt_sets() -> tuple[str, ...]:
    """Return the names of the prompt sets that ship with the package."""
    folder = resources.files("emoclip_clinical.features") / "prompts"
    names = (Path(entry.name) for entry in folder.iterdir())
    return tuple(sorted(name.stem for name in names if name.suffix == ".yaml"))


def load_prompt_set(source: str | Path, *, folder: Path | None = None) -> PromptSet:
    """Read one prompt set.

    Parameters
    ----------
    source : str or Path
        Name of a shipped set, or path of a YAML file.
    folder : Path, optional
        Where a relative path starts; the working directory by default.

    Returns
    -------
    PromptSet
        Checked.

    Raises
    ------
    InputError
        With every fault of the file, or the names that ship where there is no such set.
    """
    text = str(source)
    if text in shipped_prompt_sets():
        entry = resources.files("emoclip_clinical.features") / "prompts" / f"{text}.yaml"
        return parse_prompt_set(entry.read_text(encoding="utf-8"), where=f"prompt set {text}")
    path = Path(text) if folder is None else folder / text
    if not is_file(path):
        kind = "file" if path.suffix in _SUFFIXES else "shipped set or file"
        raise InputError(
            f"prompts: no {kind} {text!r}; shipped are {', '.join(shipped_prompt_sets())}"
        )
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path.name}: can not be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name}: a prompt file must be UTF-8, byte {error.start} is not"
        ) from None
    return parse_prompt_set(content, where=path.name)


def load_prompt_sets(
    sources: tuple[str, ...], *, folder: Path | None = None
) -> tuple[PromptSet, ...]:
    """Read several prompt sets and list the faults of all of them.

    Parameters
    ----------
    sources : tuple of str
        Names or paths, see `load_prompt_set`.
    folder : Path, optional
        Where relative paths start.

    Returns
    -------
    tuple of PromptSet
        In the order given.

    Raises
    ------
    InputError
        With every fault of every file.
    """
    loaded: list[PromptSet] = []
    faults: list[str] = []
    for source in sources:
        try:
            loaded.append(load_prompt_set(source, folder=folder))
        except InputError as error:
            faults.extend(error.faults)
    if faults:
        raise InputError(faults)
    return tuple(loaded)


def parse_prompt_set(content: str, *, where: str) -> PromptSet:
    """Read a prompt set from YAML text.

    Parameters
    ----------
    content : str
        The YAML.
    where : str
        What messages call it.

    Returns
    -------
    PromptSet
        Checked.

    Raises
    ------
    InputError
        With every fault, each with its key.
    """
    raw = _yaml(content, where=where)
    faults = [
        f"{where}: unknown key {key!r}; known are {', '.join(_KEYS)}"
        for key in raw
        if key not in _KEYS
    ]
    faults += [f"{where}: key {key!r} is missing" for key in ("name", "classes") if key not in raw]
    texts = {key: _text(raw, key, where, faults) for key in ("name", "language", "author")}
    classes = _lists(raw, "classes", where, faults)
    compounds = _lists(raw, "compounds", where, faults)
    if faults:
        raise InputError(faults)
    try:
        return PromptSet(
            name=texts["name"],
            classes=classes,
            compounds=compounds,
            language=texts["language"] or "en",
            author=texts["author"],
            # YAML reads an unquoted date as a date.
            date=str(raw.get("date") or ""),
        )
    except InputError as error:
        raise InputError(f"{where}: {fault}" for fault in error.faults) from None


def prompt_set_content(prompts: PromptSet) -> dict[str, object]:
    """Return everything that decides the scores of a set, as JSON-like values."""
    return {
        "name": prompts.name,
        "classes": [[name, list(texts)] for name, texts in prompts.classes.items()],
        "compounds": [[name, list(parts)] for name, parts in prompts.compounds.items()],
    }


def prompt_set_hash(prompts: PromptSet) -> str:
    """Return the SHA-256 of a set's name, classes and compounds."""
    return canonical_hash(prompt_set_content(prompts))


def _yaml(content: str, *, where: str) -> Mapping[Any, Any]:
    raw = load_yaml(content, where=where)
    if not isinstance(raw, Mapping):
        raise InputError(
            f"{where}: must hold the keys {', '.join(_KEYS)}, got {type(raw).__name__}"
        )
    return raw


def _text(raw: Mapping[Any, Any], key: str, where: str, faults: list[str]) -> str:
    value = raw.get(key, "")
    if not isinstance(value, str):
        faults.append(f"{where}: {key} must be text, got {value!r}")
        return ""
    return value


def _lists(
    raw: Mapping[Any, Any], key: str, where: str, faults: list[str]
) -> dict[str, tuple[str, ...]]:
    value = raw.get(key) or {}
    if not isinstance(value, Mapping):
        faults.append(f"{where}: {key} must map names to lists of text, got {value!r}")
        return {}
    lists: dict[str, tuple[str, ...]] = {}
    for name, entry in value.items():
        texts = [entry] if isinstance(entry, str) else entry
        if not isinstance(name, str):
            faults.append(f"{where}: {key}: a name must be text, got {name!r} (quote it)")
        elif not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            faults.append(f"{where}: {key}.{name} must be a list of text, got {entry!r}")
        else:
            lists[name] = tuple(texts)
    return lists
