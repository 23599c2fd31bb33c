"""CREMA-D by file name: ``1001_DFA_ANG_XX.flv`` is actor, sentence, emotion, level."""

from __future__ import annotations

import re
from pathlib import Path

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.datasets.clip_set import Reading
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.core.datasets.media import find_videos
from emoclip_clinical.tables import limit_faults

EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX|X)")


def read(source: ClipSource, root: Path, fold: int | None) -> Reading:
    """Read every video below the media folder; the person is ``crema_d-<actor>``."""
    folder = root / (source.media or ".")
    reading = Reading()
    wrong: list[str] = []
    for path in find_videos(folder):
        found = _NAME.fullmatch(path.stem)
        if not found or found.group(3) not in EMOTIONS:
            wrong.append(
                "a name like 1001_DFA_ANG_XX (actor, sentence, emotion of "
                f"{', '.join(EMOTIONS)}, level) is wanted, got {path.name!r}"
            )
            continue
        label, group = EMOTIONS[found.group(3)], f"crema_d-{found.group(1)}"
        reading.clips.append(Clip(path, "", label, group, source.split or "", path.name))
    if not reading.clips and not wrong:
        wrong.append(f"no video in {folder}")
    reading.faults += limit_faults(wrong)
    return reading
