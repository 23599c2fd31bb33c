"""The manifest as a data set: any clips that a table names."""

from __future__ import annotations

from pathlib import Path

from emoclip_clinical.core.clips import parse_manifest
from emoclip_clinical.core.datasets.clip_set import Reading
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.records import InputError

ANNOTATIONS = "clips.csv"


def read(source: ClipSource, root: Path, fold: int | None) -> Reading:
    """Read ``clips.csv``."""
    try:
        clips = parse_manifest(
            root / (source.annotations or ANNOTATIONS),
            encoding=source.encoding,
            folder_fps=source.folder_fps,
        )
    except InputError as error:
        return Reading(faults=list(error.faults))
    return Reading(clips=clips)
