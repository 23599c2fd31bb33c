"""Statistics of one interview's segments, and what a clinician would call each of them.

All take only what was seen: segments without a score are not in the arrays, and where too little
is left the answer is None, never 0.

`weights` say how much each segment counts; without them all count alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Weights = np.ndarray | None


@dataclass(frozen=True)
class Neighbours:
    """Pairs of segments of which one follows the other with none left out between them.

    Attributes
    ----------
    first, second : ndarray of int, shape (n_pairs,)
        Rows of the two segments.
    seconds : ndarray of float, shape (n_pairs,)
        From the middle of the first to the middle of the second.
    """

    first: np.ndarray
    second: np.ndarray
    seconds: np.ndarray


def neighbours(index: np.ndarray, middle_seconds: np.ndarray) -> Neighbours:
    """Find the segments that follow each other.

    Where a segment is missing, the face was not seen; a change across the gap is not a change
    that anyone has observed, so such a pair is left out.

    Parameters
    ----------
    index : ndarray of int, shape (n_segments,)
        Numbers of the segments, rising.
    middle_seconds : ndarray of float, shape (n_segments,)
        Their middles.

    Returns
    -------
    Neighbours
        In order.
    """
    first = np.flatnonzero(np.diff(index) == 1)
    return Neighbours(first, first + 1, middle_seconds[first + 1] - middle_seconds[first])


def mean(values: np.ndarray, *, weights: Weights = None) -> float | None:
    """Level: how much of an expression the face shows on average.

    Parameters
    ----------
    values, weights : ndarray of shape (n_segments,)

    Returns
    -------
    float or None
        None without a segment, or without any weight.
    """
    if weights is None:
        return float(np.mean(values, dtype=np.float64)) if values.size else None
    total = weights.sum()
    return float(weights @ values.astype(np.float64) / total) if total > 0 else None


def standard_deviation(values: np.ndarray, *, weights: Weights = None) -> float | None:
    """Variability: how much an expression goes up and down; a blunted face stays where it is.

    Parameters
    ----------
    values, weights : ndarray of shape (n_segments,)

    Returns
    -------
    float or None
        With n - 1; with weights w around the weighted mean,
        sqrt(sum w (x - m)² / (sum w - sum w² / sum w)), which is the same for equal weights.
        None with fewer than two segments.
    """
    if weights is None:
        return float(np.std(values, ddof=1, dtype=np.float64)) if values.size > 1 else None
    variance = _variance(values[:, None], weights)
    return None if variance is None else float(np.sqrt(variance[0]))


def spread(embeddings: np.ndarray, *, weights: Weights = None) -> float | None:
    """Range of appearance: how different the face looks over the interview, whatever its name.

    Parameters
    ----------
    embeddings : ndarray of shape (n_segments, d)
    weights : ndarray of shape (n_segments,), optional

    Returns
    -------
    float or None
        Root of the summed variances of the coordinates; None with fewer than two segments.
    """
    if weights is None:
        if len(embeddings) < 2:
            return None
        return float(np.sqrt(embeddings.var(axis=0, ddof=1, dtype=np.float64).sum()))
    variance = _variance(embeddings, weights)
    return None if variance is None else float(np.sqrt(variance.sum()))


def quantile(values: np.ndarray, *, share: float, weights: Weights = None) -> float | None:
    """Usual, quietest and strongest moments: the level that a share of the time stays below.

    The 50 % quantile is the usual level; a face whose 90 % quantile is low has no strong moments
    at all, even where its mean is like other people's.

    Parameters
    ----------
    values, weights : ndarray of shape (n_segments,)
    share : float
        In [0, 1].

    Returns
    -------
    float or None
        Each value stands at the middle of its own weight, with straight lines between (Hazen's
        rule, type 5 of Hyndman & Fan 1996, The American Statistician 50, 361-365, where the
        weights are equal). None without a segment, or without any weight.
    """
    weight = np.ones(len(values)) if weights is None else weights
    used = weight > 0
    if not used.any():
        return None
    order = np.argsort(values[used], kind="stable")
    sorted_weight = weight[used][order]
    places = (np.cumsum(sorted_weight) - sorted_weight / 2) / sorted_weight.sum()
    return float(np.interp(share, places, values[used][order].astype(np.float64)))


def share_above(values: np.ndarray, *, level: float, weights: Weights = None) -> float | None:
    """How often an expression is there: share of the time in which it is above a level.

    Parameters
    ----------
    values, weights : ndarray of shape (n_segments,)
    level : float
        What is exactly at it does not count.

    Returns
    -------
    float or None
        In [0, 1]; None without a segment, or without any weight.
    """
    return mean((values > level).astype(np.float64), weights=weights)


def variety(levels: Sequence[float | None]) -> float | None:
    """Variety of expression: 0 where one is all there is, 1 where all are shown alike.

    Parameters
    ----------
    levels : sequence of float or None
        Mean shares of the emotions of a set; they sum to 1.

    Returns
    -------
    float or None
        Shannon entropy over the logarithm of the number of classes; None where a level is.
    """
    shares = [level for level in levels if level is not None]
    if len(shares) != len(levels):
        return None
    entropy = -sum(share * math.log(share) for share in shares if share > 0)
    return entropy / math.log(len(shares))


def change_per_second(
    values: np.ndarray, *, pairs: Neighbours, weights: Weights = None
) -> float | None:
    """Quickness: how fast an expression comes and goes, in either direction.

    Segments that overlap share pictures and differ less, so it can be compared only between
    interviews that were cut alike.

    Parameters
    ----------
    values, weights : ndarray of shape (n_segments,)
    pairs : Neighbours
        A pair counts as much as the lesser of its two segments.

    Returns
    -------
    float or None
        Mean of the absolute change from a segment to the next over the time between their
        middles; per second, at least 0. None without a pair.
    """
    change = np.abs(np.diff(values.astype(np.float64)))[pairs.first]
    return mean(change / pairs.seconds, weights=_pair_weights(weights, pairs))


def expressivity(
    embeddings: np.ndarray, *, pairs: Neighbours, weights: Weights = None
) -> float | None:
    """Expressivity: how fast the whole appearance changes from moment to moment.

    No emotion needs to be named for it. It lacks what is quicker than a segment, which
    ``mean_movement`` holds, and counts head movement and talking too.

    Parameters
    ----------
    embeddings : ndarray of shape (n_segments, d)
        L2-normalised.
    pairs : Neighbours
        A pair counts as much as the lesser of its two segments.
    weights : ndarray of shape (n_segments,), optional

    Returns
    -------
    float or None
        Mean of ‖e₂ - e₁‖ over the time between the segments' middles; per second, at least 0.
        None without a pair.
    """
    vectors = embeddings.astype(np.float64)
    steps = np.linalg.norm(vectors[pairs.second] - vectors[pairs.first], axis=1)
    return mean(steps / pairs.seconds, weights=_pair_weights(weights, pairs))


def transitions_per_minute(scores: np.ndarray, *, pairs: Neighbours) -> float | None:
    """Shifts of affect: how often another emotion takes the lead.

    Low for a face that keeps one expression, high for a labile one; also high for a face between
    two expressions, where noise alone moves the lead. Weights play no part in it.

    Parameters
    ----------
    scores : ndarray of shape (n_segments, n_classes)
        The emotions of one set; of equals the first leads.
    pairs : Neighbours
        Where transitions can be seen.

    Returns
    -------
    float or None
        Transitions per minute between the middles of the pairs; None without a pair.
    """
    if pairs.seconds.size == 0:
        return None
    leader = scores.argmax(axis=1)
    changed = int((leader[pairs.first] != leader[pairs.second]).sum())
    return float(changed / (pairs.seconds.sum() / 60))


def dominant_shares(scores: np.ndarray, *, weights: Weights = None) -> list[float | None]:
    """Prevailing expression: share of the time in which each emotion has the lead.

    Parameters
    ----------
    scores : ndarray of shape (n_segments, n_classes)
        The emotions of one set; of equals the first leads.
    weights : ndarray of shape (n_segments,), optional

    Returns
    -------
    list of float or None, length n_classes
        They sum to 1; None without a segment, or without any weight.
    """
    leader = scores.argmax(axis=1)
    return [mean((leader == k).astype(np.float64), weights=weights) for k in range(scores.shape[1])]


def coordinate_means(embeddings: np.ndarray, *, weights: Weights = None) -> list[float | None]:
    """Average look of the face, as the model sees it; its coordinates have no names.

    Parameters
    ----------
    embeddings : ndarray of shape (n_segments, d)
    weights : ndarray of shape (n_segments,), optional

    Returns
    -------
    list of float or None, length d
        None without a segment, or without any weight.
    """
    return [mean(column, weights=weights) for column in embeddings.T]


def coordinate_deviations(embeddings: np.ndarray, *, weights: Weights = None) -> list[float | None]:
    """Variability of the look, coordinate by coordinate; see `standard_deviation`.

    Parameters
    ----------
    embeddings : ndarray of shape (n_segments, d)
    weights : ndarray of shape (n_segments,), optional

    Returns
    -------
    list of float or None, length d
        None with fewer than two segments.
    """
    return [standard_deviation(column, weights=weights) for column in embeddings.T]


def _variance(columns: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    used = weights > 0
    if used.sum() < 2:
        return None
    weight, values = weights[used], columns[used].astype(np.float64)
    total = weight.sum()
    deviations = values - weight @ values / total
    spare = float(total - np.square(weight).sum() / total)
    return np.asarray(weight @ deviations**2 / spare)


def _pair_weights(weights: Weights, pairs: Neighbours) -> Weights:
    if weights is None:
        return None
    return np.asarray(np.minimum(weights[pairs.first], weights[pairs.second]))
