"""MAFW as its authors give it: `single_label.txt` and `multi_label.txt`, without splits."""

from __future__ import annotations

from pathlib import Path

from emoclip_clinical.core.datasets.clip_set import Reading
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.core.datasets.mafw_rows import read_mafw

FILES = {"single": "single_label.txt", "multiple": "multi_label.txt"}
MEDIA = "data/clips"


def read(source: ClipSource, root: Path, fold: int | None) -> Reading:
    """Read `<root>/single_label.txt` (or multi_label.txt) and its clips in `data/clips`."""
    return read_mafw(
        root / (source.annotations or FILES[source.kind]),
        source=source,
        media=root / (source.media or MEDIA),
        split=source.split or "",
    )
