"""The loss against a slow and obvious one, and against open_clip's own."""

from __future__ import annotations

import math

import open_clip
import pytest
import torch
from torch.nn.functional import normalize

from emoclip_clinical.core.loss import contrastive_loss


def _pair(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clips = normalize(torch.randn(n, 8, generator=generator, dtype=torch.float64), dim=-1)
    texts = normalize(torch.randn(n, 8, generator=generator, dtype=torch.float64), dim=-1)
    return clips, texts


def test_equals_open_clip_when_all_captions_differ() -> None:
    clips, texts = _pair(7)
    scale = torch.tensor(9.0, dtype=torch.float64)
    ours = contrastive_loss(clips, texts, scale, torch.eye(7, dtype=torch.bool))
    theirs = open_clip.ClipLoss()(clips, texts, scale)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)


def test_equals_a_loop_when_captions_repeat() -> None:
    captions = ["a", "b", "a", "c", "a", "b"]
    clips, texts = _pair(len(captions), seed=3)
    scale = 5.0

    def one_way(rows: torch.Tensor, columns: torch.Tensor) -> float:
        total = 0.0
        for i, mine in enumerate(captions):
            logits = [scale * float(rows[i] @ columns[j]) for j in range(len(captions))]
            log_sum = math.log(sum(math.exp(x) for x in logits))
            same = [j for j, other in enumerate(captions) if other == mine]
            total -= sum(logits[j] - log_sum for j in same) / len(same)
        return total / len(captions)

    same = torch.tensor([[a == b for b in captions] for a in captions])
    ours = contrastive_loss(clips, texts, torch.tensor(scale, dtype=torch.float64), same)
    expected = (one_way(clips, texts) + one_way(texts, clips)) / 2
    assert ours.item() == pytest.approx(expected, abs=1e-12)
