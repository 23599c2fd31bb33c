"""Zero-shot scores: how near a segment's embedding lies to the texts of each class.

EmoCLIP (Foteinopoulou & Patras 2024, arXiv 2310.16640): a class is the mean of its sentences'
text embeddings, a compound the mean of its components' classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emoclip_clinical.records import InputError, PromptSet

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder


@dataclass(frozen=True)
class PromptVectors:
    """The text side of one set of classes that compete with each other.

    Attributes
    ----------
    name : str
        The set's name; compounds have a set of their own, ``<set>_compounds``.
    classes : tuple of str
        Class names.
    vectors : ndarray of float32, shape (n_classes, d)
        L2-normalised.
    """

    name: str
    classes: tuple[str, ...]
    vectors: np.ndarray

    @property
    def emotion_columns(self) -> tuple[str, ...]:
        """``emotion_<set>__<class>``; empty for a single class, whose softmax says nothing."""
        if len(self.classes) < 2:
            return ()
        return tuple(f"emotion_{self.name}__{name}" for name in self.classes)

    @property
    def cosine_columns(self) -> tuple[str, ...]:
        """``cosine_<set>__<class>``."""
        return tuple(f"cosine_{self.name}__{name}" for name in self.classes)


def encode_prompt_sets(
    embedder: Embedder, prompt_sets: Sequence[PromptSet]
) -> tuple[PromptVectors, ...]:
    """Encode the texts of prompt sets.

    Parameters
    ----------
    embedder : Embedder
        The model.
    prompt_sets : sequence of PromptSet
        No two with the same name.

    Returns
    -------
    tuple of PromptVectors
        For each set its classes, then its compounds where there are any.

    Raises
    ------
    InputError
        If two sets would write the same columns.
    """
    encoded: list[PromptVectors] = []
    for prompts in prompt_sets:
        encoded.extend(named_vectors(prompts, *embedder.encode_prompts(prompts)))
    names = [vectors.name for vectors in encoded]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            f"two prompt sets are called {name!r}: give one another name" for name in repeated
        )
    return tuple(encoded)


def named_vectors(
    prompts: PromptSet, classes: np.ndarray, compounds: np.ndarray
) -> tuple[PromptVectors, ...]:
    """Give the vectors of `Embedder.encode_prompts` their names."""
    singles = PromptVectors(prompts.name, tuple(prompts.classes), classes)
    if not prompts.compounds:
        return (singles,)
    name = f"{prompts.name}_compounds"
    return singles, PromptVectors(name, tuple(prompts.compounds), compounds)


def score_columns(prompt_vectors: Sequence[PromptVectors]) -> tuple[str, ...]:
    """Return the names of all score columns, in the order of the table."""
    return tuple(
        column for p in prompt_vectors for column in (*p.emotion_columns, *p.cosine_columns)
    )


def score_embeddings(
    embeddings: np.ndarray, prompt_vectors: Sequence[PromptVectors], *, temperature: float
) -> Mapping[str, np.ndarray]:
    """Score segments.

    Parameters
    ----------
    embeddings : ndarray of float32, shape (n_segments, d)
        L2-normalised.
    prompt_vectors : sequence of PromptVectors
        The classes.
    temperature : float
        Divides the cosines before the softmax.

    Returns
    -------
    mapping of str to ndarray of float32, shape (n_segments,)
        In the order of `score_columns`: cosines in [-1, 1]; emotions in [0, 1], which sum to 1
        over the classes of a set.
    """
    scores: dict[str, np.ndarray] = {}
    for prompts in prompt_vectors:
        cosines = embeddings.astype(np.float64) @ prompts.vectors.astype(np.float64).T
        cosines = np.clip(cosines, -1.0, 1.0)
        logits = cosines / temperature
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        for i, column in enumerate(prompts.emotion_columns):
            scores[column] = shares[:, i].astype(np.float32)
        for i, column in enumerate(prompts.cosine_columns):
            scores[column] = cosines[:, i].astype(np.float32)
    return scores
