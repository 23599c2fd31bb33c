"""From segments to one row an interview: levels, variability, liveliness.

Only segments with status ``ok`` count, and nothing is put in the place of a missing one. The
first word of a column is its statistic; `pooling_statistics` says how each is calculated and what
a clinician would call it.

==================  ==============================================================================
setting             columns
==================  ==============================================================================
``mean``            ``mean_<score>``: level
``sd``              ``sd_<score>``: variability
``spread``          ``sd_embedding``: range of appearance
``movement``        ``mean_movement``, ``sd_movement``: liveliness within segments, its unevenness
``entropy``         ``entropy_<set>``: variety of expression
``quantiles``       ``q10_<score>``, ``q50_<score>``, ``q90_<score>``: quietest, usual, strongest
``above_chance``    ``above_<emotion>``: share of the time in which its score is above chance, 1/k:
                    what each of k emotions would get if none could be told
``dominant``        ``dominant_<emotion>``: share of the time in which it leads its set
``change``          ``change_<score>``: quickness, per second
``transitions``     ``transitions_<set>``: shifts of affect, per minute
``expressivity``    ``expressivity``: movement of the segments' embedding, per second
``embedding_mean``  ``mean_embedding_000`` and so on: the average look
``embedding_sd``    ``sd_embedding_000`` and so on: its variability
==================  ==============================================================================

The first five are the default. A cosine has no level that means chance, so shares of time are of
emotion scores alone; compounds compete in a set of their own.

A visit with several interviews is their mean, weighted by ``n_ok``, which `regression` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emoclip_clinical.features import pooling_statistics as statistics
from emoclip_clinical.features.pooling_config import (
    POOLING,
    PoolingStatistic,
    PoolingWeights,
)
from emoclip_clinical.features.scores import PromptVectors, score_columns

_QUANTILES = {"q10": 0.1, "q50": 0.5, "q90": 0.9}


@dataclass(frozen=True)
class ScoredSegments:
    """The segments of one interview that have scores, in order.

    Attributes
    ----------
    scores : mapping of str to ndarray of float32, shape (n_ok,)
        Score columns.
    embeddings : ndarray of float32, shape (n_ok, d)
        L2-normalised.
    movements : ndarray of float, shape (n_ok,)
        Per second; NaN where it could not be measured.
    index : ndarray of int, shape (n_ok,)
        Numbers of the segments, rising; a gap is a segment without a score.
    middle_seconds : ndarray of float, shape (n_ok,)
        Middles of the segments.
    face_seconds : ndarray of float, shape (n_ok,)
        How long the face was seen: duration times coverage; the whole duration where no face
        was looked for.
    """

    scores: Mapping[str, np.ndarray]
    embeddings: np.ndarray
    movements: np.ndarray
    index: np.ndarray
    middle_seconds: np.ndarray
    face_seconds: np.ndarray


@dataclass(frozen=True)
class _Columns:
    """What column names are made of."""

    prompt_vectors: Sequence[PromptVectors]
    embedding_width: int

    @property
    def scores(self) -> tuple[str, ...]:
        return score_columns(self.prompt_vectors)

    @property
    def emotion_sets(self) -> tuple[PromptVectors, ...]:
        return tuple(p for p in self.prompt_vectors if p.emotion_columns)

    @property
    def emotions(self) -> tuple[str, ...]:
        return tuple(c for p in self.emotion_sets for c in p.emotion_columns)

    @property
    def coordinates(self) -> tuple[str, ...]:
        return tuple(f"embedding_{k:03d}" for k in range(self.embedding_width))


class _Interview:
    """What a statistic may look at."""

    def __init__(
        self, segments: ScoredSegments, columns: _Columns, *, weights: PoolingWeights
    ) -> None:
        self.segments = segments
        self.columns = columns
        self.weights = None if weights == "equal" else segments.face_seconds
        self.pairs = statistics.neighbours(segments.index, segments.middle_seconds)

    @property
    def scores(self) -> Iterable[np.ndarray]:
        return (self.segments.scores[column] for column in self.columns.scores)

    def emotions(self, prompts: PromptVectors) -> np.ndarray:
        return np.stack([self.segments.scores[c] for c in prompts.emotion_columns], axis=1)

    def mean(self, values: np.ndarray) -> float | None:
        return statistics.mean(values, weights=self.weights)

    def standard_deviation(self, values: np.ndarray) -> float | None:
        return statistics.standard_deviation(values, weights=self.weights)


_Values = Iterable[float | None]


@dataclass(frozen=True)
class _Statistic:
    names: Callable[[_Columns], Iterable[str]]
    values: Callable[[_Interview], _Values]


def _movement(interview: _Interview) -> _Values:
    known = np.isfinite(interview.segments.movements)
    values = interview.segments.movements[known]
    weights = None if interview.weights is None else interview.weights[known]
    yield statistics.mean(values, weights=weights)
    yield statistics.standard_deviation(values, weights=weights)


def _entropy(interview: _Interview) -> _Values:
    for prompts in interview.columns.emotion_sets:
        yield statistics.variety(
            [interview.mean(interview.segments.scores[c]) for c in prompts.emotion_columns]
        )


def _quantiles(interview: _Interview) -> _Values:
    for share in _QUANTILES.values():
        for values in interview.scores:
            yield statistics.quantile(values, share=share, weights=interview.weights)


def _above_chance(interview: _Interview) -> _Values:
    for prompts in interview.columns.emotion_sets:
        level = 1 / len(prompts.emotion_columns)
        for column in prompts.emotion_columns:
            values = interview.segments.scores[column]
            yield statistics.share_above(values, level=level, weights=interview.weights)


def _dominant(interview: _Interview) -> _Values:
    for prompts in interview.columns.emotion_sets:
        yield from statistics.dominant_shares(
            interview.emotions(prompts), weights=interview.weights
        )


def _change(interview: _Interview) -> _Values:
    for values in interview.scores:
        yield statistics.change_per_second(values, pairs=interview.pairs, weights=interview.weights)


def _transitions(interview: _Interview) -> _Values:
    for prompts in interview.columns.emotion_sets:
        yield statistics.transitions_per_minute(interview.emotions(prompts), pairs=interview.pairs)


_STATISTICS: Mapping[PoolingStatistic, _Statistic] = {
    "mean": _Statistic(
        lambda c: (f"mean_{name}" for name in c.scores),
        lambda i: (i.mean(values) for values in i.scores),
    ),
    "sd": _Statistic(
        lambda c: (f"sd_{name}" for name in c.scores),
        lambda i: (i.standard_deviation(values) for values in i.scores),
    ),
    "spread": _Statistic(
        lambda c: ("sd_embedding",),
        lambda i: (statistics.spread(i.segments.embeddings, weights=i.weights),),
    ),
    "movement": _Statistic(lambda c: ("mean_movement", "sd_movement"), _movement),
    "entropy": _Statistic(lambda c: (f"entropy_{p.name}" for p in c.emotion_sets), _entropy),
    "quantiles": _Statistic(
        lambda c: (f"{q}_{name}" for q in _QUANTILES for name in c.scores), _quantiles
    ),
    "above_chance": _Statistic(lambda c: (f"above_{name}" for name in c.emotions), _above_chance),
    "dominant": _Statistic(lambda c: (f"dominant_{name}" for name in c.emotions), _dominant),
    "change": _Statistic(lambda c: (f"change_{name}" for name in c.scores), _change),
    "transitions": _Statistic(
        lambda c: (f"transitions_{p.name}" for p in c.emotion_sets), _transitions
    ),
    "expressivity": _Statistic(
        lambda c: ("expressivity",),
        lambda i: (
            statistics.expressivity(i.segments.embeddings, pairs=i.pairs, weights=i.weights),
        ),
    ),
    "embedding_mean": _Statistic(
        lambda c: (f"mean_{name}" for name in c.coordinates),
        lambda i: statistics.coordinate_means(i.segments.embeddings, weights=i.weights),
    ),
    "embedding_sd": _Statistic(
        lambda c: (f"sd_{name}" for name in c.coordinates),
        lambda i: statistics.coordinate_deviations(i.segments.embeddings, weights=i.weights),
    ),
}


def pooled_names(
    prompt_vectors: Sequence[PromptVectors],
    *,
    embedding_width: int,
    pooling: Sequence[PoolingStatistic] = POOLING,
) -> tuple[str, ...]:
    """Return the names of the pooled features, in the order of the table.

    Parameters
    ----------
    prompt_vectors : sequence of PromptVectors
        The sets that are scored.
    embedding_width : int
        Length d of an embedding.
    pooling : sequence of str
        Statistics; the order in which they are named does not matter.
    """
    columns = _Columns(prompt_vectors, embedding_width)
    return tuple(
        name for key, made in _STATISTICS.items() if key in pooling for name in made.names(columns)
    )


def pool_segments(
    segments: ScoredSegments,
    *,
    prompt_vectors: Sequence[PromptVectors],
    pooling: Sequence[PoolingStatistic] = POOLING,
    weights: PoolingWeights = "equal",
) -> dict[str, float | None]:
    """Summarise the usable segments of one interview.

    Parameters
    ----------
    segments : ScoredSegments
        Those with status ``ok``.
    prompt_vectors : sequence of PromptVectors
        The sets whose columns it holds.
    pooling : sequence of str
        Statistics.
    weights : {'equal', 'face_seconds'}
        Whether segments count alike, or by how long the face was seen in them.

    Returns
    -------
    dict of str to float or None
        Under `pooled_names`; None where there are too few segments.
    """
    columns = _Columns(prompt_vectors, segments.embeddings.shape[1])
    interview = _Interview(segments, columns, weights=weights)
    pooled: dict[str, float | None] = {}
    for key, made in _STATISTICS.items():
        if key in pooling:
            pooled |= dict(zip(made.names(columns), made.values(interview), strict=True))
    return pooled
