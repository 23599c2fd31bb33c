"""From segments to one row an interview: levels, variability and liveliness.

Only segments with status ``ok`` count. Each statistic is the first word of its column's name.

``mean_<score>``
    Level: how much of an emotion the face shows on average.
``sd_<score>``
    Variability: how much that goes up and down; a blunted face stays where it is. Standard
    deviation over segments with n - 1.
``sd_embedding``
    Variability of the whole appearance, whatever its name: the root of the summed variances of
    the embedding's coordinates.
``mean_movement``, ``sd_movement``
    Liveliness within segments, and how uneven it is over the interview.
``entropy_<set>``
    Variety: Shannon entropy of the mean emotion scores over the logarithm of the number of
    classes; 0 where one expression is all there is, 1 where all are shown alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from emoclip_clinical.features.scores import PromptVectors, score_columns


def pooled_names(prompt_vectors: Sequence[PromptVectors]) -> tuple[str, ...]:
    """Return the names of the pooled features, in the order of the table."""
    columns = score_columns(prompt_vectors)
    entropies = [f"entropy_{p.name}" for p in prompt_vectors if p.emotion_columns]
    return (
        *(f"mean_{column}" for column in columns),
        *(f"sd_{column}" for column in columns),
        "sd_embedding",
        "mean_movement",
        "sd_movement",
        *entropies,
    )


def pool_segments(
    scores: Mapping[str, np.ndarray],
    embeddings: np.ndarray,
    movements: Sequence[float | None],
    *,
    prompt_vectors: Sequence[PromptVectors],
) -> dict[str, float | None]:
    """Summarise the usable segments of one interview.

    Parameters
    ----------
    scores : mapping of str to ndarray of shape (n_ok,)
        Score columns.
    embeddings : ndarray of shape (n_ok, d)
        L2-normalised.
    movements : sequence of float or None, length n_ok
        Per second.
    prompt_vectors : sequence of PromptVectors
        The sets whose columns `scores` holds.

    Returns
    -------
    dict of str to float or None
        Under `pooled_names`; None where there are too few segments.
    """
    pooled: dict[str, float | None] = {}
    for column in score_columns(prompt_vectors):
        pooled[f"mean_{column}"] = _mean(scores[column])
        pooled[f"sd_{column}"] = _deviation(scores[column])
    pooled["sd_embedding"] = _spread(embeddings)
    known = np.array([m for m in movements if m is not None], dtype=np.float64)
    pooled["mean_movement"] = _mean(known)
    pooled["sd_movement"] = _deviation(known)
    for prompts in prompt_vectors:
        if prompts.emotion_columns:
            levels = [pooled[f"mean_{column}"] for column in prompts.emotion_columns]
            pooled[f"entropy_{prompts.name}"] = _variety(levels)
    return {name: pooled[name] for name in pooled_names(prompt_vectors)}


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if values.size else None


def _deviation(values: np.ndarray) -> float | None:
    return float(np.std(values, ddof=1, dtype=np.float64)) if values.size > 1 else None


def _spread(embeddings: np.ndarray) -> float | None:
    if len(embeddings) < 2:
        return None
    return float(np.sqrt(embeddings.var(axis=0, ddof=1, dtype=np.float64).sum()))


def _variety(levels: Sequence[float | None]) -> float | None:
    shares = [level for level in levels if level is not None]
    if len(shares) != len(levels):
        return None
    entropy = -sum(share * math.log(share) for share in shares if share > 0)
    return entropy / math.log(len(shares))
