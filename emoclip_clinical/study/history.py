"""The study's memory of every look at rating values: append-only, each line sealed by a hash.

The first line holds an id of the study, and each line the hash of the one before it. That alone
would not show a history that was cut or replaced, since what is left is a sound chain. So the
lock, every result and a note among the caches keep a `HistoryMark`: of which study, how many lines,
and the last line's hash. A history that does not hold each of these marks is not whole, and the
next line says so for good.

What no mark knows can not be missed: who deletes all of these and the history together, or works in
a copy of the folder as it was before, leaves no trace in it. Hence "recorded in this folder".
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from emoclip_clinical.records import InputError
from emoclip_clinical.study.history_chain import History, HistoryMark, parse_history
from emoclip_clinical.study.provenance import json_sha256
from emoclip_clinical.study.witnesses import lost_marks, note_mark

__all__ = ["HISTORY_FILE", "History", "append_entry", "read_history", "record_look"]

HISTORY_FILE = "history.jsonl"


def new_study_id() -> str:
    """Return an id that no other study has."""
    return secrets.token_hex(16)


def record_look(
    study: Path,
    *,
    command: str,
    targets: Sequence[str],
    settings_sha256: str,
    now: datetime,
    inputs: Mapping[str, str | None] | None = None,
    new_id: Callable[[], str] = new_study_id,
) -> HistoryMark:
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
    inputs : mapping of str to str or None, optional
        SHA-256 of what is read, by role: a later look at the same is a repetition.
    new_id : callable
        Names the study where this is the first line.

    Returns
    -------
    HistoryMark
        The end of the history, this line included.

    Raises
    ------
    InputError
        If the file can not be written.
    """
    content: dict[str, object] = {
        "command": command,
        "targets": list(targets),
        "settings_sha256": settings_sha256,
    }
    if inputs is not None:
        content["inputs"] = dict(inputs)
    return append_entry(study, content, now=now, new_id=new_id)


def append_entry(
    study: Path,
    content: Mapping[str, object],
    *,
    now: datetime,
    new_id: Callable[[], str] = new_study_id,
) -> HistoryMark:
    """Append a line with a time and the hash of the line before, while no other process does.

    Parameters
    ----------
    study : Path
        The study's folder.
    content : mapping
        Ready for JSON; a key ``study`` gives the id where this is the first line.
    now : datetime
        With its time zone.
    new_id : callable
        Gives it elsewhere.

    Raises
    ------
    InputError
        If the file can not be written.
    """
    with _locked(study / HISTORY_FILE) as file:
        file.seek(0)
        text = file.read().decode("utf-8", errors="replace")
        history = parse_history(text)
        entry: dict[str, object] = {"time": now.isoformat(timespec="seconds"), **content}
        if not history.entries:
            entry.setdefault("study", new_id())
        else:
            entry.pop("study", None)
        if lost := lost_marks(study, history):
            entry["lost"] = list(lost)
        entry["previous"] = history.mark.head
        entry["hash"] = json_sha256(entry)
        # A line that a crash cut short must not swallow this one.
        begin = "\n" if text and not text.endswith("\n") else ""
        file.write(f"{begin}{json.dumps(entry, ensure_ascii=False)}\n".encode())
        file.flush()
        os.fsync(file.fileno())
        mark = History((*history.entries, entry), sound=history.sound).mark
        note_mark(study, mark)
        return mark


def read_history(study: Path) -> History:
    """Read history.jsonl and check its chain; a missing file is an empty, sound history."""
    path = study / HISTORY_FILE
    if not path.is_file():
        return History((), sound=True)
    return parse_history(path.read_bytes().decode("utf-8", errors="replace"))


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    try:
        file = path.open("a+b")
    except OSError as error:
        raise InputError(f"can not write {path}: {error.strerror}") from None
    with file:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield file
