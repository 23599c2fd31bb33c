"""Interviews that are one recording under two names.

Under two participants, one of them could be learned from and the other predicted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from emoclip_clinical.features.description import describe_source
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.file_hashes import FileHashes


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
    """Find interviews that show one person at one time, in one file or in copies of it.

    Parameters
    ----------
    sources : iterable of mapping
        Entries of ``inputs`` in ``features.json``: ``interview`` (its name), ``sha256``,
        ``start_seconds``, ``stop_seconds``, ``patient`` (the rule) and ``patient_track`` (whom it
        chose). One file with two people in it may be two interviews: then the rules differ, and
        each chose another person.

    Returns
    -------
    SameRecordings
        Interviews whose file has no hash are left out.
    """
    by_content: dict[object, list[Mapping[str, object]]] = {}
    for source in sources:
        if source.get("sha256"):
            by_content.setdefault(source["sha256"], []).append(source)
    of_two, of_one = [], []
    for group in by_content.values():
        for first, second in combinations(group, 2):
            if not (_overlap(first, second) and _same_person(first, second)):
                continue
            names = f"{first['interview']} and {second['interview']}"
            what = "are the same" if _part(first) == _part(second) else "overlap in one"
            if _participant(first) == _participant(second):
                of_one.append(f"{names} {what} recording, twice")
            else:
                of_two.append(f"{names} {what} recording of two participants")
    return SameRecordings(tuple(of_two), tuple(of_one))


def _part(source: Mapping[str, object]) -> tuple[float, float]:
    start, stop = source.get("start_seconds"), source.get("stop_seconds")
    # Times on a video's clock are rarely below 0, and a start of 0 is that of the video.
    begins = start if isinstance(start, int | float) and start > 0 else 0.0
    return float(begins), float(stop) if isinstance(stop, int | float) else math.inf


def _overlap(first: Mapping[str, object], second: Mapping[str, object]) -> bool:
    (begin, end), (other_begin, other_end) = _part(first), _part(second)
    return max(begin, other_begin) < min(end, other_end)


def _same_person(first: Mapping[str, object], second: Mapping[str, object]) -> bool:
    if first.get("patient") == second.get("patient"):
        return True
    # People are numbered anew in every part of a file.
    track = first.get("patient_track")
    return (
        track is not None
        and track == second.get("patient_track")
        and (_part(first) == _part(second))
    )


def _participant(source: Mapping[str, object]) -> str:
    return str(source["interview"]).split("_")[0]


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
        As of `same_recordings`; whom a rule will choose is not known yet.
    """
    by_length: dict[int, list[Interview]] = {}
    for interview in interviews:
        try:
            by_length.setdefault(interview.path.stat().st_size, []).append(interview)
        except OSError:
            continue
    hashes = FileHashes()
    return same_recordings(
        {
            **describe_source(interview, hashes=hashes),
            "interview": interview.key.name,
            "patient": interview.patient or patient,
        }
        for group in by_length.values()
        if len(group) > 1
        for interview in group
    )
