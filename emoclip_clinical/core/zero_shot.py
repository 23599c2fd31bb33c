"""Zero-shot classification of labelled clips, with an interval over people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emoclip_clinical.core.clip_reading import Sampling
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.embedder import Embedder, pad_sequences
from emoclip_clinical.core.training_data import ClipFrames
from emoclip_clinical.records import InputError, Progress, PromptSet, no_progress


@dataclass(frozen=True)
class ZeroShot:
    """Labels and predictions of clips that a model was never trained on.

    Attributes
    ----------
    classes : tuple of str
        Names, in the order of the scores.
    observed, predicted : int ndarray of shape (n_clips,)
        Positions in `classes`.
    groups : tuple of str
        The person in each clip; the clip's own place where unknown.
    """

    classes: tuple[str, ...]
    observed: np.ndarray
    predicted: np.ndarray
    groups: tuple[str, ...]

    @property
    def chance(self) -> float:
        """UAR of a blind guess: 1 / number of classes that occur."""
        return 1.0 / len(np.unique(self.observed))

    @property
    def uar(self) -> float:
        """Unweighted average recall over the classes that occur, in [0, 1]."""
        return _uar(self.observed, self.predicted, np.ones(len(self.observed)))

    @property
    def war(self) -> float:
        """Weighted average recall (accuracy), in [0, 1]."""
        return float(np.mean(self.observed == self.predicted))

    def recalls(self) -> dict[str, float]:
        """Recall of each class that occurs."""
        return {
            self.classes[k]: float(np.mean(self.predicted[self.observed == k] == k))
            for k in np.unique(self.observed)
        }

    def uar_interval(
        self, *, seed: int, n_resamples: int = 2000, confidence: float = 0.95
    ) -> tuple[float, float]:
        """Percentile bootstrap interval of the UAR over groups (people), not over clips.

        Parameters
        ----------
        seed : int
            Of the resamples.
        n_resamples : int
            Bootstrap samples of groups.
        confidence : float
            In (0, 1).

        Returns
        -------
        low, high : float
        """
        rng = np.random.default_rng(seed)
        names, group = np.unique(np.asarray(self.groups), return_inverse=True)
        values = []
        for _ in range(n_resamples):
            drawn = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
            values.append(_uar(self.observed, self.predicted, drawn[group].astype(float)))
        tail = (1 - confidence) / 2
        low, high = np.nanquantile(values, [tail, 1 - tail])
        return float(low), float(high)


def _uar(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float:
    totals = np.bincount(observed, weights=weight)
    hits = np.bincount(observed, weights=weight * (observed == predicted), minlength=len(totals))
    present = totals > 0
    return float(np.mean(hits[present] / totals[present]))


def classify(
    embedder: Embedder,
    clips: Sequence[Clip],
    prompts: PromptSet,
    *,
    progress: Progress = no_progress,
) -> ZeroShot:
    """Give each clip the single class whose text is nearest to it.

    Clips whose label is not one of the set's single classes (compounds, for example) are left
    out.

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
    ZeroShot

    Raises
    ------
    InputError
        If no clip has a label of the prompt set, or a clip can not be read.
    """
    classes = tuple(prompts.classes)
    known = [c for c in clips if c.label in classes]
    if not known:
        raise InputError(
            f"no clip has a label of prompt set {prompts.name!r}: wanted one of "
            f"{', '.join(classes)}, got {', '.join(sorted({c.label for c in clips})) or 'no clip'}"
        )
    texts, _ = embedder.encode_prompts(prompts)
    sampling = Sampling(embedder.sample_fps, embedder.frames_per_clip, embedder.image_size_pixels)
    frames = ClipFrames(known, sampling=sampling, memory_megabytes=0)
    predicted = np.empty(len(known), dtype=np.int64)
    for start in range(0, len(known), 64):
        rows = range(start, min(start + 64, len(known)))
        vectors = [embedder.encode_prepared(f) for f in frames.get(rows)]
        embeddings = embedder.encode_sequences(*pad_sequences(vectors))
        predicted[rows.start : rows.stop] = np.argmax(embeddings @ texts.T, axis=1)
        progress("evaluate", rows.stop, len(known))
    return ZeroShot(
        classes=classes,
        observed=np.array([classes.index(c.label) for c in known]),
        predicted=predicted,
        groups=tuple(c.group or str(c.path) for c in known),
    )
