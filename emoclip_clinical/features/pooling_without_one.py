"""The pooled features of an interview without each one of its segments, all at once.

Leaving out n segments one after the other and pooling anew takes n² steps; sums that are kept of
all segments, less the share of one, take n. The result is that of `pool_segments` to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from emoclip_clinical.features.pooling import ScoredSegments, pooled_names
from emoclip_clinical.features.pooling_config import POOLING, PoolingStatistic, PoolingWeights
from emoclip_clinical.features.pooling_statistics import neighbours
from emoclip_clinical.features.scores import PromptVectors, score_columns

_QUANTILES = (0.1, 0.5, 0.9)


def pool_without_each(
    segments: ScoredSegments,
    *,
    prompt_vectors: Sequence[PromptVectors],
    pooling: Sequence[PoolingStatistic] = POOLING,
    weights: PoolingWeights = "equal",
) -> np.ndarray:
    """Pool the usable segments of one interview without each of them.

    Parameters
    ----------
    segments : ScoredSegments
        Those with status ``ok``.
    prompt_vectors, pooling, weights
        See `pool_segments`.

    Returns
    -------
    ndarray of shape (n_ok, n_features)
        Row i without segment i; columns in the order of `pooled_names`; NaN where too few
        segments are left.
    """
    names = pooled_names(
        prompt_vectors, embedding_width=segments.embeddings.shape[1], pooling=pooling
    )
    if not len(segments.index):
        return np.empty((0, len(names)))
    interview = _Interview(segments, prompt_vectors, weights)
    # A division by an empty rest is what gives the NaN of a feature that is not defined.
    with np.errstate(divide="ignore", invalid="ignore"):
        blocks = [
            block.reshape(len(interview.weight), -1)
            for key, made in _STATISTICS.items()
            if key in pooling
            for block in made(interview)
        ]
    pooled = np.concatenate([np.empty((len(interview.weight), 0)), *blocks], axis=1)
    assert pooled.shape[1] == len(names)
    return pooled


class _Interview:
    """What a statistic may look at."""

    def __init__(
        self,
        segments: ScoredSegments,
        prompt_vectors: Sequence[PromptVectors],
        weights: PoolingWeights,
    ) -> None:
        n = len(segments.index)
        self.segments = segments
        self.sets = [p for p in prompt_vectors if p.emotion_columns]
        self.weight = np.ones(n) if weights == "equal" else segments.face_seconds
        self.scores = _columns(segments, score_columns(prompt_vectors))
        self.embeddings = segments.embeddings.astype(np.float64)
        self.pairs = neighbours(segments.index, segments.middle_seconds)

    def emotions(self, prompts: PromptVectors) -> np.ndarray:
        return _columns(self.segments, prompts.emotion_columns)

    def mean_over_pairs(self, values: np.ndarray) -> np.ndarray:
        """Mean over the pairs of neighbours that are left, of values (n_pairs, n_columns)."""
        pairs = self.pairs
        weight = np.minimum(self.weight[pairs.first], self.weight[pairs.second])
        left = self.without(weight[:, np.newaxis])
        some = self.without((weight > 0).astype(np.float64)[:, np.newaxis]) > 0
        return np.where(some, self.without(weight[:, np.newaxis] * values) / left, np.nan)

    def without(self, of_pairs: np.ndarray) -> np.ndarray:
        """Sum of what pairs have, (n_pairs, n_columns), without the pairs of each segment."""
        gone = np.zeros((len(self.weight), of_pairs.shape[1]))
        np.add.at(gone, self.pairs.first, of_pairs)
        np.add.at(gone, self.pairs.second, of_pairs)
        return np.asarray(of_pairs.sum(axis=0) - gone)


def _columns(segments: ScoredSegments, names: Sequence[str]) -> np.ndarray:
    made = [segments.scores[name].astype(np.float64) for name in names]
    return np.stack(made, axis=1) if made else np.empty((len(segments.index), 0))


def _means(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    total = weight.sum()
    mean = weight @ values / total
    left = (total - weight)[:, np.newaxis]
    used = weight > 0
    some = (used.sum() - used)[:, np.newaxis] > 0
    return np.where(some, mean - weight[:, np.newaxis] * (values - mean) / left, np.nan)


def _variances(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    total, squares = weight.sum(), np.square(weight).sum()
    off = np.square(values - weight @ values / total)
    left = total - weight
    spare = left - (squares - np.square(weight)) / left
    rest = weight @ off - (weight * total / left)[:, np.newaxis] * off
    used = weight > 0
    enough = (used.sum() - used)[:, np.newaxis] > 1
    return np.where(enough, np.maximum(rest, 0.0) / spare[:, np.newaxis], np.nan)


def _quantile(values: np.ndarray, weight: np.ndarray, share: float) -> np.ndarray:
    """Hazen's rule without each of the values of one column; see `pooling_statistics.quantile`."""
    used = np.flatnonzero(weight > 0)
    order = used[np.argsort(values[used], kind="stable")]
    x, w = values[order], weight[order]
    places = np.cumsum(w) - w / 2
    gone = np.arange(len(x))

    def at(rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Place and value of a rank among those that are left."""
        row = np.clip(rank + (rank >= gone), 0, len(x) - 1)
        return places[row] - np.where(row > gone, w, 0.0), x[row]

    found = np.full(len(values), np.nan)
    if len(x) > 1:
        wanted = share * (w.sum() - w)
        before = np.minimum(np.searchsorted(places, wanted, side="right"), gone)
        after = np.searchsorted(places, wanted + w, side="right") - gone - 1
        count = before + np.where(before == gone, np.maximum(after, 0), 0)
        (low, x_low), (high, x_high) = at(count - 1), at(np.minimum(count, len(x) - 2))
        step = np.where(high > low, (wanted - low) / (high - low), 0.0)
        inside = (count > 0) & (count < len(x) - 1)
        at_end = np.where(count == 0, at(np.zeros_like(gone))[1], x_low)
        found[order] = np.where(inside, x_low + step * (x_high - x_low), at_end)
    unused = np.flatnonzero(weight <= 0)
    if len(unused) and len(x):
        found[unused] = np.interp(share, places / w.sum(), x)
    return found


def _movement(interview: _Interview) -> Iterator[np.ndarray]:
    movements = interview.segments.movements
    known = np.isfinite(movements)
    # One that could not be measured has no weight, so that leaving it out changes nothing.
    weight = np.where(known, interview.weight, 0.0)
    values = np.where(known, movements, 0.0)[:, np.newaxis]
    yield _means(values, weight)
    yield np.sqrt(_variances(values, weight))


def _entropy(interview: _Interview) -> Iterator[np.ndarray]:
    for prompts in interview.sets:
        shares = _means(interview.emotions(prompts), interview.weight)
        parts = np.where(shares > 0, shares * np.log(np.where(shares > 0, shares, 1.0)), 0.0)
        entropy = -parts.sum(axis=1) / np.log(shares.shape[1])
        yield np.where(np.isnan(shares).any(axis=1), np.nan, entropy)


def _quantiles(interview: _Interview) -> Iterator[np.ndarray]:
    for share in _QUANTILES:
        for column in interview.scores.T:
            yield _quantile(column, interview.weight, share)


def _above_chance(interview: _Interview) -> Iterator[np.ndarray]:
    for prompts in interview.sets:
        level = 1 / len(prompts.emotion_columns)
        # Compared as the segments store them, in float32.
        above = [interview.segments.scores[c] > level for c in prompts.emotion_columns]
        yield _means(np.stack(above, axis=1).astype(np.float64), interview.weight)


def _leaders(interview: _Interview, prompts: PromptVectors) -> np.ndarray:
    return np.asarray(interview.emotions(prompts).argmax(axis=1))


def _dominant(interview: _Interview) -> Iterator[np.ndarray]:
    for prompts in interview.sets:
        leader = _leaders(interview, prompts)
        leads = leader[:, np.newaxis] == np.arange(len(prompts.emotion_columns))
        yield _means(leads.astype(np.float64), interview.weight)


def _change(interview: _Interview) -> Iterator[np.ndarray]:
    pairs = interview.pairs
    change = np.abs(interview.scores[pairs.second] - interview.scores[pairs.first])
    yield interview.mean_over_pairs(change / pairs.seconds[:, np.newaxis])


def _transitions(interview: _Interview) -> Iterator[np.ndarray]:
    pairs = interview.pairs
    seconds = interview.without(pairs.seconds[:, np.newaxis])
    some = interview.without(np.ones((len(pairs.seconds), 1))) > 0
    for prompts in interview.sets:
        leader = _leaders(interview, prompts)
        changed = (leader[pairs.first] != leader[pairs.second]).astype(np.float64)
        per_minute = 60 * interview.without(changed[:, np.newaxis]) / seconds
        yield np.where(some, per_minute, np.nan)


def _expressivity(interview: _Interview) -> Iterator[np.ndarray]:
    pairs, vectors = interview.pairs, interview.embeddings
    steps = np.linalg.norm(vectors[pairs.second] - vectors[pairs.first], axis=1)
    yield interview.mean_over_pairs((steps / pairs.seconds)[:, np.newaxis])


_STATISTICS: Mapping[PoolingStatistic, Callable[[_Interview], Iterator[np.ndarray]]] = {
    # The order of `pooling`, which is that of the table's columns.
    "mean": lambda i: iter([_means(i.scores, i.weight)]),
    "sd": lambda i: iter([np.sqrt(_variances(i.scores, i.weight))]),
    "spread": lambda i: iter([np.sqrt(_variances(i.embeddings, i.weight).sum(axis=1))]),
    "movement": _movement,
    "entropy": _entropy,
    "quantiles": _quantiles,
    "above_chance": _above_chance,
    "dominant": _dominant,
    "change": _change,
    "transitions": _transitions,
    "expressivity": _expressivity,
    "embedding_mean": lambda i: iter([_means(i.embeddings, i.weight)]),
    "embedding_sd": lambda i: iter([np.sqrt(_variances(i.embeddings, i.weight))]),
}
