"""Text embeddings of compound emotions from those of their components, in several ways.

Every way takes two components, three or more, does not depend on their order, and leaves a
single class as it is, so that all of them are compared on the same clips and classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol

import numpy as np

from emoclip_clinical.core.evaluation.class_texts import ClassTexts
from emoclip_clinical.records import InputError

SMALLEST_NORM = 1e-6
"""A mean shorter than this has no direction: its components cancel."""


class Composition(Protocol):
    """How clips are scored against single and compound classes."""

    def scores(self, clips: np.ndarray, texts: ClassTexts) -> np.ndarray:
        """Score clips (n, d) against the classes of `texts` as (n, n_classes); higher is nearer.

        Scores of one clip can be compared with each other, not with those of another way.
        """


@dataclass(frozen=True)
class Mean:
    """The normalised mean of the components' vectors (EmoCLIP, arXiv 2310.16640)."""

    def scores(self, clips: np.ndarray, texts: ClassTexts) -> np.ndarray:
        """Return cosines, see `Composition.scores`."""
        return _cosines(clips, mean_vectors(texts))


@dataclass(frozen=True)
class Weighted:
    """The normalised weighted mean of the components' vectors.

    Attributes
    ----------
    weights : mapping of str to float, or None
        Weight by class, 1 where none is given. None weighs a component by its distinctness:
        1 minus the mean cosine of its vector with those of the other single classes, so that a
        text which lies near to all others does not fill every compound that it is part of.
    """

    weights: Mapping[str, float] | None = None

    def scores(self, clips: np.ndarray, texts: ClassTexts) -> np.ndarray:
        """Return cosines, see `Composition.scores`."""
        weights = distinctness(texts.vectors) if self.weights is None else _by_class(
            self.weights, texts
        )  # fmt: skip
        return _cosines(clips, _directions(texts.membership * weights @ texts.vectors, texts))


@dataclass(frozen=True)
class Spherical:
    """The weighted Karcher (Frechet) mean of the components' vectors on the unit sphere.

    It generalises spherical linear interpolation to any number of points: the point whose
    weighted sum of squared angles to the components is least (Buss & Fillmore 2001, ACM
    Transactions on Graphics 20). With two components and equal weights it is the middle of
    their arc, which is where their normalised mean lies too; from three on, and with weights,
    the two differ.

    Attributes
    ----------
    weights : mapping of str to float, or None
        Weight by class, 1 where none is given.
    """

    weights: Mapping[str, float] | None = None

    def scores(self, clips: np.ndarray, texts: ClassTexts) -> np.ndarray:
        """Return cosines, see `Composition.scores`."""
        weights = _by_class(self.weights or {}, texts)
        start = _directions(texts.membership * weights @ texts.vectors, texts)
        vectors = [
            karcher_mean(texts.vectors[held], weights=weights[held], start=first)
            for held, first in zip(texts.membership, start, strict=True)
        ]
        return _cosines(clips, _directions(np.stack(vectors), texts))


@dataclass(frozen=True)
class SimilarityProduct:
    """The product of the components' probabilities and of the others' absence.

    With c_i the cosine of a clip with single class i, m their mean over all single classes and T
    the temperature, class i is present with probability p_i = 1 / (1 + exp(-(c_i - m) / T)). The
    score of class S is the logarithm of its probability when the presences are independent,
    sum of log p_i over i in S + sum of log(1 - p_j) over j not in S. A product over S alone could
    never prefer a compound to its own strongest component.

    Attributes
    ----------
    temperature : float
        The model's own.
    """

    temperature: float

    def scores(self, clips: np.ndarray, texts: ClassTexts) -> np.ndarray:
        """Return log probabilities, see `Composition.scores`."""
        cosines = clips.astype(np.float64) @ texts.vectors.astype(np.float64).T
        logits = (cosines - cosines.mean(axis=1, keepdims=True)) / self.temperature
        present = -np.logaddexp(0.0, -logits)
        absent = -np.logaddexp(0.0, logits)
        held = texts.membership.astype(np.float64)
        out: np.ndarray = present @ held.T + absent @ (1 - held).T
        return out


@dataclass(frozen=True)
class ConcatenatedPrompt:
    """The text embedding of the components' sentences, written one after the other.

    Sentence k of each component (its last where it has fewer) make one text, in the order of the
    classes; the texts of a compound are averaged and normalised. What goes beyond the text
    tower's context is cut off by its tokenizer.

    Attributes
    ----------
    sentences : mapping of str to tuple of str
        Of each single class.
    encode : callable
        From texts to L2-normalised vectors of shape (n, d).
    """

    sentences: Mapping[str, Sequence[str]]
    encode: Callable[[Sequence[str]], np.ndarray]

    def scores(self, clips: np.ndarray, texts: ClassTexts) -> np.ndarray:
        """Return cosines, see `Composition.scores`."""
        compounds = [
            self.encode(concatenated([self.sentences[part] for part in parts])).mean(axis=0)
            for parts in texts.compounds.values()
        ]
        vectors = np.concatenate([texts.vectors, np.array(compounds).reshape(-1, clips.shape[1])])
        return _cosines(clips, _directions(vectors, texts))


def mean_vectors(texts: ClassTexts) -> np.ndarray:
    """Return the normalised mean of each class's components, shape (n_classes, d).

    Raises
    ------
    InputError
        Naming every class whose components cancel.
    """
    return _directions(texts.membership.astype(np.float64) @ texts.vectors, texts)


def distinctness(vectors: np.ndarray) -> np.ndarray:
    """Return 1 - the mean cosine of each vector (n, d) with the others; 1 for a vector alone."""
    n = len(vectors)
    cosines = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    others = cosines.sum(axis=1) - np.diagonal(cosines)
    # A text that is opposite to none and equal to all would weigh nothing and have no direction.
    out: np.ndarray = np.maximum(1.0 - others / max(n - 1, 1), 1e-3)
    return out


def karcher_mean(
    points: np.ndarray,
    *,
    weights: np.ndarray,
    start: np.ndarray,
    tolerance: float = 1e-10,
    max_iterations: int = 100,
) -> np.ndarray:
    """Return the point of the unit sphere with the least weighted squared angles to `points`.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        L2-normalised, within a quarter turn of `start`.
    weights : ndarray of shape (n,)
        Above 0.
    start : ndarray of shape (d,)
        L2-normalised; the normalised mean is a good one.
    tolerance : float
        Of the last step, in radians.
    max_iterations : int
        Steps at most; some ten are needed.

    Returns
    -------
    float64 ndarray of shape (d,)
    """
    mean = start.astype(np.float64)
    points = points.astype(np.float64)
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    share = weights / weights.sum()
    for _ in range(max_iterations):
        across = points - (points @ mean)[:, None] * mean
        length = np.linalg.norm(across, axis=1)
        angle = np.arctan2(length, points @ mean)
        factor = np.divide(angle, length, out=np.ones_like(angle), where=length > 0)
        step = share @ (factor[:, None] * across)
        size = float(np.linalg.norm(step))
        if size < tolerance:
            break
        mean = np.cos(size) * mean + np.sin(size) / size * step
        mean /= np.linalg.norm(mean)
    return mean


def concatenated(sentences: Sequence[Sequence[str]]) -> list[str]:
    """Join the k-th sentences of several classes into one text, for each k.

    >>> concatenated([["A frown.", "Lowered brows."], ["Tears."]])
    ['A frown. Tears.', 'Lowered brows. Tears.']
    """
    return [
        " ".join(s if s is not None else own[-1] for s, own in zip(row, sentences, strict=True))
        for row in zip_longest(*sentences)
    ]


def _cosines(clips: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    out: np.ndarray = clips @ vectors.T
    return out


def _by_class(weights: Mapping[str, float], texts: ClassTexts) -> np.ndarray:
    if unknown := sorted(set(weights) - set(texts.singles)):
        raise InputError(
            f"weights of a composition must be by single class, one of "
            f"{', '.join(texts.singles)}; got {', '.join(unknown)}"
        )
    return np.array([weights.get(single, 1.0) for single in texts.singles])


def _directions(vectors: np.ndarray, texts: ClassTexts) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if faults := [
        f"the text embeddings of the components of {name!r} cancel: their mean has no direction"
        for name, norm in zip(texts.classes, norms[:, 0], strict=True)
        if norm < SMALLEST_NORM
    ]:
        raise InputError(faults)
    out: np.ndarray = (vectors / norms).astype(np.float32)
    # Not even the last bit of a single class may move, so that its scores are the same everywhere.
    out[: len(texts.singles)] = texts.vectors
    return out
