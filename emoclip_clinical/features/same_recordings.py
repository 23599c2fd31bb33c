"""Interviews that are one recording under two names.

Under two participants, one of them could be learned from and the other predicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from emoclip_clinical.features.description import describe_source
from emoclip_clinical.features.interviews import Interview


@dataclass(frozen=True)
class SameRecordings:
    """What stands more than once.

    Attributes
    ----------
    of_two : tuple of str
        A line for each pair of interviews of different participants.
    of_one : tuple of str
        A line for each pair of interviews of one participant.
    """

    of_two: tuple[str, ...]
    of_one: tuple[str, ...]


def same_recordings(sources: Iterable[Mapping[str, object]]) -> SameRecordings:
    """Find interviews whose file, part of it and patient are the same.

    Parameters
    ----------
    sources : iterable of mapping
        Entries of ``inputs`` in ``features.json``: ``interview`` (its name), ``sha256``,
        ``start_seconds``, ``stop_seconds`` and ``patient``. One file with two people in it may be
        two interviews: then `patient` differs.

    Returns
    -------
    SameRecordings
        Interviews whose file has no hash are left out.
    """
    parts = ("sha256", "start_seconds", "stop_seconds", "patient")
    names: dict[tuple[object, ...], list[str]] = {}
    for source in sources:
        if source.get("sha256"):
            recording = tuple(source.get(part) for part in parts)
            names.setdefault(recording, []).append(str(source["interview"]))
    of_two, of_one = [], []
    for group in names.values():
        for first, second in combinations(group, 2):
            if first.split("_")[0] == second.split("_")[0]:
                of_one.append(f"{first} and {second} are the same recording, twice")
            else:
                of_two.append(f"{first} and {second} are the same recording of two participants")
    return SameRecordings(tuple(of_two), tuple(of_one))


def same_files(interviews: Iterable[Interview], *, patient: str) -> SameRecordings:
    """Find the same before anything is extracted; only files of equal length are read.

    Parameters
    ----------
    interviews : iterable of Interview
        From `find_interviews`.
    patient : str
        The run's rule, for interviews that have none of their own.

    Returns
    -------
    SameRecordings
        As of `same_recordings`.
    """
    by_length: dict[int, list[Interview]] = {}
    for interview in interviews:
        try:
            by_length.setdefault(interview.path.stat().st_size, []).append(interview)
        except OSError:
            continue
    return same_recordings(
        {
            **describe_source(interview),
            "interview": interview.key.name,
            "patient": interview.patient or patient,
        }
        for group in by_length.values()
        if len(group) > 1
        for interview in group
    )
