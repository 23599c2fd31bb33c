"""Clips of classes that a vocabulary lacks, and whether they are called none of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.evaluation import metrics
from emoclip_clinical.core.evaluation.class_texts import ClassTexts
from emoclip_clinical.core.evaluation.clip_embeddings import ClipEmbeddings
from emoclip_clinical.core.evaluation.predictions import Predictions
from emoclip_clinical.records import InputError, Progress, no_progress

NONE_OF_THESE = "none_of_these"


@dataclass(frozen=True)
class Detector:
    """How sure a model is that a clip shows one of the known classes.

    Attributes
    ----------
    score : str
        `cosine`: the highest cosine; `softmax`: the highest share of a softmax over them.
    temperature : float
        Of the softmax.
    known_kept : float
        Share of the known validation clips that the threshold lets through.
    """

    score: str
    temperature: float
    known_kept: float

    def scores(self, vectors: np.ndarray, texts: ClassTexts) -> np.ndarray:
        """Score clips (n, d) against the known classes as (n, n_singles)."""
        cosines = vectors.astype(np.float64) @ texts.vectors.astype(np.float64).T
        if self.score == "cosine":
            return cosines
        logits = (cosines - cosines.max(axis=1, keepdims=True)) / self.temperature
        shares = np.exp(logits)
        out: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
        return out

    def threshold(self, validation_scores: np.ndarray) -> float | None:
        """Return the score that `known_kept` of the known validation clips reach.

        No clip of an unknown class is looked at, for such clips are not to be had in use.

        Parameters
        ----------
        validation_scores : ndarray of shape (n, n_singles)
            Of validation clips of known classes.

        Returns
        -------
        float or None
            None where there is no such clip.
        """
        if not len(validation_scores):
            return None
        confidence = validation_scores.max(axis=1)
        return float(np.quantile(confidence, 1 - self.known_kept, method="lower"))


def detect(
    test: Sequence[Clip],
    validation: Sequence[Clip],
    texts: ClassTexts,
    embeddings: ClipEmbeddings,
    *,
    unknown: Sequence[str],
    detector: Detector,
    progress: Progress = no_progress,
) -> Predictions:
    """Classify clips among the known classes and `none_of_these`.

    Parameters
    ----------
    test : sequence of Clip
        Judged; those that are neither of a known class nor of an unknown one are left out.
    validation : sequence of Clip
        Those of known classes choose the threshold.
    texts : ClassTexts
        The known single classes.
    embeddings : ClipEmbeddings
        Of the model whose texts these are.
    unknown : sequence of str
        Labels that count as unknown; empty: every label that is not a known class.
    detector : Detector
        The score and the rule of the threshold.
    progress : callable
        Called with (`evaluate`, clips done, clips in all).

    Returns
    -------
    Predictions
        Its last class is `none_of_these`, whose score is the threshold, the same for every clip;
        minus infinity where no validation clip could choose one.

    Raises
    ------
    InputError
        If there is no test clip of a known class, or none of an unknown one.
    """
    names = texts.singles
    judged = [
        (row, names.index(clip.label) if clip.label in names else len(names))
        for row, clip in enumerate(test)
        if clip.label in names or (clip.label in unknown if unknown else clip.label)
    ]
    kinds = {place < len(names) for _, place in judged}
    if faults := [
        f"out_of_vocabulary needs test clips of {what}, got none"
        for kind, what in ((True, "a known class"), (False, "an unknown class"))
        if kind not in kinds
    ]:
        raise InputError(faults)
    held = [c for c in validation if c.label in names]
    threshold = detector.threshold(
        detector.scores(embeddings.get(held, progress=progress), texts)
        if held
        else np.empty((0, 1))
    )
    vectors = embeddings.get([test[row] for row, _ in judged], progress=progress)
    none = np.full((len(judged), 1), -np.inf if threshold is None else threshold)
    return Predictions(
        classes=(*names, NONE_OF_THESE),
        observed=np.array([place for _, place in judged]),
        scores=np.concatenate([detector.scores(vectors, texts), none], axis=1),
        groups=tuple(test[row].group for row, _ in judged),
        clips=np.array([row for row, _ in judged]),
        folds=("",) * len(judged),
        components=tuple((name,) for name in (*names, NONE_OF_THESE)),
    )


@dataclass(frozen=True)
class Detection:
    """How well known and unknown clips are told apart.

    Attributes
    ----------
    auroc : float
        Of the highest known score, known against unknown; no threshold plays a part.
    known_kept : float
        Share of the known clips that are not called none of these.
    unknown_found : float
        Share of the unknown clips that are.
    """

    auroc: float
    known_kept: float
    unknown_found: float


def detection(predictions: Predictions, *, weight: np.ndarray | None = None) -> Detection:
    """Derive the figures of detection from predictions that `detect` made.

    Parameters
    ----------
    predictions : Predictions
        With `none_of_these` as the last class.
    weight : ndarray of shape (n_clips,), optional
        How often each clip counts.

    Returns
    -------
    Detection
        NaN for what a resample leaves undefined.
    """
    weight = np.ones(len(predictions.observed)) if weight is None else weight
    last = len(predictions.classes) - 1
    known = predictions.observed != last
    kept = predictions.predicted != last
    confidence = predictions.scores[:, :last].max(axis=1)
    return Detection(
        auroc=metrics.auc(known, metrics.dense_ranks(confidence), weight),
        known_kept=_share(kept, weight * known),
        unknown_found=_share(~kept, weight * ~known),
    )


def _share(hit: np.ndarray, weight: np.ndarray) -> float:
    total = weight.sum()
    return float((weight * hit).sum() / total) if total > 0 else float("nan")
