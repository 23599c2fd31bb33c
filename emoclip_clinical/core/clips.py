"""Short clips and what is said of them, and the manifest that names them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emoclip_clinical.records import InputError
from emoclip_clinical.tables import Table, limit_faults, read_table

SPLITS = ("train", "validation", "test")
PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
FOLDER_FPS = 25.0
"""Pictures a second of a folder of frames that says nothing of its own."""


@dataclass(frozen=True)
class Clip:
    """One short video and what is said of it.

    Attributes
    ----------
    path : Path
        A video, a GIF, or a folder of frames.
    caption : str
        What is seen in it: usually a context sentence, then an expression sentence; empty in
        data sets without captions.
    label : str
        Name of its class; several joined by `_` for a compound; empty where there is none.
    group : str
        The person in it; empty where unknown.
    split : str
        `train`, `validation`, `test`, or empty (then it is trained on).
    where : str
        Its row in the file that names it, for messages.
    folder_fps : float
        Pictures a second, where `path` is a folder of frames; videos and GIFs have clocks of
        their own.
    """

    path: Path
    caption: str
    label: str
    group: str
    split: str
    where: str
    folder_fps: float = FOLDER_FPS


def read_clips(manifest: Path) -> list[Clip]:
    """Read a manifest: `path, caption[, label][, group][, split]`, paths relative to its folder.

    Parameters
    ----------
    manifest : Path
        CSV, TSV or Parquet.

    Returns
    -------
    list of Clip
        In the manifest's order.

    Raises
    ------
    InputError
        Listing every row with an empty caption, a file or folder of frames that does not exist,
        an unknown split, a clip that stands twice, and every person who stands in more than one
        split.
    """
    clips = parse_manifest(manifest)
    if faults := missing_faults(clips) + clip_faults(clips):
        raise InputError(faults)
    return clips


def parse_manifest(
    manifest: Path, *, encoding: str | None = None, folder_fps: float = FOLDER_FPS
) -> list[Clip]:
    """Read a manifest without looking at the clips it names.

    Raises
    ------
    InputError
        For a table that can not be read, and for empty paths and captions.
    """
    columns = ("path", "caption", "label", "group", "split")
    table = read_table(manifest, required=("path", "caption"), text=columns, encoding=encoding)
    known = {c: _text(table, c) for c in columns}
    return [
        Clip(
            path=manifest.parent / known["path"][i],
            caption=known["caption"][i],
            label=known["label"][i],
            group=known["group"][i],
            split=known["split"][i].lower(),
            where=table.place(i),
            folder_fps=folder_fps,
        )
        for i in range(len(table.frame))
    ]


def clip_faults(clips: Sequence[Clip]) -> list[str]:
    """Return what is wrong with a set of clips as a whole, whatever it was read from.

    Unknown splits, clips that stand twice, and people who stand in more than one split.
    """
    splits = [
        f"split must be one of {', '.join(SPLITS)} or empty, got {c.split!r} ({c.where})"
        for c in clips
        if c.split not in ("", *SPLITS)
    ]
    seen: dict[Path, str] = {}
    twice = []
    for clip in clips:
        if clip.path in seen:
            twice.append(f"{clip.path} stands twice ({seen[clip.path]} and {clip.where})")
        seen.setdefault(clip.path, clip.where)
    return [*limit_faults(splits), *limit_faults(twice), *_group_faults(clips)]


def missing_faults(clips: Sequence[Clip]) -> list[str]:
    """Return a message for every clip of which there is no file and no folder with pictures."""
    return limit_faults(
        [f"{text} ({clip.where})" for clip in clips if (text := missing_text(clip.path))]
    )


def missing_text(path: Path) -> str:
    """Say what is missing of a clip's media; empty where it is there."""
    if path.is_file():
        return ""
    if not path.is_dir():
        return f"no such clip or folder of frames: {path}"
    if any(_is_picture(p) for p in path.iterdir()):
        return ""
    return f"the folder of frames holds no picture: {path}"


def frame_files(folder: Path) -> list[Path]:
    """Return the pictures of a folder of frames in their order: numbers count as numbers.

    `frame2.png` comes before `frame10.png`, whether or not the numbers are padded with zeros.
    """
    return sorted((p for p in folder.iterdir() if _is_picture(p)), key=_natural)


def _is_picture(path: Path) -> bool:
    # macOS leaves `._name.png` beside name.png on foreign discs; those are no pictures.
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.findall(r"\d+|\D+", path.stem)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts], path.name


def _text(table: Table, column: str) -> list[str]:
    if column not in table.frame.columns:
        return [""] * len(table.frame)
    return ["" if pd.isna(v) else str(v) for v in table.frame[column]]


def _group_faults(clips: Sequence[Clip]) -> list[str]:
    splits: dict[str, set[str]] = {}
    for clip in clips:
        if clip.group:
            splits.setdefault(clip.group, set()).add(clip.split or "train")
    return limit_faults(
        [
            f"group {group!r} stands in splits {', '.join(sorted(found))}; a person belongs to one"
            for group, found in sorted(splits.items())
            if len(found) > 1
        ]
    )
