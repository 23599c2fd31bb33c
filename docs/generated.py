"""The pages of the reference that follow from the code: commands, and the keys of a protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTE = "<!-- Written by docs/generated.py from the code; not edited by hand. -->\n\n"


def write_commands(path: Path) -> None:
    """Write every command with its arguments and options."""
    import typer.main

    from emoclip_clinical.cli import app

    group = typer.main.get_command(app)
    lines = [
        "# Commands\n",
        "Exit codes: 0 done; 1 a bug; 2 bad input or usage; 3 done in part (what failed is listed,"
        " the rest is saved); 130 interrupted (what was finished is kept).\n",
    ]
    for words, command in _walk(group, ()):
        lines += [f"## {' '.join(words)}\n", _paragraphs(command.help or ""), ""]
        lines += [*_parameters(command), ""]
    path.write_text(NOTE + "\n".join(lines), encoding="utf-8")


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _walk(inner, (*words, name))
    else:
        yield words, command


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")) + "\n"


def _parameters(command: Any) -> list[str]:
    rows = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
            continue
        if parameter.param_type_name == "argument":
            name = f"`{parameter.metavar or parameter.name.upper()}`"
        else:
            flag = ", ".join([*parameter.opts, *parameter.secondary_opts])
            takes = "" if getattr(parameter, "is_flag", False) else f" {_metavar(parameter)}"
            name = f"`{flag}{takes}`"
        text = (getattr(parameter, "help", None) or "").replace("|", "\\|")
        default = parameter.default
        shown = default not in (None, False, [], ()) and not callable(default)
        rows.append(f"| {name} | {text}{f' Default: `{default}`.' if shown else ''} |")
    return ["| | |", "|---|---|", *rows] if rows else []


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def write_protocol(path: Path) -> None:
    """Write every key of the protocol with its default and meaning."""
    from emoclip_clinical.study.protocol import Protocol

    schema = Protocol.model_json_schema()
    lines = [
        "# The protocol\n",
        "Every key may be left out. Unknown keys are refused. `--set section.key=value` overrides"
        " one for a command; `extends: NAME` begins with another protocol. Editors check a protocol"
        " by the JSON Schema that `emoclip-clinical protocol schema` writes.\n",
    ]
    own = {k: v for k, v in schema["properties"].items() if _reference(v) is None}
    lines += ["## At the top\n", *_keys(own, schema, ""), ""]
    for name, described in schema["properties"].items():
        reference = _reference(described)
        if reference is not None:
            lines += [f"## {name}\n", described.get("description", ""), ""]
            lines += [*_keys(_properties(reference, schema), schema, ""), ""]
    path.write_text(NOTE + "\n".join(lines), encoding="utf-8")


def _reference(described: dict[str, Any]) -> str | None:
    """Return the name of the section that a key is or may be."""
    options = [described, *described.get("anyOf", []), *described.get("oneOf", [])]
    found = [o["$ref"].rpartition("/")[2] for o in options if "$ref" in o]
    return found[0] if found else None


def _properties(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = schema["$defs"][name].get("properties", {})
    return properties


def _keys(properties: dict[str, Any], schema: dict[str, Any], prefix: str) -> list[str]:
    rows = [] if prefix else ["| key | default | meaning |", "|---|---|---|"]
    for name, described in properties.items():
        reference = _reference(described)
        if reference is not None and schema["$defs"][reference].get("properties"):
            if described.get("description"):
                rows.append(f"| `{prefix}{name}` | | {_text(described)} |")
            rows += _keys(_properties(reference, schema), schema, f"{prefix}{name}.")
            continue
        default = f"`{described['default']}`" if described.get("default") not in (None, "") else ""
        rows.append(f"| `{prefix}{name}` | {default} | {_text(described)} |")
    return rows


def _text(described: dict[str, Any]) -> str:
    text = str(described.get("description", "")).replace("|", "\\|")
    choices = described.get("enum") or next(
        (o["enum"] for o in described.get("anyOf", []) if "enum" in o), None
    )
    return f"{text} One of {', '.join(f'`{c}`' for c in choices)}." if choices else text
