"""Sections on where a result comes from: its standing, its provenance, its warnings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from emoclip_clinical.study.report.document import Section, Table, capitalised
from emoclip_clinical.study.report.folder import Record

LEFT_OUT = "(a file's name, left out)"
_FILE = re.compile(r"[\\/]|\.[A-Za-z][A-Za-z0-9]{1,9}$")
UNKNOWN_STANDING = "exploratory"
_WORDS = {"matches_lock": "matches the lock"}
_NAMED = re.compile(
    r"\S*[\\/]\S*|\S+\.(?:ya?ml|csv|tsv|json|xlsx?|parquet|mp4|mov|avi|mkv|webm|pth?|onnx)\b", re.I
)


def standing_words(provenance: Record) -> str:
    """Return what kind of analysis it was, in a few words; unknown counts as exploratory."""
    kind = str(_standing(provenance).get("kind") or UNKNOWN_STANDING)
    return _WORDS.get(kind, kind)


def standing(provenance: Record) -> Section:
    """Return whether the analysis was fixed before its outcome was looked at."""
    found = _standing(provenance)
    statement = str(
        found.get("statement")
        or "Exploratory: nothing says that the analysis was fixed before the ratings were seen."
    )
    looks = found.get("earlier_looks")
    count = len(looks) if isinstance(looks, Sequence) and not isinstance(looks, str) else looks
    text = [capitalised(statement)]
    if isinstance(count, int):
        text.append(f"Earlier looks at the ratings of this target that are recorded: {count}.")
    differences = found.get("differences") or ()
    if differences:
        text.append("What differs from the lock:")
    points = tuple(_NAMED.sub(LEFT_OUT, str(d)) for d in differences)
    return Section("standing", "Standing", tuple(text), points=points)


def _standing(provenance: Record) -> Record:
    found = provenance.get("standing")
    return found if isinstance(found, Mapping) else {}


def warnings(record: Record) -> Section:
    """Return everything that the reader should know."""
    points = tuple(str(w) for w in record["warnings"])
    text = () if points else ("There are none.",)
    return Section("warnings", "Warnings", text, points=points)


def origin(provenance: Record) -> Section:
    """Return the provenance without file names, and the settings without the study's files."""
    kept = {k: v for k, v in provenance.items() if k not in ("protocol", "standing")}
    rows = tuple(_flat(_without_files(kept)))
    protocol = provenance["protocol"]
    settings = ""
    if isinstance(protocol, Mapping):
        shown = _without_files({k: v for k, v in protocol.items() if k != "data"})
        settings = json.dumps(shown, indent=2, ensure_ascii=False)
    table = Table("provenance", ("what", "value"), rows)
    return Section("provenance", "Provenance", tables=(table,), code=settings)


def _without_files(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(k): _without_files(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_files(v) for v in value]
    if isinstance(value, str) and _FILE.search(value):
        return LEFT_OUT
    return value


def _flat(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested mappings to rows; long lists are counted."""
    if isinstance(value, Mapping):
        return [
            row
            for key, inner in value.items()
            for row in _flat(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list):
        plain = all(not isinstance(v, Mapping | list) for v in value) and len(value) <= 12
        return [(prefix, ", ".join(map(str, value)) if plain else f"{len(value)} entries")]
    return [(prefix, "none" if value is None else str(value))]
