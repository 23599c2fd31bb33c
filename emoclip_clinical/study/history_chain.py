"""The chain of history.jsonl: what its lines say, whether they can be believed, and marks in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from emoclip_clinical.study.provenance import json_sha256

BEGINNING = "0" * 64
LOCKED = "protocol freeze"
"""What the history calls a lock that was written; it is no look at ratings."""


@dataclass(frozen=True)
class HistoryMark:
    """A place in a history.

    Attributes
    ----------
    study : str
        Id of the study; empty for a history without a line.
    length : int
        Lines up to here.
    head : str
        Hash of the last of them.
    """

    study: str
    length: int
    head: str

    def as_record(self) -> dict[str, object]:
        """Return it ready for JSON."""
        return {"study": self.study, "length": self.length, "head": self.head}

    @classmethod
    def from_record(cls, record: object) -> HistoryMark | None:
        """Read it back; None where it is none."""
        try:
            content = dict(record)  # type: ignore[call-overload]
            return cls(str(content["study"]), int(content["length"]), str(content["head"]))
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class History:
    """What a study's history says, and whether it can be believed.

    Attributes
    ----------
    entries : tuple of mapping
        Each look and each lock, oldest first.
    sound : bool
        True when the first line names the study, every line carries the hash of the one before it
        and of itself, and none was written after a part of the history was found missing.
    """

    entries: tuple[Mapping[str, object], ...]
    sound: bool

    @property
    def mark(self) -> HistoryMark:
        """The end of the history."""
        if not self.entries:
            return HistoryMark("", 0, BEGINNING)
        first, last = self.entries[0], self.entries[-1]
        return HistoryMark(str(first.get("study", "")), len(self.entries), str(last.get("hash")))

    @property
    def looks(self) -> tuple[Mapping[str, object], ...]:
        """The entries that are looks at ratings."""
        return tuple(e for e in self.entries if e.get("command") != LOCKED)

    def holds(self, mark: HistoryMark) -> bool:
        """Say whether this is the history that a mark was taken from, grown or not."""
        if mark.study != self.mark.study or len(self.entries) < mark.length:
            return False
        return mark.length == 0 or self.entries[mark.length - 1].get("hash") == mark.head


def parse_history(text: str) -> History:
    """Check the lines of a history."""
    entries: list[Mapping[str, object]] = []
    sound = True
    previous = BEGINNING
    # Not `splitlines`: a name may hold other characters that end lines.
    for line in text.removesuffix("\n").split("\n") if text else ():
        try:
            entry = json.loads(line)
            content = {k: v for k, v in entry.items() if k != "hash"}
            sound &= entry["hash"] == json_sha256(content) and entry["previous"] == previous
            sound &= ("study" in entry) == (not entries) and "lost" not in entry
            previous = entry["hash"]
            entries.append(entry)
        except (ValueError, KeyError, AttributeError, TypeError):
            sound = False
    return History(tuple(entries), sound=sound)
