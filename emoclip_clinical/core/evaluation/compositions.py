"""From the settings of a composition to the composition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emoclip_clinical.core.embedder import Embedder
from emoclip_clinical.core.evaluation.composition import (
    Composition,
    ConcatenatedPrompt,
    Mean,
    SimilarityProduct,
    Spherical,
    Weighted,
)
from emoclip_clinical.core.evaluation.config import ComposerConfig, CompositionConfig
from emoclip_clinical.core.evaluation.learned_composition import Learned
from emoclip_clinical.records import PromptSet

TrainingClips = Callable[[], tuple[np.ndarray, list[tuple[str, ...]]]]
"""Gives embeddings (n, d) of training clips and the single classes of each one's label."""


def make_composition(
    config: CompositionConfig,
    *,
    embedder: Embedder,
    prompts: PromptSet,
    training: TrainingClips,
    composer: ComposerConfig,
    seed: int,
) -> Composition:
    """Return the composition that a setting names.

    Parameters
    ----------
    config : CompositionConfig
        Name and weights.
    embedder : Embedder
        The model: its temperature and its text encoder.
    prompts : PromptSet
        Sentences of the single classes.
    training : callable
        Called by `learned` alone, so that no training clip is decoded for the others.
    composer : ComposerConfig
        Of `learned`.
    seed : int
        Of `learned`.
    """
    if config.name == "weighted":
        return Weighted(config.weights)
    if config.name == "slerp":
        return Spherical(config.weights)
    if config.name == "similarity_product":
        return SimilarityProduct(embedder.temperature)
    if config.name == "concatenated_prompt":
        return ConcatenatedPrompt(prompts.classes, embedder.encode_text)
    if config.name == "learned":
        clips, parts = training()
        return Learned(clips, parts, temperature=embedder.temperature, config=composer, seed=seed)
    return Mean()
