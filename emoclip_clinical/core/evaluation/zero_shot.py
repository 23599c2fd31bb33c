"""Zero-shot classification: each clip gets the class whose text is nearest to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.embedder import Embedder
from emoclip_clinical.core.evaluation.class_texts import ClassTexts, class_texts
from emoclip_clinical.core.evaluation.clip_embeddings import ClipEmbeddings
from emoclip_clinical.core.evaluation.composition import Composition, Mean
from emoclip_clinical.core.evaluation.labels import parts_of
from emoclip_clinical.core.evaluation.predictions import Predictions
from emoclip_clinical.records import InputError, Progress, PromptSet, no_progress


def classify(
    embedder: Embedder,
    clips: Sequence[Clip],
    prompts: PromptSet,
    *,
    progress: Progress = no_progress,
) -> Predictions:
    """Classify labelled clips among the single classes of a prompt set.

    Clips whose label is not one of them (compounds, for example) are left out, and not decoded.

    Parameters
    ----------
    embedder : Embedder
        The model.
    clips : sequence of Clip
        Labelled clips that it was not trained on.
    prompts : PromptSet
        Class descriptions.
    progress : callable
        Called with (`evaluate`, clips done, clips in all).

    Returns
    -------
    Predictions

    Raises
    ------
    InputError
        If no clip has a label of the prompt set, or a clip can not be read.
    """
    texts = class_texts(embedder, prompts, compounds={})
    return score(clips, texts, ClipEmbeddings(embedder), progress=progress)


def score(
    clips: Sequence[Clip],
    texts: ClassTexts,
    embeddings: ClipEmbeddings,
    *,
    composition: Composition | None = None,
    progress: Progress = no_progress,
) -> Predictions:
    """Score labelled clips against single and compound classes.

    Parameters
    ----------
    clips : sequence of Clip
        Those whose label is none of the classes are left out, and not decoded.
    texts : ClassTexts
        The classes.
    embeddings : ClipEmbeddings
        Of the model whose texts these are.
    composition : Composition, optional
        How compounds are represented; the mean by default.
    progress : callable
        Called with (`evaluate`, clips done, clips in all).

    Returns
    -------
    Predictions

    Raises
    ------
    InputError
        If no clip has a label of the classes, or a clip can not be read.
    """
    place = {frozenset(parts): i for i, parts in enumerate(texts.components)}
    observed = {
        row: place[frozenset(parts)]
        for row, clip in enumerate(clips)
        if (parts := parts_of(clip.label, texts.singles)) and frozenset(parts) in place
    }
    if not observed:
        raise InputError(
            f"no clip has a label of the prompt set: wanted one of {', '.join(texts.classes)}, "
            f"got {', '.join(sorted({c.label or '(none)' for c in clips})) or 'no clip'}"
        )
    vectors = embeddings.get([clips[row] for row in observed], progress=progress)
    return Predictions(
        classes=texts.classes,
        observed=np.array(list(observed.values())),
        scores=(composition or Mean()).scores(vectors, texts),
        groups=tuple(clips[row].group for row in observed),
        clips=np.array(list(observed)),
        folds=("",) * len(observed),
        components=texts.components,
    )
