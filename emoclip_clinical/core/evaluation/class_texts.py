"""The text side of an evaluation: vectors of the single classes, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emoclip_clinical.core.embedder import Embedder
from emoclip_clinical.records import PromptSet


@dataclass(frozen=True)
class ClassTexts:
    """Single classes with their vectors, and compounds by their components.

    Attributes
    ----------
    singles : tuple of str
        Names of the single classes.
    vectors : float ndarray of shape (n_singles, d)
        Their text embeddings, L2-normalised.
    compounds : mapping of str to tuple of str
        Compound classes, each with the names of its components.
    """

    singles: tuple[str, ...]
    vectors: np.ndarray
    compounds: Mapping[str, tuple[str, ...]]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes: the single ones, then the compounds."""
        return (*self.singles, *self.compounds)

    @property
    def components(self) -> tuple[tuple[str, ...], ...]:
        """The single classes that each class is made of."""
        return (*((single,) for single in self.singles), *self.compounds.values())

    @cached_property
    def membership(self) -> np.ndarray:
        """Whether a class (row) holds a single class (column); bool (n_classes, n_singles)."""
        return np.array([[s in parts for s in self.singles] for parts in self.components])


def class_texts(
    embedder: Embedder, prompts: PromptSet, *, compounds: Mapping[str, tuple[str, ...]]
) -> ClassTexts:
    """Encode the single classes of a prompt set.

    Parameters
    ----------
    embedder : Embedder
        The model.
    prompts : PromptSet
        Class descriptions; its own compounds are not looked at.
    compounds : mapping of str to tuple of str
        Compound classes and their components, which are single classes of the set.

    Returns
    -------
    ClassTexts
    """
    vectors, _ = embedder.encode_prompts(prompts)
    return ClassTexts(tuple(prompts.classes), vectors, dict(compounds))
