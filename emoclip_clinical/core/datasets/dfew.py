"""DFEW's own split tables: ``video_name,label``, labels from 1."""

from __future__ import annotations

from pathlib import Path

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.datasets.clip_set import Reading
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.core.datasets.conventions import label_order
from emoclip_clinical.core.datasets.labels import numbered_labels
from emoclip_clinical.core.datasets.media import first_existing, numbers_in
from emoclip_clinical.records import InputError
from emoclip_clinical.tables import read_table

ANNOTATIONS = "EmoLabel_DataSplit"
MEDIA = "DFEW_Frame_Face"
FIRST_LABEL = 1
NAME_DIGITS = 5


def folds(source: ClipSource, root: Path) -> tuple[int, ...]:
    """Return the numbers of the ``train*/set_<k>.csv`` and ``test*/set_<k>.csv`` files."""
    folder = root / (source.annotations or ANNOTATIONS)
    return numbers_in(folder.glob("t*/set_*.csv"), r".*/set_(\d+)\.csv")


def read(source: ClipSource, root: Path, fold: int | None) -> Reading:
    """Read ``EmoLabel_DataSplit/{train,test}*/set_<fold>.csv``."""
    folder = root / (source.annotations or ANNOTATIONS)
    reading = Reading()
    for split in ("train", "test"):
        found = sorted(folder.glob(f"{split}*/set_{fold}.csv"))
        if len(found) == 1:
            reading.add(_read_split(found[0], split, source, root))
        else:
            reading.faults.append(
                f"one file {split}*/set_{fold}.csv is wanted in {folder}, got {len(found)}"
            )
    return reading


def _read_split(path: Path, split: str, source: ClipSource, root: Path) -> Reading:
    columns = ("video_name", "label")
    try:
        table = read_table(path, required=columns, text=columns, encoding=source.encoding)
    except InputError as error:
        return Reading(faults=[f"{split}: {fault}" for fault in error.faults])
    places = [f"row {row} of {path.name} of {split}" for row in table.rows]
    labels, faults = numbered_labels(
        list(zip(table.frame["label"], places, strict=True)),
        order=label_order(source.layout, source.label_order),
        first=FIRST_LABEL,
        file=f"{path.name} of {split}",
    )
    media = root / (source.media or MEDIA)
    clips = [
        Clip(_media(media, name), "", label, "", split, place, source.folder_fps)
        for name, label, place in zip(table.frame["video_name"], labels, places, strict=True)
        if label is not None
    ]
    return Reading(clips=clips, faults=faults)


def _media(folder: Path, name: str) -> Path:
    # A spreadsheet turns 00001 into 1, and the data set's own tables have both.
    padded = name.zfill(NAME_DIGITS)
    return first_existing(
        [folder / padded, folder / name, folder / f"{padded}.mp4", folder / f"{name}.mp4"]
    )
