"""What in a study's folder remembers its history: results, locks, a note of its last line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from emoclip_clinical.study.history_chain import History, HistoryMark
from emoclip_clinical.study.protocol import CACHES

_RESULT = "provenance.json"
_NOTE = Path(CACHES, "history.json")
_NOT_SEARCHED = {CACHES, "features", "interviews", "clips", "models"}


def lost_marks(study: Path, history: History) -> tuple[str, ...]:
    """Say what remembers another or a longer history than this one.

    Parameters
    ----------
    study : Path
        The study's folder.
    history : History
        As it is now.

    Returns
    -------
    tuple of str
        One a kind of witness: how many of them the history contradicts; empty if none.
    """
    lost = []
    for kind, marks in (
        ("result", _of_results(study)),
        ("lock", _of_locks(study)),
        ("note", _of_note(study)),
    ):
        contradicted = sum(not history.holds(mark) for mark in marks)
        if contradicted:
            plural = "" if contradicted == 1 else "s"
            lost.append(f"{contradicted} {kind}{plural}")
    return tuple(lost)


def note_mark(study: Path, mark: HistoryMark) -> None:
    """Note the end of a history, so that a look that left no result is missed when it is cut off.

    The note lies among the caches, may be deleted, and is not there where nothing can be written.
    """
    path = study / _NOTE
    part = path.with_name(f"{path.name}.part")
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        part.write_text(json.dumps(mark.as_record()) + "\n", encoding="utf-8")
        part.replace(path)


def _of_note(study: Path) -> Iterator[HistoryMark]:
    try:
        mark = HistoryMark.from_record(json.loads((study / _NOTE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return
    if mark is not None:
        yield mark


def _of_results(study: Path) -> Iterator[HistoryMark]:
    for folder in sorted(study.iterdir()):
        if not folder.is_dir() or folder.name in _NOT_SEARCHED:
            continue
        for path in sorted(folder.rglob(_RESULT)):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            mark = HistoryMark.from_record(record.get("history") if isinstance(record, dict) else 0)
            if mark is not None:
                yield mark


def _of_locks(study: Path) -> Iterator[HistoryMark]:
    for path in sorted(study.glob("*.lock")):
        try:
            # Settings and hashes below it take long to read, at every look.
            head = path.read_text(encoding="utf-8").partition("\nprotocol:")[0]
            record = YAML(typ="safe").load(head)
        except (OSError, ValueError, YAMLError):
            continue
        mark = HistoryMark.from_record(record.get("history") if isinstance(record, dict) else 0)
        if mark is not None:
            yield mark
