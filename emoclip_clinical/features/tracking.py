"""Join detections into tracks: stretches in which a face is surely the same one.

A track prefers to end rather than to hold two people. It ends at a cut, when the face looks
different, where two faces come so near that place and looks do not tell them apart, and where one
face fades into another; `people` joins tracks again by what they look like as a whole. That a face
has faded is known seconds later: the numbers of earlier looks are then corrected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from emoclip_clinical.features.appearance import Appearance, difference
from emoclip_clinical.features.faces import Face, overlap, shared_area
from emoclip_clinical.features.fading import (
    SETTLED_SECONDS,
    TimedLook,
    begun,
    begun_at_the_end,
    divide,
    goes_on,
    n_not_yet,
)
from emoclip_clinical.features.tracks import Correction, Sighting, Track

LONGEST_GAP_SECONDS = 1.5
"""A face that is gone for longer comes back as a new track, unless looks are rarer than that."""

LARGEST_DIFFERENCE = 0.35
"""A face in the same place that differs by more, see `difference`, is someone else's."""

_SMALLEST_OVERLAP = 0.1
_CLEAR_RATIO = 0.7
_IMPOSSIBLE = 1e6


class Tracker:
    """Join the faces of one look after another to tracks.

    Parameters
    ----------
    longest_gap_seconds : float
        Time between two looks at a face after which it is a new track.

    Attributes
    ----------
    tracks : list of Track
        All so far, open or ended; a track's number is its place.
    tracked_seconds : float
        Time between looks that both saw one and the same face, at least.
    """

    def __init__(self, *, longest_gap_seconds: float = LONGEST_GAP_SECONDS) -> None:
        self.tracks: list[Track] = []
        self._longest_gap_seconds = longest_gap_seconds
        self.tracked_seconds = 0.0
        self._open: list[Track] = []
        self._together: dict[int, list[int]] = {}
        self._corrections: list[Correction] = []
        self._n_looks = 0
        self._last_seconds: float | None = None

    def add(
        self,
        faces: Sequence[Face],
        appearances: Sequence[Appearance],
        *,
        seconds: float,
        picture_size: tuple[int, int],
        cut: bool,
    ) -> tuple[int, ...]:
        """Take the faces of one picture.

        Parameters
        ----------
        faces : sequence of Face
            All that were found.
        appearances : sequence of Appearance
            Of each.
        seconds : float
            The picture's time; later than the one before.
        picture_size : tuple of int
            Height and width in pixels.
        cut : bool
            Whether a scene cut lies between this picture and the one before.

        Returns
        -------
        tuple of int
            The track of each face, before any of `corrections`.
        """
        gone = [
            track
            for track in self._open
            if cut or seconds - track.last.seconds > self._longest_gap_seconds
        ]
        self._end(gone)
        chosen = self._match(faces, appearances)
        index, self._n_looks = self._n_looks, self._n_looks + 1
        tracks = []
        for face, look, track in zip(faces, appearances, chosen, strict=True):
            if track is None:
                track = self._new()
                track.replaces = self._replace_others(face, chosen, index=index)
                self._open.append(track)
            track.replaced = False
            # A new track, and one that comes after a gap, has not been seen since the last look.
            unbroken = bool(track.recent) and track.last.seconds == self._last_seconds
            step = seconds - track.last.seconds if unbroken else 0.0
            height, centre = face.height / picture_size[0], face.centre[0] / picture_size[1]
            track.extend(Sighting(seconds, look, index, face, step, height, centre))
            tracks.append(track)
        self.tracked_seconds += max((t.last.step_seconds for t in tracks), default=0.0)
        numbers = tuple(track.number for track in tracks)
        for track in tracks:
            for number in set(numbers) - {track.number}:
                track.meet(number, times=1)
        self._together[index] = list(numbers)
        for track in tracks:
            self._compare_with_before(track)
        oldest = min((track.recent[0][0].index for track in self._open), default=index + 1)
        for past in [past for past in self._together if past < oldest]:
            del self._together[past]
        self._last_seconds = seconds
        return numbers

    def finish(self) -> None:
        """End all tracks, after the last picture."""
        self._end(self._open)

    def corrections(self) -> tuple[Correction, ...]:
        """Return what has been found out about earlier looks since the last call, in order."""
        found, self._corrections = tuple(self._corrections), []
        return found

    def _new(self, *, nobody: bool = False) -> Track:
        track = Track(len(self.tracks), nobody)
        self.tracks.append(track)
        return track

    def _replace_others(self, face: Face, chosen: Sequence[Track | None], *, index: int) -> bool:
        """Mark the tracks that end because this face is where they were."""
        others = [
            track
            for track in self._open
            if track.last.index < index
            and all(track is not other for other in chosen)
            and shared_area(face, track.last.face) > 0
        ]
        for track in others:
            track.replaced = True
        return bool(others)

    def _end(self, tracks: Iterable[Track]) -> None:
        for track in tuple(tracks):
            self._settle(track, ended=True)
            if track.change is None:
                track.change = begun_at_the_end(_timed(track), replaced=track.replaced)
            self._divide(track, ended=True)
            self._open = [other for other in self._open if other is not track]
            track.recent.clear()

    def _settle(self, track: Track, *, ended: bool) -> None:
        """Take from a track that replaced another the looks in which both are to be seen."""
        first = track.recent[0][0].seconds
        if not track.replaces or not (ended or track.last.seconds - first >= SETTLED_SECONDS):
            return
        track.replaces = False
        count = n_not_yet(_timed(track))
        if count:
            self._give_away(track.drop_start(count), track, nobody=True)

    def _compare_with_before(self, track: Track) -> None:
        self._settle(track, ended=False)
        if track.change is None:
            track.change = begun(_timed(track))
        elif not goes_on(track.change, _timed(track)):
            self._divide(track, ended=False)
        if track.recent and track.change is None:
            track.forget()

    def _divide(self, track: Track, *, ended: bool) -> None:
        """Leave a track what is surely its own, give the rest to nobody and to a new track."""
        change, track.change = track.change, None
        if change is None:
            return
        items = list(track.recent)
        doubtful = [seen for seen, _ in items if seen.seconds > change.since]
        n_before, first_after = divide(change, doubtful, ended=ended)
        if n_before == len(doubtful):
            return
        n_kept = len(items) - len(doubtful) + n_before
        track.totals = items[n_kept - 1][1]
        track.recent.clear()
        if n_before < first_after:
            self._give_away(doubtful[n_before:first_after], track, nobody=True)
        if first_after < len(doubtful):
            successor = self._give_away(doubtful[first_after:], track, nobody=False)
            if ended:
                successor.recent.clear()
            else:
                self._open = [successor if other is track else other for other in self._open]

    def _give_away(self, sightings: Sequence[Sighting], old: Track, *, nobody: bool) -> Track:
        """Make a track of looks that are not the old one's."""
        new = self._new(nobody=nobody)
        for k, seen in enumerate(sightings):
            new.extend(seen if k else replace(seen, step_seconds=0.0))
            numbers = self._together[seen.index]
            numbers[numbers.index(old.number)] = new.number
            for number in set(numbers) - {new.number}:
                for first, second in ((number, old.number), (old.number, number)):
                    self.tracks[first].meet(second, times=-1)
                for first, second in ((number, new.number), (new.number, number)):
                    self.tracks[first].meet(second, times=1)
            self._corrections.append(Correction(seen.index, old.number, new.number))
        if nobody:
            new.recent.clear()
        return new

    def _match(
        self, faces: Sequence[Face], appearances: Sequence[Appearance]
    ) -> list[Track | None]:
        """Return the open track that each face carries on; ends those that are in doubt."""
        found: list[Track | None] = [None] * len(faces)
        if not faces or not self._open:
            return found
        overlaps = np.array([[overlap(f, t.last.face) for t in self._open] for f in faces])
        differences = np.array([[_unlike(look, t) for t in self._open] for look in appearances])
        possible = (overlaps >= _SMALLEST_OVERLAP) & (differences <= LARGEST_DIFFERENCE)
        cost = np.where(possible, 1.0 - overlaps + differences, _IMPOSSIBLE)
        ended: set[int] = set()
        rows, columns = linear_sum_assignment(cost)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if not possible[row, column]:
                continue
            if _in_doubt(row, column, overlaps=overlaps, differences=differences):
                ended |= {t.number for t, o in zip(self._open, overlaps[row], strict=True) if o > 0}
            else:
                found[row] = self._open[column]
        self._end([track for track in self._open if track.number in ended])
        return [None if t is not None and t.number in ended else t for t in found]


def _timed(track: Track) -> list[TimedLook]:
    return [seen for seen, _ in track.recent]


def _unlike(look: Appearance, track: Track) -> float:
    # A hand before the face changes the last look, a turned head the average: either may fit.
    return min(difference(look, track.last.look), difference(look, track.mean.mean))


def _in_doubt(row: int, column: int, *, overlaps: np.ndarray, differences: np.ndarray) -> bool:
    """Tell whether another track has been where the face is now, and looks as much like it."""
    rivals = overlaps[row] >= _SMALLEST_OVERLAP
    rivals[column] = False
    if not rivals.any():
        return False
    return bool(differences[row, column] > _CLEAR_RATIO * differences[row, rivals].min())
