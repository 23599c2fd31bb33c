"""Which person in an interview is the patient, how clearly, and what to tell the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from emoclip_clinical.features.people import People, Person
from emoclip_clinical.records import InputError

RuleName = Literal["largest", "longest", "left", "right", "track", "reference"]

AMBIGUOUS_MARGIN = 0.2
"""A choice with a smaller margin is a warning."""

SMALLEST_CONFIDENCE = 0.9
"""A share of surely known time below this is a warning."""

SMALLEST_SIMILARITY = 0.3
"""Cosine to the reference picture below which no one is taken for the patient."""

_SMALLEST_PRESENCE = 0.2
_WANTED = "largest, longest, left, right, track:<k> (k from 1) or reference"


@dataclass(frozen=True)
class PatientRule:
    """How the patient is told from other people in the picture.

    Attributes
    ----------
    name : str
        ``longest``: most time on screen; people within a tenth of the longest count as equal, and
        the largest of them is taken. ``largest``: largest face. ``left``, ``right``: whose face
        is on average furthest to that side of the picture. ``track``: person `number` of the
        contact sheet. ``reference``: who looks most like a reference picture.
    number : int
        Of ``track``; 0 for the others.
    """

    name: RuleName
    number: int = 0

    @property
    def text(self) -> str:
        """The rule as a user writes it."""
        return f"track:{self.number}" if self.name == "track" else self.name


def patient_rule(text: str) -> PatientRule:
    """Read a rule.

    Parameters
    ----------
    text : str
        ``largest``, ``longest``, ``left``, ``right``, ``track:<k>`` or ``reference``.

    Returns
    -------
    PatientRule
        The rule.

    Raises
    ------
    InputError
        If it is none of them.

    Examples
    --------
    >>> patient_rule("track:2")
    PatientRule(name='track', number=2)
    """
    numbered = re.fullmatch(r"track:([1-9][0-9]{0,5})", text.strip())
    if numbered:
        return PatientRule("track", int(numbered[1]))
    for name in get_args(RuleName):
        if name == text.strip() != "track":
            return PatientRule(name)
    raise InputError(f"patient must be {_WANTED}, got {text!r}")


@dataclass(frozen=True)
class PatientChoice:
    """Who was taken for the patient, and how clear that was.

    Attributes
    ----------
    rule : str
        As the user writes it.
    person : int or None
        Number of the person; None where no one fits.
    n_people : int
        People who were told apart over the whole interview.
    share : float or None
        The person's time on screen as a share of the time in which any face was tracked: 1 for
        one who is always in view, whoever else is.
    margin : float or None
        Lead over the next candidate, in [0, 1]: of time (``longest``) or size (``largest``) as a
        share of the patient's own, of place as a share of the picture's width, of cosine to the
        reference; 1 without another candidate; None for ``track:<k>``, which a human chose.
    confidence : float or None
        The person's time on screen, divided by the same plus the time of tracks that look a
        little like several people and were left out; 1 where nothing was left out.
    tracks : frozenset of int
        The person's tracks.
    """

    rule: str
    person: int | None = None
    n_people: int = 0
    share: float | None = None
    margin: float | None = None
    confidence: float | None = None
    tracks: frozenset[int] = field(default_factory=frozenset)


def choose_patient(
    people: People, *, rule: PatientRule, similarities: Mapping[int, float] | None = None
) -> PatientChoice:
    """Choose the patient among the people of an interview.

    Parameters
    ----------
    people : People
        Everyone.
    rule : PatientRule
        How.
    similarities : mapping of int to float, optional
        For ``reference``: cosine of each track to the reference picture.

    Returns
    -------
    PatientChoice
        Without a person where no one fits: nobody there, no such number, nobody like the picture.
    """
    persons = people.persons
    nobody = PatientChoice(rule=rule.text, n_people=len(persons))
    if rule.name == "track":
        chosen = [person for person in persons if person.number == rule.number]
        return _choice(chosen[0], None, people, nobody) if chosen else nobody
    longest = max((person.visible_seconds for person in persons), default=0.0)
    present = [p for p in persons if p.visible_seconds >= _SMALLEST_PRESENCE * longest]
    if rule.name == "reference":
        likeness = _likeness(persons, similarities or {})
        present = [p for p in persons if likeness.get(p.number, -1.0) >= SMALLEST_SIMILARITY]
        ranked = sorted(present, key=lambda p: (-likeness[p.number], p.number))
        # The lead counts over everyone, also over those who are too unlike to be chosen.
        others = [v for n, v in likeness.items() if ranked and n != ranked[0].number]
        if not ranked:
            return nobody
        lead = likeness[ranked[0].number] - max(others) if others else 1.0
        return _choice(ranked[0], min(1.0, lead), people, nobody)
    if not present:
        return nobody
    ranked = sorted(present, key=_order(rule.name, longest))
    return _choice(ranked[0], _margin(rule.name, ranked), people, nobody)


def patient_warning(choice: PatientChoice, *, interview: str) -> str | None:
    """Say what a user should look at before the interview is used.

    Parameters
    ----------
    choice : PatientChoice
        Who was taken.
    interview : str
        The interview's name.

    Returns
    -------
    str or None
        One line that names the interview and what to set; None where all is clear.
    """
    advice = (
        "look at its contact sheet (emoclip-clinical faces) and set patient in interviews.csv to "
        "left, right or track:<k>"
    )
    if choice.person is None:
        if choice.n_people == 0:
            return None
        return f"{interview}: no one fits patient '{choice.rule}' ({_found(choice)}): {advice}"
    if choice.rule in ("left", "right") and choice.n_people == 1:
        return (
            f"{interview}: only 1 person was found, and patient is '{choice.rule}': whether they "
            f"are the patient, nobody has said: {advice}"
        )
    if choice.margin is not None and choice.margin < AMBIGUOUS_MARGIN:
        return (
            f"{interview}: who the patient is is not clear: person {choice.person} leads by only "
            f"{100 * choice.margin:.0f} % ('{choice.rule}', {_found(choice)}): {advice}"
        )
    if choice.confidence is not None and choice.confidence < SMALLEST_CONFIDENCE:
        return (
            f"{interview}: {100 * (1 - choice.confidence):.0f} % of the time with a face could "
            f"belong to person {choice.person}, the patient, or to another, and was left out: "
            "look at its contact sheet (emoclip-clinical faces)"
        )
    return None


def _found(choice: PatientChoice) -> str:
    return "1 person was found" if choice.n_people == 1 else f"{choice.n_people} people were found"


def _order(rule: str, longest: float) -> Callable[[Person], tuple[float, ...]]:
    if rule == "largest":
        return lambda p: (-p.height_share, p.number)
    if rule == "left":
        return lambda p: (p.centre_share, p.number)
    if rule == "right":
        return lambda p: (-p.centre_share, p.number)
    # Near-ties in time say nothing; among them the larger face is more likely the one filmed.
    return lambda p: (p.visible_seconds < 0.9 * longest, -p.height_share, p.number)


def _margin(rule: str, ranked: list[Person]) -> float:
    if len(ranked) == 1:
        return 1.0
    first, others = ranked[0], ranked[1:]
    if rule == "largest":
        lead = 1.0 - max(p.height_share for p in others) / first.height_share
    elif rule in ("left", "right"):
        lead = min(abs(p.centre_share - first.centre_share) for p in others)
    elif first.visible_seconds > 0:
        lead = 1.0 - max(p.visible_seconds for p in others) / first.visible_seconds
    else:
        lead = 0.0
    return min(1.0, max(0.0, lead))


def _likeness(persons: tuple[Person, ...], similarities: Mapping[int, float]) -> dict[int, float]:
    """Return each person's best track's cosine; tracks too short to be measured have none."""
    found = {}
    for person in persons:
        values = [similarities[track] for track in person.tracks if track in similarities]
        if values:
            found[person.number] = max(values)
    return found


def _choice(
    person: Person, margin: float | None, people: People, nobody: PatientChoice
) -> PatientChoice:
    doubtful = sum(people.doubtful_seconds.values())
    own = person.visible_seconds
    return PatientChoice(
        rule=nobody.rule,
        person=person.number,
        n_people=nobody.n_people,
        share=own / people.tracked_seconds if people.tracked_seconds > 0 else None,
        margin=margin,
        confidence=own / (own + doubtful) if own + doubtful > 0 else None,
        tracks=frozenset(person.tracks),
    )
