"""Join detections into tracks: stretches in which a face is surely the same one.

A track prefers to end rather than to hold two people. It ends at a cut, when the face looks
different, and where two faces come so near that place and looks do not tell them apart;
`people` joins tracks again by what they look like as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from emoclip_clinical.features.appearance import Appearance, MeanAppearance, difference
from emoclip_clinical.features.faces import Face, overlap

LONGEST_GAP_SECONDS = 1.5
"""A face that is gone for longer comes back as a new track."""

LARGEST_DIFFERENCE = 0.35
"""A face in the same place that differs by more, see `difference`, is someone else's."""

_SMALLEST_OVERLAP = 0.1
_CLEAR_RATIO = 0.7
_IMPOSSIBLE = 1e6


@dataclass(slots=True)
class Track:
    """One stretch of one face.

    Attributes
    ----------
    number : int
        From 0, in order of appearance.
    last_seconds : float
        When it was last seen.
    last_face : Face
        Where.
    last_look : Appearance
        What it looked like then.
    n_looks : int
        Looks in which it was seen.
    visible_seconds : float
        Time between looks that both saw it.
    mean : MeanAppearance
        What it looks like on average.
    height_share, centre_share : float
        Sums over looks of the box's height and of its middle from the left, as shares of the
        picture's height and width.
    met : set of int
        Numbers of tracks seen in the same picture.
    """

    number: int
    last_seconds: float
    last_face: Face
    last_look: Appearance
    n_looks: int = 0
    visible_seconds: float = 0.0
    mean: MeanAppearance = field(default_factory=MeanAppearance)
    height_share: float = 0.0
    centre_share: float = 0.0
    met: set[int] = field(default_factory=set)


class Tracker:
    """Join the faces of one look after another to tracks.

    Attributes
    ----------
    tracks : list of Track
        All so far, open or ended; a track's number is its place.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._open: list[Track] = []
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
            The track of each face.
        """
        self._open = [
            track
            for track in self._open
            if not cut and seconds - track.last_seconds <= LONGEST_GAP_SECONDS
        ]
        chosen = self._match(faces, appearances)
        tracks = []
        for face, look, track in zip(faces, appearances, chosen, strict=True):
            if track is None:
                track = Track(len(self.tracks), seconds, face, look)
                self.tracks.append(track)
                self._open.append(track)
            self._extend(track, face, look, seconds=seconds, picture_size=picture_size)
            tracks.append(track)
        numbers = {track.number for track in tracks}
        for track in tracks:
            track.met |= numbers - {track.number}
        self._last_seconds = seconds
        return tuple(track.number for track in tracks)

    def _extend(
        self,
        track: Track,
        face: Face,
        look: Appearance,
        *,
        seconds: float,
        picture_size: tuple[int, int],
    ) -> None:
        if track.n_looks and track.last_seconds == self._last_seconds:
            track.visible_seconds += seconds - track.last_seconds
        track.last_seconds, track.last_face, track.last_look = seconds, face, look
        track.n_looks += 1
        track.mean.add(look)
        track.height_share += face.height / picture_size[0]
        track.centre_share += face.centre[0] / picture_size[1]

    def _match(
        self, faces: Sequence[Face], appearances: Sequence[Appearance]
    ) -> list[Track | None]:
        """Return the open track that each face carries on; ends those that are in doubt."""
        found: list[Track | None] = [None] * len(faces)
        if not faces or not self._open:
            return found
        overlaps = np.array([[overlap(f, t.last_face) for t in self._open] for f in faces])
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
        self._open = [track for track in self._open if track.number not in ended]
        return [None if t is not None and t.number in ended else t for t in found]


def _unlike(look: Appearance, track: Track) -> float:
    # A hand before the face changes the last look, a turned head the average: either may fit.
    return min(difference(look, track.last_look), difference(look, track.mean.mean))


def _in_doubt(row: int, column: int, *, overlaps: np.ndarray, differences: np.ndarray) -> bool:
    """Tell whether another track has been where the face is now, and looks as much like it."""
    rivals = overlaps[row] >= _SMALLEST_OVERLAP
    rivals[column] = False
    if not rivals.any():
        return False
    return bool(differences[row, column] > _CLEAR_RATIO * differences[row, rivals].min())
