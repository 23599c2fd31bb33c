"""What was seen at the moments that were looked at, and the patient's box at any moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emoclip_clinical.features.faces import Face, between, shared_area

REACH = 1
"""How many looks before and after a box it is steadied with."""

_LARGEST_COVER = 0.2
_ANY_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class Look:
    """One picture in which faces were looked for.

    Attributes
    ----------
    seconds : float
        Its time on the video's own clock.
    faces : tuple of Face
        All that were found.
    tracks : tuple of int
        The track of each.
    """

    seconds: float
    faces: tuple[Face, ...]
    tracks: tuple[int, ...]


def patient_place(look: Look, tracks: frozenset[int]) -> int | None:
    """Return which of a look's faces is the patient's.

    Parameters
    ----------
    look : Look
        The look.
    tracks : frozenset of int
        The patient's tracks.

    Returns
    -------
    int or None
        None where the patient is not there, or where another face covers a fifth of theirs: the
        crop would show two people.
    """
    for place, track in enumerate(look.tracks):
        if track in tracks:
            mine = look.faces[place]
            others = [face for k, face in enumerate(look.faces) if k != place]
            covered = max((shared_area(mine, other) for other in others), default=0.0)
            return place if covered <= _LARGEST_COVER * mine.area else None
    return None


def face_at(
    looks: Sequence[Look], index: int, seconds: float, *, tracks: frozenset[int]
) -> Face | None:
    """Return the patient's box at any moment.

    Parameters
    ----------
    looks : sequence of Look
        In order of time.
    index : int
        The last look at or before the moment.
    seconds : float
        The moment.
    tracks : frozenset of int
        The patient's tracks.

    Returns
    -------
    Face or None
        At a look its own box, between two the box between them, each steadied; None unless both
        see the patient on one and the same track: nothing is carried over a gap or a cut.
    """
    here = looks[index]
    place = patient_place(here, tracks)
    if place is None:
        return None
    first = _steadied(looks, index, place)
    if seconds - here.seconds <= _ANY_SECONDS:
        return first
    if index + 1 == len(looks):
        return None
    after = looks[index + 1]
    other = patient_place(after, tracks)
    if other is None or after.tracks[other] != here.tracks[place]:
        return None
    share = (seconds - here.seconds) / (after.seconds - here.seconds)
    return between(first, _steadied(looks, index + 1, other), share=share)


def _steadied(looks: Sequence[Look], index: int, place: int) -> Face:
    """Average a box with the one its neighbours let expect, on the same track, without a lag.

    For equal spacing these are the binomial weights 1/4, 1/2, 1/4, which leave a straight
    movement as it is.
    """
    here = looks[index]
    face, track = here.faces[place], here.tracks[place]
    if not REACH <= index < len(looks) - REACH:
        return face
    before, after = looks[index - REACH], looks[index + REACH]
    if track not in before.tracks or track not in after.tracks:
        return face
    share = (here.seconds - before.seconds) / (after.seconds - before.seconds)
    expected = between(
        before.faces[before.tracks.index(track)],
        after.faces[after.tracks.index(track)],
        share=share,
    )
    steady = between(face, expected, share=0.5)
    return Face(
        steady.left, steady.top, steady.width, steady.height, face.score, steady.eyes or face.eyes
    )
