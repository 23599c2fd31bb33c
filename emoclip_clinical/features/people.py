"""Who is who in one interview: tracks that look alike are one person.

Two tracks that were in one picture are two people, whatever they look like. A track that looks a
little like someone, or like two people at once, is no one's: its time is marked, not guessed. So
is the time in which one face fades into another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from emoclip_clinical.features.appearance import MeanAppearance, difference
from emoclip_clinical.features.tracks import Track

SAME_DIFFERENCE = 0.2
"""Tracks that differ by less are one person, unless they also look like another."""

OTHER_DIFFERENCE = 0.3
"""Tracks that differ from everyone by more are a new person."""

CLEAR_RATIO = 0.65
"""How much nearer than to the next person a track must be."""

_SMALLEST_LOOKS = 2


@dataclass
class Person:
    """Someone in one interview.

    Attributes
    ----------
    number : int
        From 1, in order of appearance; what ``track:<k>`` and the contact sheet name.
    tracks : tuple of int
        Numbers of the person's tracks.
    visible_seconds : float
        Time on screen.
    height_share : float
        Mean height of the box as a share of the picture's height.
    centre_share : float
        Mean distance of the box's middle from the picture's left border, as a share of its width.
    """

    number: int
    tracks: tuple[int, ...]
    visible_seconds: float
    height_share: float
    centre_share: float


@dataclass(frozen=True)
class People:
    """Everyone in one interview.

    Attributes
    ----------
    persons : tuple of Person
        In order of appearance.
    doubtful_seconds : mapping of int to float
        Tracks that are no one's for sure, and their time on screen.
    tracked_seconds : float
        Time in which any face was tracked; two at once count once.
    """

    persons: tuple[Person, ...]
    doubtful_seconds: dict[int, float] = field(default_factory=dict)
    tracked_seconds: float = 0.0


@dataclass
class _Group:
    tracks: list[Track]
    mean: MeanAppearance
    met: set[int]

    def take(self, track: Track) -> None:
        self.tracks.append(track)
        self.mean.merge(track.mean)
        self.met |= track.met


def find_people(tracks: Sequence[Track], *, tracked_seconds: float = 0.0) -> People:
    """Group tracks by person.

    The longest track founds the first person; each further one, by falling length, joins the
    person that it looks like, founds a new one, or stays in doubt.

    Parameters
    ----------
    tracks : sequence of Track
        In order of appearance.
    tracked_seconds : float
        Goes into the result as it is.

    Returns
    -------
    People
        A single look is too little for a person, unless there is nothing else.
    """
    groups: list[_Group] = []
    doubtful: dict[int, float] = {}
    for track in sorted(tracks, key=lambda t: (-t.visible_seconds, -t.n_looks, t.number)):
        if track.nobody or (groups and track.n_looks < _SMALLEST_LOOKS):
            doubtful[track.number] = track.visible_seconds
            continue
        group, is_new = _place(track, groups)
        if group is not None:
            group.take(track)
        elif is_new:
            groups.append(_Group([], MeanAppearance(), set()))
            groups[-1].take(track)
        else:
            doubtful[track.number] = track.visible_seconds
    groups.sort(key=lambda group: min(track.number for track in group.tracks))
    return People(
        persons=tuple(_person(k, group) for k, group in enumerate(groups, start=1)),
        doubtful_seconds=doubtful,
        tracked_seconds=tracked_seconds,
    )


def _place(track: Track, groups: Sequence[_Group]) -> tuple[_Group | None, bool]:
    """Return the group of a track; without one, whether it is surely someone new."""
    look = track.mean.mean
    rivals = sorted(
        (
            (difference(look, group.mean.mean), index)
            for index, group in enumerate(groups)
            if track.number not in group.met
        ),
    )
    if not rivals:
        return None, True
    nearest, index = rivals[0]
    if nearest >= OTHER_DIFFERENCE:
        return None, True
    clear = len(rivals) == 1 or nearest <= CLEAR_RATIO * rivals[1][0]
    return (groups[index], False) if nearest <= SAME_DIFFERENCE and clear else (None, False)


def _person(number: int, group: _Group) -> Person:
    n_looks = sum(track.n_looks for track in group.tracks)
    return Person(
        number=number,
        tracks=tuple(sorted(track.number for track in group.tracks)),
        visible_seconds=sum(track.visible_seconds for track in group.tracks),
        height_share=sum(track.height_share for track in group.tracks) / n_looks,
        centre_share=sum(track.centre_share for track in group.tracks) / n_looks,
    )
