"""Loading a data set in any of the layouts, and the checks that all of them share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emoclip_clinical.core.clips import (
    SPLITS,
    Clip,
    clip_faults,
    missing_faults,
    missing_text,
)
from emoclip_clinical.core.datasets import (
    afew,
    crema_d,
    dfew,
    ferv39k,
    mafw_folds,
    mafw_official,
    manifest,
    peer_list,
    ravdess,
)
from emoclip_clinical.core.datasets.clip_set import ClipSet, Reading
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.core.datasets.conventions import label_order
from emoclip_clinical.core.datasets.labels import label_parts
from emoclip_clinical.core.datasets.sizes import size_warnings
from emoclip_clinical.records import InputError
from emoclip_clinical.tables import limit_faults


@dataclass(frozen=True)
class LayoutReader:
    """How one layout is read.

    Attributes
    ----------
    read : callable
        From (source, root, fold) to a `Reading`; faults are in it, not raised.
    folds : callable or None
        From (source, root) to the folds that are there; None for a layout without folds.
    """

    read: Callable[[ClipSource, Path, int | None], Reading]
    folds: Callable[[ClipSource, Path], tuple[int, ...]] | None = None


LAYOUTS: Mapping[str, LayoutReader] = {
    "manifest": LayoutReader(manifest.read),
    "mafw_official": LayoutReader(mafw_official.read),
    "mafw_folds": LayoutReader(mafw_folds.read, mafw_folds.folds),
    "dfew": LayoutReader(dfew.read, dfew.folds),
    "ferv39k": LayoutReader(ferv39k.read),
    "afew": LayoutReader(afew.read),
    "list": LayoutReader(peer_list.read, peer_list.folds),
    "crema_d": LayoutReader(crema_d.read),
    "ravdess": LayoutReader(ravdess.read),
}
"""Every layout by its name."""


def available_folds(source: ClipSource, *, folder: Path) -> tuple[int, ...]:
    """Return the folds of a data set that are on the disk, from 1; none where it has no folds.

    Parameters
    ----------
    source : ClipSource
        The data set.
    folder : Path
        What its `root` is relative to.
    """
    reader = LAYOUTS[source.layout]
    return reader.folds(source, folder / source.root) if reader.folds else ()


def load_clips(source: ClipSource, *, folder: Path, fold: int | None = None) -> ClipSet:
    """Load the clips of a data set, or of one of its folds.

    Parameters
    ----------
    source : ClipSource
        What to load.
    folder : Path
        What its `root` is relative to: the study's folder.
    fold : int, optional
        Instead of the source's own; from 1.

    Returns
    -------
    ClipSet

    Raises
    ------
    InputError
        Listing every fault of all its files: rows of another form or encoding, labels that are
        no class or that the clip's folder contradicts, empty captions, missing media, clips and
        people that stand where they may not, a fold that is not there.
    """
    root = folder / source.root
    if not root.is_dir():
        raise InputError(f"no such data set folder: {root}")
    fold = source.fold if fold is None else fold
    folds = available_folds(source, folder=folder)
    _check_fold(source, fold, folds)
    reading = LAYOUTS[source.layout].read(source, root, fold)
    clips = reading.clips
    order = label_order(source.layout, source.label_order)
    faults = [*reading.faults, *_label_faults(clips, order), *clip_faults(clips)]
    if source.missing_media == "refuse":
        faults += missing_faults(clips)
    else:
        clips = _leave_out_missing(reading)
    if not clips and not faults:
        faults.append(f"layout {source.layout} found no clip in {root}")
    if faults:
        raise InputError(faults)
    classes = order or _distinct_classes(clips)
    histogram = count_labels(clips, classes)
    return ClipSet(
        clips=tuple(clips),
        classes=classes,
        histogram=histogram,
        folds=folds,
        fold=fold,
        warnings=(
            *reading.warnings,
            *size_warnings(source, fold, histogram),
            *_absence_warnings(clips, classes),
        ),
    )


def count_labels(
    clips: Sequence[Clip], classes: tuple[str, ...]
) -> Mapping[str, Mapping[str, int]]:
    """Count the clips of each label in each split: classes in their order, then compounds."""
    splits = [s for s in ("", *SPLITS) if any(c.split == s for c in clips)]
    histogram = {}
    for split in splits:
        counts = Counter(c.label for c in clips if c.split == split)
        rest = sorted(set(counts) - set(classes))
        histogram[split] = {label: counts[label] for label in (*classes, *rest) if counts[label]}
    return histogram


def _check_fold(source: ClipSource, fold: int | None, folds: tuple[int, ...]) -> None:
    shown = ", ".join(map(str, folds)) or "none"
    has_folds = LAYOUTS[source.layout].folds is not None and (
        source.layout != "list" or "{fold}" in (source.annotations or "")
    )
    if not has_folds and fold is not None:
        raise InputError(f"layout {source.layout} has no folds here, got fold {fold}")
    if has_folds and fold is None:
        raise InputError(f"layout {source.layout} needs a fold; there are: {shown}")
    if has_folds and fold not in folds:
        raise InputError(
            f"fold {fold} of layout {source.layout} is not in {source.root}; there are: {shown}"
        )


def _label_faults(clips: Sequence[Clip], order: tuple[str, ...]) -> list[str]:
    return limit_faults(
        [
            f"label must be one of {', '.join(order)}, got {c.label!r} ({c.where})"
            for c in clips
            if order and c.label and not set(label_parts(c.label, order)) <= set(order)
        ]
    )


def _leave_out_missing(reading: Reading) -> list[Clip]:
    kept = [c for c in reading.clips if not missing_text(c.path)]
    if lost := len(reading.clips) - len(kept):
        reading.warnings.append(f"{lost} of {len(reading.clips)} clips left out: no media of them")
    return kept


def _distinct_classes(clips: Sequence[Clip]) -> tuple[str, ...]:
    return tuple(sorted({p for c in clips if c.label for p in label_parts(c.label, ())}))


def _absence_warnings(clips: Sequence[Clip], classes: tuple[str, ...]) -> list[str]:
    found = {part for c in clips for part in label_parts(c.label, classes)}
    absent = [c for c in classes if c not in found]
    return [f"no clip of class {', '.join(absent)}: is label_order right?"] if absent else []
