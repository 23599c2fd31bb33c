"""Withdrawal of consent: a participant is taken out of everything that a study has made of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from emoclip_clinical.features.interviews import interview_key
from emoclip_clinical.records import InputError
from emoclip_clinical.study.mentions import TABLE_ENDINGS, Person, without_rows
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import Clock, utc_now
from emoclip_clinical.study.report import write_index
from emoclip_clinical.study.withdrawal_plan import (
    DISCARDED,
    Fate,
    Learners,
    Traces,
    find_learners,
    find_traces,
)
from emoclip_clinical.study.withdrawal_record import (
    append_withdrawal,
    has_withdrawn,
    read_withdrawals,
)

LOCK_FILE = "protocol.lock"


@dataclass(frozen=True)
class Withdrawal:
    """What a withdrawal will do, or has done.

    Attributes
    ----------
    traces : Traces
        Before anything is removed.
    learners : Learners
    left : Traces
        What still names the person afterwards: files that are the user's own.
    has_lock : bool
        Whether there is a lock, which will no longer match.
    """

    traces: Traces
    learners: Learners
    left: Traces
    has_lock: bool

    @property
    def remaining(self) -> dict[str, int]:
        """How many files still name the person afterwards, by role."""
        return {**self.left.counts(), **self.left.source_counts()}


def plan_withdrawal(study: Study, participant: str, *, sources: bool = False) -> Withdrawal:
    """Find everything that names a participant or learned from them; nothing is changed.

    Parameters
    ----------
    study : Study
    participant : str
        Identifier, with or without ``sub-``.
    sources : bool
        Whether the user's own files are to be cleaned too: rows of text tables, and files that
        bear the identifier in their name.

    Raises
    ------
    InputError
        If there is no trace of them, which may be a slip of the pen.
    """
    person = Person.of(participant)
    traces = find_traces(study, person)
    learners = find_learners(study, person)
    nothing = not (traces.counts() or traces.sources or learners.models or learners.estimators)
    if nothing and not has_withdrawn(study.folder, [person.participant_id]):
        raise InputError(
            f"no file of this study names {person.participant_id}: is it spelled as in "
            "participant_id?"
        )
    kept = {
        path: role
        for path, role in traces.sources.items()
        if not sources or traces.fates[path] == "by hand"
    }
    left = Traces((), (), (), (), kept, traces.fates)
    return Withdrawal(traces, learners, left, (study.folder / LOCK_FILE).is_file())


def withdraw(
    study: Study, participant: str, *, salt: str, sources: bool = False, now: Clock = utc_now
) -> Withdrawal:
    """Take a participant out of a study.

    The record is begun before anything is removed, and ended when nothing is left: after an
    interruption the same call finishes the work.

    Parameters
    ----------
    study : Study
    participant : str
        Identifier, with or without ``sub-``.
    salt : str
        Random text, for the study's first withdrawal; later ones keep that of the first.
    sources : bool
        See `plan_withdrawal`.
    now : callable
        The clock.

    Returns
    -------
    Withdrawal
        With what remains.

    Raises
    ------
    InputError
        See `plan_withdrawal`.
    """
    person = Person.of(participant)
    _clear_discarded(study)
    planned = plan_withdrawal(study, participant, sources=sources)
    facts: dict[str, Any] = {
        "models": list(planned.learners.models),
        "estimators": list(planned.learners.estimators),
        "removed": planned.traces.counts(),
        "sources": planned.traces.source_counts() if sources else {},
    }
    salt = read_withdrawals(study.folder).salt or salt
    record = {"participant_id": person.participant_id, "salt": salt}
    append_withdrawal(study.folder, state="begun", now=now(), **record, **facts)
    for folder in planned.traces.folders:
        _discard(folder)
    for path in planned.traces.rewritten:
        _rewrite(path, person)
    for path in planned.traces.pictures:
        path.unlink(missing_ok=True)
    _clean_features(study.path(study.protocol.data.features), person)
    shutil.rmtree(study.caches, ignore_errors=True)
    write_index(study.path(study.protocol.data.results))
    if sources:
        _clean_sources(planned.traces.fates, person)
    left = find_traces(study, person)
    done = Withdrawal(planned.traces, planned.learners, left, planned.has_lock)
    append_withdrawal(study.folder, state="done", now=now(), **record, remaining=done.remaining)
    return done


def _discard(folder: Path) -> None:
    """Remove a folder so that no half of it is ever seen under its name."""
    hidden = folder.with_name(f"{DISCARDED}{folder.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.rename(hidden)
    shutil.rmtree(hidden)


def _clear_discarded(study: Study) -> None:
    for path in sorted(study.folder.rglob(f"{DISCARDED}*")):
        shutil.rmtree(path, ignore_errors=True)


def _rewrite(path: Path, person: Person) -> None:
    """Take a person's rows out of a table, or their entries out of a JSON file."""
    if path.suffix.lower() in TABLE_ENDINGS:
        _replace(path, without_rows(path.read_bytes(), person)[0])
    elif path.suffix == ".json":
        content = _without_entries(json.loads(path.read_text(encoding="utf-8")), person)
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        _replace(path, (text + "\n").encode())
    else:
        path.unlink()


def _without_entries(node: Any, person: Person) -> Any:
    """Return JSON content without the list entries that are of a person or name them."""
    if isinstance(node, dict):
        return {key: _without_entries(value, person) for key, value in node.items()}
    if isinstance(node, list):
        kept = (entry for entry in node if not person.is_named_in(json.dumps(entry)))
        return [_without_entries(entry, person) for entry in kept]
    return node


def _clean_features(folder: Path, person: Person) -> None:
    if not (folder / "parts").is_dir():
        return
    from emoclip_clinical.features.store import PartStore

    with PartStore(folder).locked():
        for name in ("segments", "embeddings", "interviews"):
            _filter_parquet(folder / f"{name}.parquet", person)
        if (folder / "features.json").is_file():
            _rewrite(folder / "features.json", person)
        for part in sorted((folder / "parts").iterdir()):
            if part.is_dir() and _is_of(part.name, person):
                _discard(part)


def _is_of(name: str, person: Person) -> bool:
    try:
        return interview_key(name).participant_id == person.participant_id
    except InputError:
        return False


def _filter_parquet(path: Path, person: Person) -> None:
    if not path.is_file():
        return
    table = pq.read_table(path)
    theirs = pc.equal(table["participant_id"], person.participant_id)
    if not pc.any(theirs).as_py():
        return
    part = path.with_name(f".{path.name}.unfinished")
    pq.write_table(table.filter(pc.invert(theirs)), part, compression="zstd")
    os.replace(part, path)


def _clean_sources(fates: Mapping[Path, Fate], person: Person) -> None:
    """Take rows out of the user's text tables, and remove recordings and files of that name."""
    # Tables come last: what a row points to is found by that row after an interruption.
    for path in sorted(fates, key=lambda p: p.suffix.lower() in TABLE_ENDINGS):
        if fates[path] == "file":
            path.unlink(missing_ok=True)
        elif fates[path] == "rows":
            _replace(path, without_rows(path.read_bytes(), person)[0])


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)
