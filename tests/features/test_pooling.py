"""Pooled features against pandas, numpy and slow loops; what must not change them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from emoclip_clinical.features import pooling
from emoclip_clinical.features import pooling_statistics as statistics
from emoclip_clinical.features.pooling import ScoredSegments, pool_segments, pooled_names
from emoclip_clinical.features.pooling_config import PoolingStatistic
from emoclip_clinical.features.scores import PromptVectors, score_columns, score_embeddings
from emoclip_clinical.regression.importance import emotion_groups

ALL = get_args(PoolingStatistic)
WIDTH = 8
NUMBERS = st.floats(-1, 1, allow_nan=False, width=32)
SHARES = st.lists(st.tuples(NUMBERS, st.floats(0.1, 5)), min_size=2, max_size=30)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(8)
    return (
        PromptVectors("two", ("smile", "frown", "rest"), unit(rng.normal(size=(3, WIDTH)))),
        PromptVectors("two_compounds", ("smile_rest",), unit(rng.normal(size=(1, WIDTH)))),
    )


@pytest.fixture(scope="module")
def segments(vectors):
    """Nine segments of an interview of eleven: numbers 4 and 9 have no scores."""
    rng = np.random.default_rng(3)
    embeddings = unit(rng.normal(size=(9, WIDTH)))
    index = np.array([0, 1, 2, 3, 5, 6, 7, 8, 10])
    return ScoredSegments(
        scores=score_embeddings(embeddings, vectors, temperature=0.3),
        embeddings=embeddings,
        movements=np.array([0.5, np.nan, 0.25, 1.0, 0.75, 0.1, 0.3, 0.2, 0.9]),
        index=index,
        # The last segment is shorter, so its middle comes sooner.
        middle_seconds=index * 2.5 + np.where(index == 10, 1.5, 2.5),
        face_seconds=rng.uniform(2, 5, size=9),
    )


@pytest.fixture(scope="module")
def pooled(segments, vectors):
    return pool_segments(segments, prompt_vectors=vectors, pooling=ALL)


def test_the_default_is_levels_variability_and_liveliness(segments, vectors):
    pooled = pool_segments(segments, prompt_vectors=vectors)
    assert tuple(pooled) == pooled_names(vectors, embedding_width=WIDTH)
    columns = score_columns(vectors)
    assert [*pooled] == [
        *(f"mean_{c}" for c in columns),
        *(f"sd_{c}" for c in columns),
        *("sd_embedding", "mean_movement", "sd_movement", "entropy_two"),
    ]
    frame = pd.DataFrame(segments.scores).astype(float)
    for column in columns:
        assert pooled[f"mean_{column}"] == pytest.approx(frame[column].mean(), rel=1e-6)
        assert pooled[f"sd_{column}"] == pytest.approx(frame[column].std(), rel=1e-5)
    spread = np.sqrt(np.trace(np.cov(segments.embeddings.astype(float).T)))
    assert pooled["sd_embedding"] == pytest.approx(spread, rel=1e-6)
    movements = pd.Series(segments.movements)
    assert pooled["mean_movement"] == pytest.approx(movements.mean())
    assert pooled["sd_movement"] == pytest.approx(movements.std())
    levels = [frame[f"emotion_two__{n}"].mean() for n in ("smile", "frown", "rest")]
    assert pooled["entropy_two"] == pytest.approx(entropy(levels) / np.log(3), rel=1e-6)


def test_names_are_those_of_the_values_whatever_the_order(segments, vectors, pooled):
    assert tuple(pooled) == pooled_names(vectors, embedding_width=WIDTH, pooling=ALL)
    assert len(set(pooled)) == len(pooled)
    turned = pool_segments(segments, prompt_vectors=vectors, pooling=ALL[::-1])
    assert list(turned.items()) == list(pooled.items())
    for name in ALL:
        alone = pool_segments(segments, prompt_vectors=vectors, pooling=[name])
        assert alone
        assert alone.items() <= pooled.items()


def test_quantiles_equal_numpys(segments, vectors, pooled):
    for column in score_columns(vectors):
        values = segments.scores[column].astype(float)
        for name, share in (("q10", 0.1), ("q50", 0.5), ("q90", 0.9)):
            expected = np.quantile(values, share, method="hazen")
            assert pooled[f"{name}_{column}"] == pytest.approx(expected, rel=1e-12)


def test_shares_of_time_by_counting(segments, pooled):
    classes = ("smile", "frown", "rest")
    rows = [[float(segments.scores[f"emotion_two__{c}"][i]) for c in classes] for i in range(9)]
    for k, name in enumerate(classes):
        above = sum(row[k] > 1 / 3 for row in rows) / 9
        leads = sum(row[k] == max(row) for row in rows) / 9
        assert pooled[f"above_emotion_two__{name}"] == pytest.approx(above)
        assert pooled[f"dominant_emotion_two__{name}"] == pytest.approx(leads)
    # A set of one has no emotion that could lead, and a cosine has no chance level.
    assert not [c for c in pooled if c.startswith(("dominant", "above")) and "cosine" in c]


def test_change_by_a_loop_that_knows_the_gaps(segments, vectors, pooled):
    observed = [i for i in range(8) if segments.index[i + 1] - segments.index[i] == 1]
    assert len(observed) == 6
    apart = np.diff(segments.middle_seconds)
    for column in score_columns(vectors):
        values = segments.scores[column].astype(float)
        speeds = [abs(values[i + 1] - values[i]) / apart[i] for i in observed]
        assert pooled[f"change_{column}"] == pytest.approx(np.mean(speeds))
    embeddings = segments.embeddings.astype(float)
    ways = [math.dist(embeddings[i], embeddings[i + 1]) / apart[i] for i in observed]
    assert pooled["expressivity"] == pytest.approx(np.mean(ways))
    leaders = pd.DataFrame(
        {c: segments.scores[f"emotion_two__{c}"] for c in ("smile", "frown", "rest")}
    ).idxmax(axis=1)
    shifts = sum(leaders[i] != leaders[i + 1] for i in observed)
    assert shifts > 0
    minutes = sum(apart[i] for i in observed) / 60
    assert pooled["transitions_two"] == pytest.approx(shifts / minutes)


def test_embeddings_by_coordinate(segments, pooled):
    frame = pd.DataFrame(segments.embeddings.astype(float))
    for k in range(WIDTH):
        assert pooled[f"mean_embedding_{k:03d}"] == pytest.approx(frame[k].mean(), abs=1e-12)
        assert pooled[f"sd_embedding_{k:03d}"] == pytest.approx(frame[k].std(), rel=1e-9)


def test_too_few_segments_give_nulls_and_never_zeros(segments, vectors):
    def first(n):
        return replace(
            segments,
            scores={name: values[:n] for name, values in segments.scores.items()},
            **{
                name: getattr(segments, name)[:n]
                for name in ("embeddings", "movements", "index", "middle_seconds", "face_seconds")
            },
        )

    for weights in ("equal", "face_seconds"):
        none = pool_segments(first(0), prompt_vectors=vectors, pooling=ALL, weights=weights)
        assert set(none.values()) == {None}
        one = pool_segments(first(1), prompt_vectors=vectors, pooling=ALL, weights=weights)
        unknown = {name for name, value in one.items() if value is None}
        needs_two = ("sd_", "change_", "transitions_", "expressivity")
        assert unknown == {name for name in one if name.startswith(needs_two)}
    unseen = replace(segments, face_seconds=np.zeros(9))
    weighted = pool_segments(unseen, prompt_vectors=vectors, pooling=ALL, weights="face_seconds")
    assert {v for k, v in weighted.items() if not k.startswith("transitions")} == {None}


def test_whole_weights_count_like_repeated_segments(segments, vectors):
    counts = np.array([1, 3, 2, 1, 4, 1, 1, 2, 5])
    weighted = replace(segments, face_seconds=counts.astype(float))
    made = pool_segments(weighted, prompt_vectors=vectors, pooling=ALL, weights="face_seconds")
    frame = pd.DataFrame(segments.scores).astype(float)
    repeated = frame.loc[np.repeat(np.arange(9), counts)]
    for column in score_columns(vectors):
        assert made[f"mean_{column}"] == pytest.approx(repeated[column].mean())
    for name in ("smile", "frown", "rest"):
        share = (repeated[f"emotion_two__{name}"] > 1 / 3).mean()
        assert made[f"above_emotion_two__{name}"] == pytest.approx(share)
    values, total = frame["cosine_two__smile"], counts.sum()
    squares = sum(
        w * (x - made["mean_cosine_two__smile"]) ** 2 for w, x in zip(counts, values, strict=True)
    )
    expected = math.sqrt(squares / (total - sum(counts**2) / total))
    assert made["sd_cosine_two__smile"] == pytest.approx(expected)
    known = ~np.isnan(segments.movements)
    movement = np.average(segments.movements[known], weights=counts[known])
    assert made["mean_movement"] == pytest.approx(movement)


def test_equal_weights_change_nothing(segments, vectors, pooled):
    level = replace(segments, face_seconds=np.full(9, 2.5))
    made = pool_segments(level, prompt_vectors=vectors, pooling=ALL, weights="face_seconds")
    for name, value in made.items():
        assert value == pytest.approx(pooled[name], rel=1e-9, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(SHARES, st.floats(0.01, 100), st.randoms(use_true_random=False))
def test_statistics_without_order_ignore_order_and_the_unit_of_weights(pairs, unit_, shuffle):
    values = np.array([v for v, _ in pairs], dtype=np.float32)
    weights = np.array([w for _, w in pairs])
    shuffle.shuffle(pairs)
    moved = np.array([v for v, _ in pairs], dtype=np.float32)
    rescaled = np.array([w for _, w in pairs]) * unit_
    for made, again in (
        (statistics.mean(values, weights=weights), statistics.mean(moved, weights=rescaled)),
        (
            statistics.standard_deviation(values, weights=weights),
            statistics.standard_deviation(moved, weights=rescaled),
        ),
        (
            statistics.share_above(values, level=0.0, weights=weights),
            statistics.share_above(moved, level=0.0, weights=rescaled),
        ),
    ):
        assert made == pytest.approx(again, rel=1e-9, abs=1e-9)
    low, middle, high = (
        statistics.quantile(values, share=q, weights=weights) for q in (0.1, 0.5, 0.9)
    )
    assert values.min() <= low <= middle <= high <= values.max()


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS, min_size=2, max_size=30), st.floats(0.1, 10), NUMBERS)
def test_change_counts_ways_and_not_levels(values, apart, shift):
    array = np.array(values, dtype=np.float64)
    index = np.arange(len(array))
    pairs = statistics.neighbours(index, index * apart)
    change = statistics.change_per_second(array, pairs=pairs)
    assert change == pytest.approx(
        statistics.change_per_second(array + shift, pairs=pairs), abs=1e-9
    )
    assert change == pytest.approx(
        statistics.change_per_second(array[::-1], pairs=pairs), rel=1e-9, abs=1e-12
    )
    slower = statistics.neighbours(index, index * apart * 2)
    assert statistics.change_per_second(array, pairs=slower) == pytest.approx(change / 2)
    # A single series is an embedding of one coordinate.
    assert statistics.expressivity(array[:, None], pairs=pairs) == pytest.approx(change)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=2, max_size=20),
    st.permutations(range(3)),
)
def test_shares_of_the_lead_sum_to_one_and_follow_their_class(rows, order):
    scores = np.array(rows, dtype=np.float32)
    if any(len(set(row)) < 3 for row in scores.tolist()):
        return  # of equals the first leads, which depends on the order
    shares = statistics.dominant_shares(scores)
    assert sum(shares) == pytest.approx(1)
    assert statistics.dominant_shares(scores[:, order]) == [shares[k] for k in order]
    index = np.arange(len(scores))
    pairs = statistics.neighbours(index, index * 1.0)
    assert statistics.transitions_per_minute(scores, pairs=pairs) == (
        statistics.transitions_per_minute(scores[:, order], pairs=pairs)
    )


def test_every_setting_stands_in_the_table_of_the_module():
    for name in ALL:
        assert f"\n``{name}`` " in pooling.__doc__


def test_regression_finds_the_emotion_in_every_score_column(vectors, pooled):
    groups = emotion_groups(list(pooled))
    of_scores = {name for name in pooled if "_emotion_" in name or "_cosine_" in name}
    assert of_scores == {n for e in ("smile", "frown", "rest", "smile_rest") for n in groups[e]}
