"""The study's memory of every look at rating values: append-only, each line sealed by a hash."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from emoclip_clinical.study.provenance import json_sha256

HISTORY_FILE = "history.jsonl"
BEGINNING = "0" * 64


@dataclass(frozen=True)
class History:
    """What a study's history says, and whether it can be believed.

    Attributes
    ----------
    entries : tuple of mapping
        Each look, oldest first.
    sound : bool
        True when every line carries the hash of the one before it and of itself.
    """

    entries: tuple[Mapping[str, object], ...]
    sound: bool


def record_look(
    study: Path,
    *,
    command: str,
    targets: Sequence[str],
    settings_sha256: str,
    now: datetime,
) -> None:
    """Append a line to history.jsonl, before the ratings' values are used.

    Parameters
    ----------
    study : Path
        The study's folder.
    command : str
        Which command reads the ratings.
    targets : sequence of str
        Which of them.
    settings_sha256 : str
        Hash of the protocol, overrides applied.
    now : datetime
        With its time zone.
    """
    path = study / HISTORY_FILE
    entries = read_history(study).entries
    entry: dict[str, object] = {
        "time": now.isoformat(timespec="seconds"),
        "command": command,
        "targets": list(targets),
        "settings_sha256": settings_sha256,
        "previous": str(entries[-1]["hash"]) if entries else BEGINNING,
    }
    entry["hash"] = json_sha256(entry)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_history(study: Path) -> History:
    """Read history.jsonl and check its chain; a missing file is an empty, sound history."""
    path = study / HISTORY_FILE
    if not path.is_file():
        return History((), sound=True)
    entries: list[Mapping[str, object]] = []
    sound = True
    previous = BEGINNING
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            content = {k: v for k, v in entry.items() if k != "hash"}
            sound &= entry["hash"] == json_sha256(content) and entry["previous"] == previous
            previous = entry["hash"]
            entries.append(entry)
        except (ValueError, KeyError, AttributeError, TypeError):
            sound = False
    return History(tuple(entries), sound=sound)
