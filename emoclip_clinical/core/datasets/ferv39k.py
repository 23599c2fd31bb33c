"""FERV39K's own splits over all scenes: ``Scene/Emotion/ID Emotion``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.datasets.clip_set import Reading
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.core.datasets.conventions import class_name, label_order
from emoclip_clinical.core.datasets.labels import named_label
from emoclip_clinical.core.datasets.media import first_existing
from emoclip_clinical.core.datasets.rows import Row, RowForm, read_rows
from emoclip_clinical.records import InputError
from emoclip_clinical.tables import limit_faults

ANNOTATIONS = "4_setups/All_scenes"
MEDIA = "2_ClipsforFaceCrop"
FORM = RowForm(separators=(" ",), widths=(2,), wanted="Scene/Emotion/ID Emotion")


def read(source: ClipSource, root: Path, fold: int | None) -> Reading:
    """Read ``4_setups/All_scenes/{train,test}_All.csv``."""
    reading = Reading()
    for split in ("train", "test"):
        path = root / (source.annotations or ANNOTATIONS) / f"{split}_All.csv"
        reading.add(_read_split(path, split, source, root))
    return reading


def _read_split(path: Path, split: str, source: ClipSource, root: Path) -> Reading:
    try:
        rows, faults = read_rows(path, FORM, encoding=source.encoding)
    except InputError as error:
        return Reading(faults=list(error.faults))
    order = label_order(source.layout, source.label_order)
    media = root / (source.media or MEDIA)
    clips: list[Clip] = []
    wrong: list[str] = []
    for row in rows:
        label, fault = named_label(row.cells[1], order=order, where=row.where)
        fault = fault or _path_fault(row)
        if fault or label is None:
            wrong.append(fault)
            continue
        place = media / row.cells[0]
        found = first_existing(
            [place, *(place.with_name(place.name + s) for s in (".mp4", ".avi"))]
        )
        clips.append(Clip(found, "", label, "", split, row.where, source.folder_fps))
    return Reading(clips=clips, faults=[*faults, *limit_faults(wrong)])


def _path_fault(row: Row) -> str:
    parts = PurePosixPath(row.cells[0]).parts
    if len(parts) != 3:
        return f"Scene/Emotion/ID is wanted, got {row.cells[0]!r} ({row.where})"
    if class_name(parts[1]) != class_name(row.cells[1]):
        return f"the label is {row.cells[1]!r} and the clip lies in {parts[1]!r} ({row.where})"
    return ""
