"""What is known of one face while it is followed: its looks, and their sums."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace

from emoclip_clinical.features.appearance import MeanAppearance
from emoclip_clinical.features.faces import Face
from emoclip_clinical.features.fading import HISTORY_SECONDS, Change, TimedLook

_ANY_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class Sighting(TimedLook):
    """A face in one look.

    Attributes
    ----------
    index : int
        Number of the look, from 0.
    face : Face
        Where it was.
    step_seconds : float
        Time since the look before, where that saw it too; else 0.
    height_share, centre_share : float
        The box's height and its middle from the left, as shares of the picture's height and width.
    """

    index: int
    face: Face
    step_seconds: float
    height_share: float
    centre_share: float


@dataclass(frozen=True, slots=True)
class TrackTotals:
    """Sums over the looks of a track.

    Attributes
    ----------
    n_looks : int
        Looks in which it was seen.
    visible_seconds : float
        Time between looks that both saw it.
    mean : MeanAppearance
        What it looks like on average.
    height_share, centre_share : float
        Sums of those of each `Sighting`.
    """

    n_looks: int = 0
    visible_seconds: float = 0.0
    mean: MeanAppearance = field(default_factory=MeanAppearance)
    height_share: float = 0.0
    centre_share: float = 0.0

    def plus(self, seen: Sighting) -> TrackTotals:
        """Return the sums with one more look."""
        mean = MeanAppearance(list(self.mean.sums))
        mean.add(seen.look)
        return TrackTotals(
            self.n_looks + 1,
            self.visible_seconds + seen.step_seconds,
            mean,
            self.height_share + seen.height_share,
            self.centre_share + seen.centre_share,
        )


@dataclass(slots=True)
class Track:
    """One stretch of one face.

    Attributes
    ----------
    number : int
        From 0, in order of appearance.
    nobody : bool
        Whether it is a stretch in which one face fades into another.
    totals : TrackTotals
        Sums over its looks.
    recent : deque of (Sighting, TrackTotals)
        Its last looks, each with the sums up to it; empty when the track has ended.
    change : Change or None
        Set while it may be turning into someone else.
    replaces : bool
        Whether it has only just taken the place of another track.
    replaced : bool
        Whether another track has taken its place.
    """

    number: int
    nobody: bool = False
    totals: TrackTotals = field(default_factory=TrackTotals)
    recent: deque[tuple[Sighting, TrackTotals]] = field(default_factory=deque)
    change: Change | None = None
    replaces: bool = False
    replaced: bool = False
    _met: Counter[int] = field(default_factory=Counter)

    @property
    def last(self) -> Sighting:
        """The last look that saw it; only of a track that has not ended."""
        return self.recent[-1][0]

    @property
    def n_looks(self) -> int:
        """Looks in which it was seen."""
        return self.totals.n_looks

    @property
    def visible_seconds(self) -> float:
        """Time between looks that both saw it."""
        return self.totals.visible_seconds

    @property
    def mean(self) -> MeanAppearance:
        """What it looks like on average."""
        return self.totals.mean

    @property
    def height_share(self) -> float:
        """Sum over its looks of the box's height as a share of the picture's."""
        return self.totals.height_share

    @property
    def centre_share(self) -> float:
        """Sum over its looks of the box's middle from the left as a share of the width."""
        return self.totals.centre_share

    @property
    def met(self) -> set[int]:
        """Numbers of tracks seen in the same picture."""
        return {number for number, count in self._met.items() if count > 0}

    def extend(self, seen: Sighting) -> None:
        """Take one more look."""
        self.totals = self.totals.plus(seen)
        self.recent.append((seen, self.totals))

    def drop_start(self, count: int) -> list[Sighting]:
        """Give up the first looks of a track all of whose looks are recent."""
        seen = [sighting for sighting, _ in self.recent]
        self.totals = TrackTotals()
        self.recent.clear()
        for k, sighting in enumerate(seen[count:]):
            self.extend(sighting if k else replace(sighting, step_seconds=0.0))
        return seen[:count]

    def forget(self) -> None:
        """Let go of looks that are too old to be compared with."""
        while self.recent[0][0].seconds < self.last.seconds - HISTORY_SECONDS - _ANY_SECONDS:
            self.recent.popleft()

    def meet(self, number: int, *, times: int) -> None:
        """Count looks with another track; a negative number takes them back."""
        self._met[number] += times


@dataclass(frozen=True, slots=True)
class Correction:
    """A face of an earlier look that is not of the track it was taken for.

    Attributes
    ----------
    index : int
        Number of the look.
    old, new : int
        Numbers of the tracks.
    """

    index: int
    old: int
    new: int
