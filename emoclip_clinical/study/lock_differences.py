"""What differs from a lock, in words: settings key by key, inputs part by part, rows one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from emoclip_clinical.records import InterviewKey
from emoclip_clinical.study.lock import Lock, row_name
from emoclip_clinical.study.locked_inputs import MODEL_IDENTITY, Parts, Recordings
from emoclip_clinical.study.rating_structure import RatingStructure, row_label

_SHOWN_HASH_CHARACTERS = 12
_PATHS_AND_TEXT = (
    "name",
    "data.",
    "report.",
    "evaluation",
    "extraction.prompts",
    "extraction.yunet_weights",
    "extraction.reference_folder",
    "extraction.boxes_folder",
    "model.tower.pretrained",
)


def setting_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], *, private: bool = False
) -> tuple[str, ...]:
    """Return every key that differs, as `section.key: old → new`.

    Parameters
    ----------
    old, new : mapping
        Settings as JSON has them.
    private : bool
        Leave out the values of keys that may hold paths or free text, as results must.
    """
    before, after = _flat(old), _flat(new)
    return tuple(
        f"{key}: changed"
        if private and key.startswith(_PATHS_AND_TEXT)
        else f"{key}: {_shown(before, key)} → {_shown(after, key)}"
        for key in [*before, *(k for k in after if k not in before)]
        if key not in before or key not in after or before[key] != after[key]
    )


def file_differences(old: Mapping[str, Parts], new: Mapping[str, Parts]) -> tuple[str, ...]:
    """Return every part of an input that differs; a role that the old side lacks is left out."""
    found = []
    for role, parts in old.items():
        now = new.get(role, {})
        for part in [*parts, *(p for p in now if p not in parts)]:
            if parts.get(part) != now.get(part):
                found.append(f"{role}: {_changed(part, parts.get(part), now.get(part))}")
    return tuple(found)


def interview_differences(
    lock: Lock, now: Recordings, *, known: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return every recording that was changed, came or went.

    Parameters
    ----------
    lock : Lock
    now : mapping
        By plain interview key; fields that the lock does not have are left out.
    known : iterable of str
        Names that a recording which is gone may have had.
    """
    if lock.interviews is None:
        return ()
    found = []
    seen = set()
    for name, fields in now.items():
        hashed = lock.hashed(name)
        seen.add(hashed)
        before = lock.interviews.get(hashed)
        if before is None:
            found.append(f"interviews: {name} is new")
            continue
        for field in (f for f in fields if f in before and fields[f] != before[f]):
            change = _changed(field, before[field], fields[field])
            found.append(f"interviews: {name}: {change}")
    names = {lock.hashed(name): name for name in known}
    found += [
        f"interviews: {names.get(hashed, 'a recording of someone not known here any more')} is gone"
        for hashed in lock.interviews
        if hashed not in seen
    ]
    return tuple(found)


def recording_differences(old: Recordings, new: Recordings) -> tuple[str, ...]:
    """Return which recordings of two lists differ, in fields that both have."""
    found = []
    for name in [*old, *(n for n in new if n not in old)]:
        if name not in old or name not in new:
            found.append(f"interviews: {name} is {'new' if name in new else 'gone'}")
            continue
        before, after = old[name], new[name]
        for field in (f for f in before if f in after and before[f] != after[f]):
            found.append(f"interviews: {name}: {_changed(field, before[field], after[field])}")
    return tuple(found)


def extraction_differences(lock: Lock, now: Recordings, model: str | None) -> tuple[str, ...]:
    """Return how features differ from what a lock without features would have them made of."""
    found = list(interview_differences(lock, now, known=now)) if now else []
    locked_model = lock.files.get("model", {}).get(MODEL_IDENTITY)
    if model is not None and locked_model is not None and model != locked_model:
        found.append(f"features: made with another {_changed('model', locked_model, model)}")
    return tuple(found)


def rating_differences(
    lock: Lock,
    now: RatingStructure,
    *,
    values_sha256: str | None,
    known: Iterable[str] = (),
) -> tuple[str, ...]:
    """Return how ratings differ from the locked structure, and from locked values if there are any.

    Where there were no ratings yet, those that come must hold the columns and the visits that the
    lock names; more columns, and visits without an interview, are let through, since settings and
    interviews decide what is used of them.

    Parameters
    ----------
    lock : Lock
    now : RatingStructure
    values_sha256 : str or None
        Of the files as they are.
    known : iterable of str
        Visits that a row which is gone may have been of.
    """
    if now.state == "absent":
        there = lock.ratings.state == "absent"
        return () if there else ("ratings: there are none any more",)
    found = (
        _arrival(lock, now, known) if lock.ratings.state == "absent" else _same(lock, now, known)
    )
    locked = lock.ratings.values_sha256
    if locked is not None and locked != values_sha256:
        found.append(f"ratings: {_changed('values', locked, values_sha256)}")
    return tuple(found)


def _arrival(lock: Lock, now: RatingStructure, known: Iterable[str]) -> list[str]:
    (expected,) = lock.ratings.tables
    columns = {c.casefold() for table in now.tables for c in table.columns}
    # Several tables may share a column; it is then asked for as <file>.<column>.
    found = [
        f"ratings: column {c} is missing"
        for c in expected.columns
        if c.casefold() not in columns and c.rpartition(".")[2].casefold() not in columns
    ]
    visits = {row[0] for table in now.tables for row in table.rows}
    people = {visit.split("_")[0] for visit in visits}
    without_sessions = not any("_ses-" in visit for visit in visits)
    names = {lock.hashed(name): name for name in (*known, *visits, *people)}
    for hashed in expected.rows:
        name = names.get(hashed)
        here = name is not None and (
            name in visits
            or (name in people and name == name.split("_")[0])
            or (without_sessions and name.split("_")[0] in people)
        )
        if not here:
            found.append(f"ratings: no row of {name or 'someone not known here any more'}")
    return found


def _same(lock: Lock, now: RatingStructure, known: Iterable[str]) -> list[str]:
    if len(lock.ratings.tables) != len(now.tables):
        return [f"ratings: {len(lock.ratings.tables)} tables → {len(now.tables)} tables"]
    found = []
    for number, (old, new) in enumerate(zip(lock.ratings.tables, now.tables, strict=True), 1):
        role = "ratings" if len(now.tables) == 1 else f"ratings, table {number}"
        found += [f"{role}: column {c} is gone" for c in old.columns if c not in new.columns]
        found += [f"{role}: column {c} is new" for c in new.columns if c not in old.columns]
        rows = {lock.hashed(row_name(row)): row_label(row) for row in new.rows}
        names = {lock.hashed(name): name for name in known}
        found += [
            f"{role}: the row of {names.get(h, 'a visit or rater not known here any more')} is gone"
            for h in old.rows
            if h not in rows
        ]
        found += [f"{role}: a row of {rows[h]} is new" for h in rows if h not in old.rows]
    return found


def visit_of(interview: str) -> str:
    """Return the visit that a recording belongs to."""
    parts = [part for part in interview.split("_") if not part.startswith("run-")]
    return InterviewKey(parts[0], parts[1] if len(parts) > 1 else "").name


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shown(flat: Mapping[str, Any], key: str) -> str:
    if key not in flat:
        return "(nothing)"
    return json.dumps(flat[key], ensure_ascii=False)


def _changed(part: str, old: object, new: object) -> str:
    if old is None and new is not None and _is_hash(new):
        return f"{part} is new"
    if new is None and _is_hash(old):
        return f"{part} is gone"
    return f"{part} {_short(old)} → {_short(new)}"


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def _short(value: object) -> str:
    if _is_hash(value):
        return f"{str(value)[:_SHOWN_HASH_CHARACTERS]}…"
    return json.dumps(value, ensure_ascii=False)
