"""MAFW's five folds in the layout of the EmoCLIP loader.

``Train_Test_Set/{single,compound}/{with_caption_new,no_caption_new}/set_<k>/{train,test}.txt``,
frames in ``data/faces/<clip>/``.
"""

from __future__ import annotations

from pathlib import Path

from emoclip_clinical.core.datasets.clip_set import Reading
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.core.datasets.mafw_rows import read_mafw
from emoclip_clinical.core.datasets.media import numbers_in, subfolders

ANNOTATIONS = "Train_Test_Set"
MEDIA = "data/faces"
KINDS = {"single": "single", "multiple": "compound"}


def folds(source: ClipSource, root: Path) -> tuple[int, ...]:
    """Return the numbers of the ``set_<k>`` folders."""
    return numbers_in(subfolders(_sets(source, root)), r".*/set_(\d+)")


def read(source: ClipSource, root: Path, fold: int | None) -> Reading:
    """Read the train and test rows of a fold."""
    reading = Reading()
    for split in ("train", "test"):
        reading.add(
            read_mafw(
                _sets(source, root) / f"set_{fold}" / f"{split}.txt",
                source=source,
                media=root / (source.media or MEDIA),
                split=split,
            )
        )
    return reading


def _sets(source: ClipSource, root: Path) -> Path:
    captions = "with_caption_new" if source.captions else "no_caption_new"
    return root / (source.annotations or ANNOTATIONS) / KINDS[source.kind] / captions
