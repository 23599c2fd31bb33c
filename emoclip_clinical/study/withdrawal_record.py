"""withdrawals.jsonl: that someone withdrew consent, without saying who.

A line holds a salted hash of the identifier (see `emoclip_clinical.people` for what such a hash
can and can not do), the time, and what was removed. By it, later commands know a withdrawn person
who is still in the sources.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from emoclip_clinical.people import hash_people, known_people
from emoclip_clinical.records import InputError
from emoclip_clinical.tables import limit_faults

WITHDRAWALS_FILE = "withdrawals.jsonl"


@dataclass(frozen=True)
class Withdrawals:
    """What the study's withdrawals say.

    Attributes
    ----------
    salt : str
        Of this study; empty before the first withdrawal.
    card : mapping or None
        The hashes, in the form that `known_people` reads.
    """

    salt: str
    card: Mapping[str, object] | None


def read_withdrawals(study: Path) -> Withdrawals:
    """Read withdrawals.jsonl; none is an empty one.

    Raises
    ------
    InputError
        If a line can not be read: nobody may be forgotten for a damaged file.
    """
    path = study / WITHDRAWALS_FILE
    if not path.is_file():
        return Withdrawals("", None)
    lines = path.read_text(encoding="utf-8").splitlines()
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            entries.append((str(entry["salt"]), dict(entry["person"])))
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                continue  # a line that was being written when the machine stopped
            raise InputError(f"{WITHDRAWALS_FILE}, line {number}: can not be read") from None
    if not entries:
        return Withdrawals("", None)
    card = dict(entries[0][1])
    card["hashes"] = sorted({h for _, person in entries for h in person["hashes"]})
    return Withdrawals(entries[0][0], card)


def append_withdrawal(
    study: Path, *, participant_id: str, salt: str, state: str, now: datetime, **facts: object
) -> None:
    """Add a line, which is on the disk when this returns.

    Parameters
    ----------
    study : Path
        The study's folder.
    participant_id : str
        Is hashed, and not written.
    salt : str
        Of the study's first withdrawal.
    state : str
        ``begun`` or ``done``.
    now : datetime
    **facts
        JSON-ready: numbers, names of models and targets.
    """
    person = hash_people([participant_id], salt=salt).as_card()
    entry = {
        "time": now.isoformat(timespec="seconds"),
        "state": state,
        "salt": salt,
        "person": person,
        **facts,
    }
    path = study / WITHDRAWALS_FILE
    torn = path.is_file() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * torn + json.dumps(entry, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def has_withdrawn(study: Path, participants: Iterable[str]) -> tuple[str, ...]:
    """Return those of the participants who have withdrawn, sorted."""
    card = read_withdrawals(study).card
    return known_people(participants, card).participants if card else ()


def refuse_withdrawn(study: Path, participants: Iterable[str], *, where: str) -> None:
    """Stop where someone who has withdrawn is still in the sources.

    Parameters
    ----------
    study : Path
        The study's folder.
    participants : iterable of str
        Everyone who would be worked on.
    where : str
        In what they were found, for the message.

    Raises
    ------
    InputError
        Naming each of them.
    """
    found = has_withdrawn(study, participants)
    if found:
        raise InputError(
            limit_faults(
                [
                    f"participant {p!r} has withdrawn consent ({WITHDRAWALS_FILE}) and is still in "
                    f"the {where}: `emoclip-clinical withdraw {p} --sources` removes what is left"
                    for p in found
                ]
            )
        )
