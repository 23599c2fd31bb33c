"""What loading a data set gives: clips, classes, and what the user should know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emoclip_clinical.core.clips import Clip


@dataclass(frozen=True)
class ClipSet:
    """The clips of a data set, or of one fold of it.

    Attributes
    ----------
    clips : tuple of Clip
        In the order of the files that name them.
    classes : tuple of str
        Single classes in the order of their numbers; a compound label's parts are among them.
        Empty where no clip has a label.
    histogram : mapping of str to mapping of str to int
        Clips of each label in each split (`""` where the layout has no splits), labels in the
        order of the classes and compounds after them.
    folds : tuple of int
        Folds that the data set has, from 1; empty where it has none.
    fold : int or None
        The fold that these clips are of.
    warnings : tuple of str
        Other sizes than expected, clips left out, classes without a clip.
    """

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    histogram: Mapping[str, Mapping[str, int]]
    folds: tuple[int, ...] = ()
    fold: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass
class Reading:
    """What one layout's reader found, faults and all; nothing of it is trusted yet.

    Attributes
    ----------
    clips : list of Clip
        Rows that could be read.
    faults : list of str
        One message for every row that could not.
    warnings : list of str
        What the user should know.
    """

    clips: list[Clip] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, other: Reading) -> None:
        """Append what another reading found."""
        self.clips += other.clips
        self.faults += other.faults
        self.warnings += other.warnings
