"""The manifest of captioned clips that a model is trained and judged on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emoclip_clinical.records import InputError
from emoclip_clinical.tables import Table, limit_faults, read_table

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Clip:
    """One short video and what is said of it.

    Attributes
    ----------
    path : Path
        The video.
    caption : str
        What is seen in it: usually a context sentence, then an expression sentence.
    label : str
        Name of its class; several joined by `_` for a compound; empty where there is none.
    group : str
        The person in it; empty where unknown.
    split : str
        `train`, `validation`, `test`, or empty (then it is trained on).
    where : str
        Its row in the manifest, for messages.
    """

    path: Path
    caption: str
    label: str
    group: str
    split: str
    where: str


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
        Listing every row with an empty caption, a file that does not exist, an unknown split, a
        clip that stands twice, and every person who stands in more than one split.
    """
    columns = ("path", "caption", "label", "group", "split")
    table = read_table(manifest, required=("path", "caption"), text=columns)
    known = {c: _text(table, c) for c in columns}
    clips = [
        Clip(
            path=manifest.parent / known["path"][i],
            caption=known["caption"][i],
            label=known["label"][i],
            group=known["group"][i],
            split=known["split"][i].lower(),
            where=f"row {table.rows[i]} of {table.name}",
        )
        for i in range(len(table.frame))
    ]
    if faults := _row_faults(clips) + _group_faults(clips):
        raise InputError(faults)
    return clips


def _text(table: Table, column: str) -> list[str]:
    if column not in table.frame.columns:
        return [""] * len(table.frame)
    return ["" if pd.isna(v) else str(v) for v in table.frame[column]]


def _row_faults(clips: list[Clip]) -> list[str]:
    missing = [f"no such clip: {c.path} ({c.where})" for c in clips if not c.path.is_file()]
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
    return [*limit_faults(missing), *limit_faults(splits), *limit_faults(twice)]


def _group_faults(clips: list[Clip]) -> list[str]:
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
