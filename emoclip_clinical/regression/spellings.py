"""Identifiers of two tables that are the same but for what spreadsheets do to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from emoclip_clinical.records import InterviewKey

Visit = tuple[str, str]
"""Canonical participant and session; the latter empty where there is none."""

_LOSSES: dict[str, Callable[[str], str]] = {
    "capitals": str.casefold,
    "a trailing .0": lambda label: re.sub(r"\.0+$", "", label),
    "leading zeros": lambda label: re.sub(r"^0+(?=.)", "", label),
}


def spelled_otherwise(
    recorded: Collection[Visit], rated: Collection[Visit], *, what: str = "features"
) -> list[str]:
    """Say which participants or visits of two tables are one but for their spelling.

    Where some are and others match as they stand, an analysis would silently be of the others.

    Parameters
    ----------
    recorded, rated : collection of (str, str)
        All visits of either side, those without usable values too.
    what : str
        What messages call the recorded side.

    Returns
    -------
    list of str
        At most one fault for participants and one for the sessions of those who match.
    """
    there = {participant for participant, _ in recorded}
    here = {participant for participant, _ in rated}
    both = there & here
    return [
        *_fault(there, here, of="participant", what=what),
        *_fault(_visits(recorded, both), _visits(rated, both), of="visit", what=what),
    ]


def _visits(side: Collection[Visit], people: Collection[str]) -> set[str]:
    return {InterviewKey(p, session).name for p, session in side if p in people and session}


def _fault(recorded: set[str], rated: set[str], *, of: str, what: str) -> list[str]:
    theirs = {_bare(name): name for name in sorted(recorded - rated)}
    pairs = [(theirs[_bare(n)], n) for n in sorted(rated - recorded) if _bare(n) in theirs]
    if not pairs:
        return []
    lost = [
        name for name in _LOSSES if any(_bare(a, but=name) != _bare(b, but=name) for a, b in pairs)
    ]
    first = pairs[0]
    they_differ = (
        f"{of} of the ratings differs" if len(pairs) == 1 else f"{of}s of the ratings differ"
    )
    return [
        f"{len(pairs)} {they_differ} from those of the {what} only by "
        f"{' and '.join(lost)} ({first[1]} in the ratings, {first[0]} in the {what}): write them "
        "alike; a spreadsheet leaves a column as it is that is formatted as text"
    ]


def _bare(name: str, *, but: str = "") -> str:
    return "_".join(_without_losses(part, but) for part in name.split("_"))


def _without_losses(part: str, but: str) -> str:
    prefix, _, label = part.partition("-")
    for name, lose in _LOSSES.items():
        label = label if name == but else lose(label)
    return f"{prefix}-{label}"
