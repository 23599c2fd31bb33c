"""The rows of MAFW's text files: clip, emotion, and captions in Chinese and English."""

from __future__ import annotations

import re
from pathlib import Path

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.datasets.clip_set import Reading
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.core.datasets.conventions import label_order
from emoclip_clinical.core.datasets.labels import named_label
from emoclip_clinical.core.datasets.media import first_existing
from emoclip_clinical.core.datasets.rows import Row, RowForm, read_rows
from emoclip_clinical.records import InputError
from emoclip_clinical.tables import limit_faults

NO_CAPTION = "-"
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


def _split(line: str, separator: str) -> list[str]:
    # In a peer's copies spaces part the cells, and the last one, the English caption, holds more.
    return line.split(separator) if separator == "\t" else line.strip().split(separator, 3)


FORM = RowForm(
    separators=("\t", " "),
    widths=(2, 4),
    wanted="clip, emotion[, Chinese caption, English caption]",
    split=_split,
)


def read_mafw(path: Path, *, source: ClipSource, media: Path, split: str) -> Reading:
    """Read one of MAFW's files.

    Parameters
    ----------
    path : Path
        Tab separated; a peer's copies are separated by spaces.
    source : ClipSource
        Its `kind`, `captions`, `label_order` and `encoding` hold.
    media : Path
        Folder with `<clip>.mp4` or a folder of frames `<clip>` for each clip.
    split : str
        Of the file's clips.

    Returns
    -------
    Reading
        Where captions are asked for, clips whose caption is `-` (MAFW's word for none) are left
        out and counted; an empty one is a fault.
    """
    try:
        rows, faults = read_rows(path, FORM, encoding=source.encoding)
    except InputError as error:
        return Reading(faults=list(error.faults))
    reading = Reading(faults=faults)
    order = label_order(source.layout, source.label_order)
    bad_labels: list[str] = []
    bad_captions: list[str] = []
    left_out = 0
    for row in rows:
        label, fault = named_label(row.cells[1], order=order, where=row.where, kind=source.kind)
        if fault:
            bad_labels.append(fault)
        caption, fault = _caption(row, with_captions=source.captions)
        if fault:
            bad_captions.append(fault)
        if source.captions and caption == NO_CAPTION:
            left_out += 1
        elif label is not None:
            caption = "" if caption == NO_CAPTION else caption
            reading.clips.append(_clip(row, caption, label, split, media, source))
    reading.faults += [*limit_faults(bad_labels), *limit_faults(bad_captions)]
    if left_out:
        reading.warnings.append(
            f"{left_out} clips of {path.name} have no caption ({NO_CAPTION!r}) and are left out"
        )
    return reading


def _caption(row: Row, *, with_captions: bool) -> tuple[str, str]:
    """Return the English caption and what is wrong with it."""
    if len(row.cells) == 2:
        wanted = f"a caption is wanted, the row has clip and emotion alone ({row.where})"
        return NO_CAPTION if not with_captions else "", wanted if with_captions else ""
    english = row.cells[3]
    if _CHINESE.match(english):
        return english, (
            f"an English caption is wanted in the last cell, got {english!r} ({row.where}); does "
            "the Chinese caption hold the separator?"
        )
    if with_captions and not english:
        return english, f"caption is empty ({row.where}); write {NO_CAPTION!r} where there is none"
    return english, ""


def _clip(row: Row, caption: str, label: str, split: str, media: Path, source: ClipSource) -> Clip:
    name = row.cells[0]
    stem = name.rsplit(".", 1)[0]
    return Clip(
        path=first_existing([media / name, media / stem, media / f"{stem}.mp4"]),
        caption=caption,
        label=label,
        group="",
        split=split,
        where=row.where,
        folder_fps=source.folder_fps,
    )
