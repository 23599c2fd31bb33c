"""RAVDESS by file name: ``01-01-03-02-01-01-12.mp4``, seven numbers, the third the emotion."""

from __future__ import annotations

import re
from pathlib import Path

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.datasets.clip_set import Reading
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.core.datasets.conventions import LABEL_ORDERS
from emoclip_clinical.core.datasets.media import find_videos
from emoclip_clinical.tables import limit_faults

_NAME = re.compile(r"(0[12])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)")


def read(source: ClipSource, root: Path, fold: int | None) -> Reading:
    """Read every video below the media folder; the person is ``ravdess-<actor>``.

    Modalities 01 (picture and sound) and 02 (picture alone) are the same recording: where both
    are there, 02 is left out with a warning.
    """
    folder = root / (source.media or ".")
    reading = Reading()
    wrong: list[str] = []
    taken: set[str] = set()
    twins = 0
    for path in sorted(find_videos(folder), key=lambda p: (p.stem, p)):
        found = _NAME.fullmatch(path.stem)
        fault = _fault(path, found)
        if fault or not found:
            wrong.append(fault)
            continue
        recording = path.stem[3:]
        if found.group(1) == "02" and f"01-{recording}" in taken:
            twins += 1
            continue
        taken.add(path.stem)
        label = LABEL_ORDERS["ravdess"][int(found.group(3)) - 1]
        group = f"ravdess-{found.group(7)}"
        reading.clips.append(Clip(path, "", label, group, source.split or "", path.name))
    if twins:
        reading.warnings.append(f"{twins} clips left out: the same recordings are there with sound")
    if not reading.clips and not wrong:
        wrong.append(f"no video in {folder}")
    reading.faults += limit_faults(wrong)
    return reading


def _fault(path: Path, found: re.Match[str] | None) -> str:
    if not found:
        return (
            "a name like 01-01-03-02-01-01-12 (modality, channel, emotion from 01 to 08, "
            f"intensity, statement, repetition, actor) is wanted, got {path.name!r}"
        )
    folder = re.fullmatch(r"Actor_(\d\d)", path.parent.name)
    if folder and folder.group(1) != found.group(7):
        return f"{path.name} is of actor {found.group(7)} and lies in {path.parent.name}"
    return ""
