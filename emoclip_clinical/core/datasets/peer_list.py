"""The peers' list files: ``<clip folder> <n_frames> <label>``, labels from 0.

DFER-CLIP, Exp-CLIP and EmoCLIP share this form. The paths are of somebody else's machine.
"""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from emoclip_clinical.core.clips import SPLITS, Clip, frame_files
from emoclip_clinical.core.datasets.clip_set import Reading
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.core.datasets.conventions import class_name, known_labels, label_order
from emoclip_clinical.core.datasets.labels import numbered_labels
from emoclip_clinical.core.datasets.media import numbers_in
from emoclip_clinical.core.datasets.rows import Row, RowForm, read_rows
from emoclip_clinical.records import InputError
from emoclip_clinical.tables import limit_faults

FIRST_LABEL = 0
TRIED_ROWS = 50
"""Rows on which it is tried out how much of the foreign paths is the user's own."""


def _from_the_right(line: str, separator: str) -> list[str]:
    # A foreign path may hold spaces.
    return line.strip().rsplit(separator, 2)


FORM = RowForm(
    separators=("\t", " "),
    widths=(3,),
    wanted="clip folder, number of frames, label",
    split=_from_the_right,
    never_in_first="",
)


def folds(source: ClipSource, root: Path) -> tuple[int, ...]:
    """Return the numbers that stand for ``{fold}`` in names of files that are there."""
    pattern = source.annotations or ""
    if "{fold}" not in pattern:
        return ()
    whole = (root / pattern).as_posix()
    any_file = glob.escape(whole).replace("{fold}", "*").replace("{split}", "*")
    numbered = re.escape(whole).replace(r"\{fold\}", r"(\d+)").replace(r"\{split\}", r"[^/]+")
    return numbers_in(map(Path, glob.glob(any_file)), numbered)


def read(source: ClipSource, root: Path, fold: int | None) -> Reading:
    """Read the list, or the list of each split where its name holds ``{split}``."""
    pattern = source.annotations or ""
    if "{split}" not in pattern:
        path = root / pattern.replace("{fold}", str(fold))
        return _read_file(path, source.split or "", source, root)
    reading = Reading()
    for split in SPLITS:
        path = root / pattern.replace("{fold}", str(fold)).replace("{split}", split)
        if path.is_file() or split != "validation":
            reading.add(_read_file(path, split, source, root))
    return reading


def _read_file(path: Path, split: str, source: ClipSource, root: Path) -> Reading:
    try:
        rows, faults = read_rows(path, FORM, encoding=source.encoding)
    except InputError as error:
        return Reading(faults=list(error.faults))
    order = label_order(source.layout, source.label_order)
    labels, label_faults = numbered_labels(
        [(row.cells[2], row.where) for row in rows], order=order, first=FIRST_LABEL, file=path.name
    )
    faults += label_faults
    faults += limit_faults(
        [
            text
            for row, label in zip(rows, labels, strict=True)
            if (text := _row_fault(row, label, order))
        ]
    )
    media = root / (source.media or ".")
    depth = _depth([row.cells[0] for row in rows], media)
    clips = [
        Clip(_below(media, row.cells[0], depth), "", label, "", split, row.where, source.folder_fps)
        for row, label in zip(rows, labels, strict=True)
        if label is not None
    ]
    return Reading(clips=clips, faults=faults, warnings=_count_warnings(rows, media, depth, path))


def _row_fault(row: Row, label: str | None, order: tuple[str, ...]) -> str:
    """Check the number of frames, and the label against a class folder in the path."""
    if not row.cells[1].isdecimal():
        return f"the number of frames must be an integer, got {row.cells[1]!r} ({row.where})"
    known = known_labels(order)
    folder = PurePosixPath(row.cells[0]).parent.name
    of_folder = known.get(class_name(folder))
    if label is not None and of_folder is not None and of_folder != label:
        return (
            f"label {row.cells[2]} is {label!r} in the order of label_order, and the clip lies in "
            f"{folder!r} ({row.where})"
        )
    return ""


def _depth(names: Sequence[str], media: Path) -> int:
    """Return how many of the paths' last parts lie below `media`: one answer for all rows.

    One depth for all, since a row whose folder is missing must be found missing, and not be
    given some other folder of the same name.
    """
    step = max(1, len(names) // TRIED_ROWS)
    votes = Counter(
        depth
        for name in names[::step]
        for depth in range(1, len(PurePosixPath(name).parts) + 1)
        if _below(media, name, depth).exists()
    )
    return max(votes, key=lambda depth: (votes[depth], depth), default=1)


def _below(media: Path, name: str, depth: int) -> Path:
    parts = [p for p in PurePosixPath(name).parts if p != "/"]
    return media.joinpath(*parts[-depth:])


def _count_warnings(rows: Sequence[Row], media: Path, depth: int, path: Path) -> list[str]:
    other = 0
    for row in rows:
        folder = _below(media, row.cells[0], depth)
        if folder.is_dir() and str(len(frame_files(folder))) != row.cells[1]:
            other += 1
    if not other:
        return []
    return [f"{other} folders hold another number of frames than {path.name} says"]
