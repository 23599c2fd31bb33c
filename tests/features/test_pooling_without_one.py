"""Pooling without each segment equals pooling again without it, whatever the statistic."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from emoclip_clinical.features.pooling import ScoredSegments, pool_segments
from emoclip_clinical.features.pooling_config import PoolingStatistic, PoolingWeights
from emoclip_clinical.features.pooling_without_one import pool_without_each
from emoclip_clinical.features.scores import PromptVectors, score_columns

NOTHING = np.zeros((0, 0), dtype=np.float32)
SETS = (
    PromptVectors("basic", ("happy", "sad", "calm"), NOTHING),
    PromptVectors("single", ("smile",), NOTHING),
)
ALL = get_args(PoolingStatistic)


def interview(n: int, *, seed: int, ties: bool = False) -> ScoredSegments:
    rng = np.random.default_rng(seed)
    scores = {name: rng.random(n).astype(np.float32) for name in score_columns(SETS)}
    shares = np.stack([scores[c] for c in SETS[0].emotion_columns])
    for column, row in zip(SETS[0].emotion_columns, shares / shares.sum(axis=0), strict=True):
        scores[column] = np.round(row, 1) if ties else row
    embeddings = rng.normal(size=(n, 4)).astype(np.float32)
    movements = np.where(rng.random(n) < 0.3, np.nan, rng.random(n))
    index = np.sort(rng.choice(2 * n, size=n, replace=False))
    return ScoredSegments(
        scores=scores,
        embeddings=embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True),
        movements=movements,
        index=index,
        middle_seconds=2.0 * index + 1,
        face_seconds=np.where(rng.random(n) < 0.15, 0.0, rng.random(n)),
    )


def without(segments: ScoredSegments, gone: int) -> ScoredSegments:
    rest = np.arange(len(segments.index)) != gone
    return replace(
        segments,
        scores={name: values[rest] for name, values in segments.scores.items()},
        **{
            name: getattr(segments, name)[rest]
            for name in ("embeddings", "movements", "index", "middle_seconds", "face_seconds")
        },
    )


@pytest.mark.parametrize("weights", get_args(PoolingWeights))
@pytest.mark.parametrize(
    ("n", "seed"), [(25, 0), (12, 1), (6, 2), (4, 3), (3, 4), (2, 5), (1, 6), (0, 7)]
)
@pytest.mark.parametrize("ties", [False, True])
def test_it_equals_pooling_again(weights: PoolingWeights, n: int, seed: int, ties: bool) -> None:
    segments = interview(n, seed=seed, ties=ties)
    made = pool_without_each(segments, prompt_vectors=SETS, pooling=ALL, weights=weights)
    names = pool_segments(segments, prompt_vectors=SETS, pooling=ALL, weights=weights)
    assert made.shape == (n, len(names))
    for gone in range(n):
        rest = without(segments, gone)
        pooled = pool_segments(rest, prompt_vectors=SETS, pooling=ALL, weights=weights)
        slow = np.array([np.nan if v is None else v for v in pooled.values()])
        # The root of a variance that rounding keeps from 0.
        np.testing.assert_allclose(made[gone], slow, rtol=1e-9, atol=1e-7, err_msg=str(gone))


def test_the_default_has_its_columns_only() -> None:
    segments = interview(8, seed=7)
    made = pool_without_each(segments, prompt_vectors=SETS)
    slow = pool_segments(without(segments, 3), prompt_vectors=SETS)
    np.testing.assert_allclose(made[3], list(slow.values()), rtol=1e-9)
