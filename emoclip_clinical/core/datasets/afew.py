"""AFEW as folders: ``AFEW_Face/{train,validation}/<Emotion>/<clip>/``, or videos in their place."""

from __future__ import annotations

from pathlib import Path

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.datasets.clip_set import Reading
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.core.datasets.conventions import label_order
from emoclip_clinical.core.datasets.labels import named_label
from emoclip_clinical.core.datasets.media import find_videos, subfolders

MEDIA = "AFEW_Face"
SPLITS = {"train": "train", "validation": "test"}
"""AFEW's test labels were never published: its validation part is what the field tests on."""


def read(source: ClipSource, root: Path, fold: int | None) -> Reading:
    """Read the folders; the class folder is the label, ``validation`` is split ``test``."""
    media = root / (source.media or MEDIA)
    order = label_order(source.layout, source.label_order)
    reading = Reading()
    for name, split in SPLITS.items():
        if not (media / name).is_dir():
            reading.faults.append(f"no such folder: {media / name}")
        for folder in subfolders(media / name):
            where = f"{media.name}/{name}/{folder.name}"
            label, fault = named_label(folder.name, order=order, where=where)
            if label is None:
                reading.faults.append(fault)
                continue
            reading.clips += [
                Clip(clip, "", label, "", split, f"{where}/{clip.name}", source.folder_fps)
                for clip in (*subfolders(folder), *_videos_in(folder))
            ]
    return reading


def _videos_in(folder: Path) -> list[Path]:
    return [path for path in find_videos(folder) if path.parent == folder]
