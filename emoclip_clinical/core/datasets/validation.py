"""A validation split, cut from the training clips where a data set brings none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.records import InputError


def cut_validation(clips: Sequence[Clip], *, fraction: float, seed: int) -> list[Clip]:
    """Give a part of the training clips the split `validation`.

    People stay together, and labels keep their shares as well as that allows: groups are drawn
    in random order, and one is taken whenever it brings the counts of the labels nearer (in
    squared distance over the label's total) to `fraction` of their totals.

    Parameters
    ----------
    clips : sequence of Clip
        Those of split `train` or without a split are drawn from; `test` is never touched. A clip
        without a `group` stands for itself.
    fraction : float
        Share of the training clips, in [0, 1); 0 cuts nothing.
    seed : int
        Of the order of the groups.

    Returns
    -------
    list of Clip
        All clips in their order. They come back as they are where some are of split `validation`
        already: a data set's own cut is kept.

    Raises
    ------
    InputError
        If `fraction` is out of range, or all training clips are of one person.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"the validation fraction must be at least 0 and below 1, got {fraction}")
    if fraction == 0 or any(c.split == "validation" for c in clips):
        return list(clips)
    training = [i for i, c in enumerate(clips) if c.split in ("", "train")]
    groups = _groups(clips, training)
    if len(groups) < 2:
        raise InputError(
            "a validation split needs training clips of at least two people (or without `group`), "
            f"got {len(groups)}"
        )
    taken = {i for k in _draw(clips, groups, fraction, seed) for i in groups[k]}
    return [replace(c, split="validation") if i in taken else c for i, c in enumerate(clips)]


def _groups(clips: Sequence[Clip], training: Sequence[int]) -> list[list[int]]:
    members: dict[tuple[str, int], list[int]] = {}
    for i in training:
        group = clips[i].group
        members.setdefault((group, -1) if group else ("", i), []).append(i)
    return list(members.values())


def _draw(
    clips: Sequence[Clip], groups: Sequence[Sequence[int]], fraction: float, seed: int
) -> list[int]:
    """Return the positions of the groups that are taken: at least one, never all."""
    counts = _label_counts(clips, groups)
    totals = counts.sum(axis=0)
    target = fraction * totals

    def distance(held: np.ndarray) -> float:
        return float(np.sum((held - target) ** 2 / totals))

    held = np.zeros_like(target)
    taken: list[int] = []
    order = np.random.default_rng(seed).permutation(len(groups))
    for k in order:
        if len(taken) < len(groups) - 1 and distance(held + counts[k]) < distance(held):
            held += counts[k]
            taken.append(int(k))
    if not taken:
        taken.append(min(map(int, order), key=lambda k: distance(counts[k])))
    return taken


def _label_counts(clips: Sequence[Clip], groups: Sequence[Sequence[int]]) -> np.ndarray:
    labels = sorted({clips[i].label for group in groups for i in group})
    column = {label: j for j, label in enumerate(labels)}
    counts = np.zeros((len(groups), len(labels)))
    for k, group in enumerate(groups):
        for i in group:
            counts[k, column[clips[i].label]] += 1
    return counts
