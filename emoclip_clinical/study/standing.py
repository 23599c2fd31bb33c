"""Where a result stands between a plan that was kept and a look around: lock, history, stamp."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from emoclip_clinical.records import InputError
from emoclip_clinical.study.history import History, read_history
from emoclip_clinical.study.history_chain import LOCKED
from emoclip_clinical.study.lock import Lock, read_lock
from emoclip_clinical.study.lock_differences import (
    extraction_differences,
    file_differences,
    rating_differences,
    setting_differences,
)
from emoclip_clinical.study.locked_inputs import extracted_from, feature_visits, study_inputs
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import json_sha256, tree_sha256
from emoclip_clinical.study.rating_structure import read_structure, target_items
from emoclip_clinical.study.time_stamp import TimeStamp, read_stamp
from emoclip_clinical.study.witnesses import lost_marks

MATCHES = "matches the lock; no earlier look recorded in this folder"
EXPLORATORY = "exploratory"
OF_A_LOCK = ("matches_lock", "confirmatory")
"""Standings of results that had a lock and kept to it."""

Entry = Mapping[str, object]


@dataclass(frozen=True)
class Standing:
    """What may be said of a result.

    Attributes
    ----------
    kind : {'confirmatory', 'matches_lock', 'exploratory'}
    statement : str
        One sentence for a reader.
    earlier_looks : int
        Recorded looks at this target's ratings before this one. Repetitions of this very analysis
        (same settings, same inputs, after the lock) are not counted: they show nothing new.
    differences : tuple of str
        What differs from the lock.
    """

    kind: Literal["confirmatory", "matches_lock", "exploratory"]
    statement: str
    earlier_looks: int
    differences: tuple[str, ...]

    def as_record(self) -> dict[str, object]:
        """Return it ready for JSON."""
        return {
            "kind": self.kind,
            "statement": self.statement,
            "earlier_looks": self.earlier_looks,
            "differences": list(self.differences),
        }


@dataclass(frozen=True)
class _Ground:
    """What is the same for all targets of a run."""

    history: History
    lock: Lock | None
    stamp: TimeStamp | None
    reasons: tuple[str, ...]
    differences: tuple[str, ...]
    locked_at: int | None


def standings(
    study: Study,
    *,
    features: Path,
    ratings: Path,
    inputs: Mapping[str, str | None],
    now: datetime,
) -> tuple[Standing, ...]:
    """Say where results that are about to be made will stand, before their look is recorded.

    Parameters
    ----------
    study : Study
    features, ratings : Path
        What will be read.
    inputs : mapping
        Hashes of it, as the history is given them.
    now : datetime
        With its time zone.

    Returns
    -------
    tuple of Standing
        One a target, in the protocol's order.

    Raises
    ------
    InputError
        With the faults of the ratings' keys and columns.
    """
    ground = _ground(study, features=features, ratings=ratings)
    settings_sha256 = json_sha256(study.protocol.model_dump(mode="json"))
    made = []
    for target in study.protocol.regression.targets:
        looks = _looks_at(study, target, ground.history)
        repeats = [_repeats(look, ground, settings_sha256, inputs) for look in looks]
        others = [e for (_, e), same in zip(looks, repeats, strict=True) if not same]
        after = [e for k, e in looks if ground.locked_at is not None and k > ground.locked_at]
        first = min((_time(e) for e in after), default=now)
        made.append(_standing(ground, others, n_repeated=sum(repeats), first_look=first))
    return tuple(made)


def _ground(study: Study, *, features: Path, ratings: Path) -> _Ground:
    history = read_history(study.folder)
    reasons: list[str] = []
    if not history.sound:
        reasons.append("the history is broken: a line was changed, removed or is of another study")
    elif lost := lost_marks(study.folder, history):
        reasons.append(
            f"the history was cut, deleted or replaced: {' and '.join(lost)} here remember another"
        )
    lock: Lock | None = None
    stamp: TimeStamp | None = None
    differences: tuple[str, ...] = ()
    locked_at = None
    try:
        lock = read_lock(study.lock_file)
        if lock is None:
            reasons.insert(0, "there is no lock, the plan was not frozen")
        else:
            locked_at = _locked_at(history, lock)
            if locked_at is None:
                reasons.append(
                    "the lock was changed after it was written, or was not written in this folder"
                )
            differences = _differences(study, lock, features=features, ratings=ratings)
            stamp = read_stamp(study.lock_file, lock_sha256=lock.sha256)
    except InputError as error:
        reasons += error.faults
    return _Ground(history, lock, stamp, tuple(reasons), differences, locked_at)


def _differences(study: Study, lock: Lock, *, features: Path, ratings: Path) -> tuple[str, ...]:
    settings = study.protocol.model_dump(mode="json")
    found = [*setting_differences(lock.settings, settings, private=True)]
    now = study_inputs(study, features=features, videos=False)
    found += file_differences(lock.files, now.files)
    if "features" not in lock.files:
        found += extraction_differences(lock, *extracted_from(features))
    structure = read_structure(study, ratings)
    visits = feature_visits(study, features)
    found += rating_differences(lock, structure, values_sha256=tree_sha256(ratings), known=visits)
    return tuple(found)


def _locked_at(history: History, lock: Lock) -> int | None:
    for number, entry in enumerate(history.entries):
        if entry.get("command") == LOCKED and entry.get("lock_sha256") == lock.sha256:
            return number
    return None


def _looks_at(study: Study, target: str, history: History) -> list[tuple[int, Entry]]:
    items = target_items(study, target)
    looks = []
    for number, entry in enumerate(history.entries):
        targets = entry.get("targets")
        if entry.get("command") == LOCKED:
            continue
        named = targets if isinstance(targets, Sequence) else []
        # A line that does not say at what it looked may have been at this.
        if not named or any(items & target_items(study, str(name)) for name in named):
            looks.append((number, entry))
    return looks


def _repeats(
    look: tuple[int, Entry],
    ground: _Ground,
    settings_sha256: str,
    inputs: Mapping[str, str | None],
) -> bool:
    number, entry = look
    return (
        ground.locked_at is not None
        and number > ground.locked_at
        and entry.get("settings_sha256") == settings_sha256
        and entry.get("inputs") == dict(inputs)
    )


def _standing(
    ground: _Ground, earlier: Sequence[Entry], *, n_repeated: int, first_look: datetime
) -> Standing:
    reasons = list(ground.reasons)
    if ground.differences:
        n = len(ground.differences)
        reasons.append(f"{n} thing{'s differ' if n > 1 else ' differs'} from the lock")
    reasons.append(_earlier_text(earlier))
    if len(reasons) > 1 or earlier:
        statement = f"{EXPLORATORY}: {'; '.join(reasons)}"
        return Standing("exploratory", statement, len(earlier), ground.differences)
    assert ground.lock is not None, "without a lock there is a reason"
    statement = MATCHES
    if n_repeated:
        times = "once" if n_repeated == 1 else f"{n_repeated} times"
        statement += f", except this same analysis, run {times} before"
    if ground.lock.ratings.state == "filled":
        statement += "; the ratings had values already when the lock was written"
    if roles := _unlocked(ground.lock):
        statement += f"; not there to be locked: {', '.join(roles)}"
    return _with_stamp(ground.stamp, statement, first_look)


def _unlocked(lock: Lock) -> list[str]:
    """Return what the analysis rests on and the lock does not hold.

    Where it holds the features, they stand for what they were made of; of ratings that were to
    come it holds the structure.
    """
    roles = [text.partition(":")[0] for text in lock.absent]
    behind = {"ratings", "clips", *(("interviews", "model") if "features" in lock.files else ())}
    return [role for role in roles if role not in behind]


def _with_stamp(stamp: TimeStamp | None, statement: str, first_look: datetime) -> Standing:
    if stamp is None:
        return Standing("matches_lock", statement, 0, ())
    if stamp.time > first_look:
        late = f"{statement}; its outside time stamp is later than the first look, and counts not"
        return Standing("matches_lock", late, 0, ())
    return Standing("confirmatory", f"{statement}; confirmatory: {stamp.statement}", 0, ())


def _earlier_text(earlier: Sequence[Entry]) -> str:
    if not earlier:
        return "no earlier look at this target is recorded in this folder"
    counts = Counter(str(entry.get("command")) for entry in earlier)
    n = len(earlier)
    named = ", ".join(f"{command} {count}" for command, count in sorted(counts.items()))
    return f"{n} earlier look{'' if n == 1 else 's'} at this target ({named})"


def _time(entry: Entry) -> datetime:
    try:
        return datetime.fromisoformat(str(entry.get("time")))
    except ValueError:
        # Earlier than any stamp: a time that can not be read proves nothing.
        return datetime.min.replace(tzinfo=UTC)
