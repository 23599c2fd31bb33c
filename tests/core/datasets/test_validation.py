"""The validation split: people stay together, labels keep their shares, test stays apart."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.datasets import cut_validation
from emoclip_clinical.records import InputError


def _clips(labels: list[str], groups: list[str], splits: list[str]) -> list[Clip]:
    return [
        Clip(Path(f"{i}.mp4"), "", label, group, split, f"row {i}")
        for i, (label, group, split) in enumerate(zip(labels, groups, splits, strict=True))
    ]


@pytest.fixture
def clips() -> list[Clip]:
    rng = np.random.default_rng(0)
    labels = rng.choice(["anger", "fear", "joy"], size=600, p=[0.6, 0.3, 0.1]).tolist()
    groups = [f"p{i}" for i in rng.integers(60, size=600)]
    splits = ["test" if int(g[1:]) < 10 else "train" for g in groups]
    return _clips(labels, groups, splits)


def test_people_stay_together_and_test_is_untouched(clips: list[Clip]) -> None:
    cut = cut_validation(clips, fraction=0.2, seed=1)
    assert [c.path for c in cut] == [c.path for c in clips]
    assert [c.split == "test" for c in cut] == [c.split == "test" for c in clips]
    people = {s: {c.group for c in cut if c.split == s} for s in ("train", "validation", "test")}
    assert all(people.values())
    assert not any(people[a] & people[b] for a, b in combinations(people, 2))


def test_labels_keep_their_shares(clips: list[Clip]) -> None:
    for seed in range(5):
        cut = cut_validation(clips, fraction=0.2, seed=seed)
        held = Counter(c.label for c in cut if c.split == "validation")
        whole = Counter(c.label for c in clips if c.split == "train")
        for label, n in whole.items():
            assert abs(held[label] - 0.2 * n) <= max(3, 0.05 * n)


def test_without_people_the_shares_are_exact() -> None:
    clips = _clips(["a"] * 70 + ["b"] * 30, [""] * 100, [""] * 100)
    cut = cut_validation(clips, fraction=0.1, seed=4)
    assert Counter((c.split, c.label) for c in cut) == {
        ("", "a"): 63, ("", "b"): 27, ("validation", "a"): 7, ("validation", "b"): 3,
    }  # fmt: skip


def test_the_seed_decides(clips: list[Clip]) -> None:
    first, again, other = (cut_validation(clips, fraction=0.2, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_few_people_still_give_one(clips: list[Clip]) -> None:
    two = _clips(["a", "b", "a"], ["p", "p", "q"], ["train"] * 3)
    cut = cut_validation(two, fraction=0.05, seed=0)
    assert [c.split for c in cut] == ["train", "train", "validation"]
    with pytest.raises(InputError, match="at least two people"):
        cut_validation(two[:2], fraction=0.05, seed=0)


def test_nothing_is_cut_where_nothing_is_to_cut(clips: list[Clip]) -> None:
    assert cut_validation(clips, fraction=0, seed=0) == clips
    own = _clips(["a", "b", "a"], ["p", "q", "r"], ["train", "validation", "train"])
    assert cut_validation(own, fraction=0.5, seed=0) == own
    with pytest.raises(InputError, match=r"at least 0 and below 1, got 1.0"):
        cut_validation(clips, fraction=1.0, seed=0)
