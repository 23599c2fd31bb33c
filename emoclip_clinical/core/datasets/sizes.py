"""Sizes that data sets are known to have: a different one is worth a warning, not a refusal."""

from __future__ import annotations

from collections.abc import Mapping

from emoclip_clinical.core.datasets.config import ClipSource

KNOWN: Mapping[tuple[str, int | None], Mapping[str, int]] = {
    ("mafw_folds", 1): {"test": 1839},
    ("dfew", 1): {"test": 2341},
    ("ferv39k", None): {"test": 7847},
}
"""Clips of a split, by layout and fold, counted in the published lists."""
ABOUT: Mapping[str, Mapping[str, int]] = {"afew": {"test": 380}}
"""Sizes that copies of a data set differ in by a few clips: how many of them had a face found."""
TOLERANCE = 0.05


def size_warnings(
    source: ClipSource, fold: int | None, histogram: Mapping[str, Mapping[str, int]]
) -> list[str]:
    """Compare the sizes of the splits with what was expected.

    Parameters
    ----------
    source : ClipSource
        Its `expected_clips` come before what is known of the layout.
    fold : int or None
        The fold that was loaded.
    histogram : mapping
        Clips by split and label.

    Returns
    -------
    list of str
        One sentence for each split of another size.
    """
    # The published count is of all single-expression clips, captioned or not.
    whole = source.kind == "single" and not source.captions
    known = dict(KNOWN.get((source.layout, fold), {}) if whole else {})
    wanted = {**known, **{str(split): n for split, n in source.expected_clips.items()}}
    found = {split: sum(labels.values()) for split, labels in histogram.items()}
    warnings = [
        f"{split} has {found.get(split, 0):,} clips, {n:,} expected"
        for split, n in wanted.items()
        if found.get(split, 0) != n
    ]
    warnings += [
        f"{split} has {found.get(split, 0):,} clips, about {n:,} expected"
        for split, n in ABOUT.get(source.layout, {}).items()
        if split not in wanted and abs(found.get(split, 0) - n) > TOLERANCE * n
    ]
    return warnings
