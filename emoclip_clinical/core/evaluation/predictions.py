"""Scores of labelled clips: the record that every figure of an evaluation is derived from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from emoclip_clinical.core.evaluation import metrics
from emoclip_clinical.core.evaluation.bootstrap import (
    Interval,
    bootstrap_values,
    percentile_interval,
)

FIGURES = ("uar", "war", "macro_f1", "macro_auc", "component_auc")


@dataclass(frozen=True)
class Predictions:
    """Labels and scores of clips that a model was not trained on.

    Attributes
    ----------
    classes : tuple of str
        Names, in the order of the scores.
    observed : int ndarray of shape (n_clips,)
        Positions in `classes`.
    scores : float ndarray of shape (n_clips, n_classes)
        Higher is nearer; the highest is the prediction.
    groups : tuple of str
        The person in each clip; empty where unknown.
    clips : int ndarray of shape (n_clips,)
        Position of each clip in its source, from 0: the only name under which it is written.
    folds : tuple of str
        The test fold (or held-out class) of each clip; empty where the source has none.
    components : tuple of tuple of str
        The single classes that each class is made of; a single class is made of itself.
    """

    classes: tuple[str, ...]
    observed: np.ndarray
    scores: np.ndarray
    groups: tuple[str, ...]
    clips: np.ndarray
    folds: tuple[str, ...]
    components: tuple[tuple[str, ...], ...]

    @cached_property
    def predicted(self) -> np.ndarray:
        """Class with the highest score, int of shape (n_clips,)."""
        out: np.ndarray = np.argmax(self.scores, axis=1)
        return out

    @cached_property
    def confusion(self) -> np.ndarray:
        """Counts by observed (row) and predicted (column) class."""
        return metrics.confusion_matrix(self.observed, self.predicted, n_classes=len(self.classes))

    @property
    def chance(self) -> float:
        """UAR of a constant guess: 1 / number of classes that occur."""
        return 1.0 / len(np.unique(self.observed))

    @property
    def uar(self) -> float:
        """Unweighted average recall over the classes that occur, in [0, 1]."""
        return metrics.uar(self.confusion)

    @property
    def war(self) -> float:
        """Weighted average recall (accuracy), in [0, 1]."""
        return metrics.war(self.confusion)

    def recalls(self) -> dict[str, float]:
        """Recall of each class that occurs."""
        found = metrics.recalls(self.confusion)
        return {c: float(r) for c, r in zip(self.classes, found, strict=True) if not np.isnan(r)}

    @property
    def units(self) -> tuple[str, ...]:
        """What the bootstrap draws: the person, or the clip itself where that is unknown."""
        return tuple(
            group or f"clip {fold}/{clip}"
            for group, fold, clip in zip(self.groups, self.folds, self.clips, strict=True)
        )

    def figures(
        self, names: Sequence[str] = FIGURES, *, weight: np.ndarray | None = None
    ) -> list[float]:
        """Return figures by name, NaN where one is not defined.

        Parameters
        ----------
        names : sequence of str
            Of `FIGURES`: `uar`, `war` and `macro_f1` of the predictions; `macro_auc` of the
            scores, each class against the rest; `component_auc`, the macro AUC of clips with
            several labels: each single class's score against whether it is among the clip's.
        weight : ndarray of shape (n_clips,), optional
            How often each clip counts.
        """
        matrix = metrics.confusion_matrix(
            self.observed, self.predicted, n_classes=len(self.classes), weight=weight
        )
        found = []
        for name in names:
            if name == "macro_auc":
                ranks = self._ranks
                found.append(metrics.macro_auc(self._one_hot, ranks, weight))
            elif name == "component_auc":
                ranks = self._ranks[:, self._singles]
                found.append(metrics.macro_auc(self._membership, ranks, weight))
            else:
                found.append(getattr(metrics, name)(matrix))
        return found

    def intervals(
        self, names: Sequence[str], *, seed: int, n_resamples: int, confidence: float
    ) -> dict[str, Interval | None]:
        """Bootstrap intervals of figures over people (over clips where people are unknown).

        Parameters
        ----------
        names : sequence of str
            Of `FIGURES`.
        seed : int
            Of the resamples.
        n_resamples : int
            0 gives no interval.
        confidence : float
            In (0, 1).

        Returns
        -------
        mapping of str to Interval or None
            None where the figure is not defined, or fewer than two people can be drawn.
        """
        if n_resamples == 0 or len(set(self.units)) < 2:
            return dict.fromkeys(names)
        values = bootstrap_values(
            lambda weight: self.figures(names, weight=weight),
            units=self.units,
            n_resamples=n_resamples,
            seed=seed,
        )
        return {
            name: percentile_interval(values[:, i], confidence=confidence)
            for i, name in enumerate(names)
        }

    def with_fold(self, fold: str) -> Predictions:
        """Return the same with every clip in one named fold."""
        return replace(self, folds=(fold,) * len(self.observed))

    def by_fold(self) -> dict[str, Predictions]:
        """Return the predictions of each fold, in the order in which the folds first occur."""
        names = dict.fromkeys(self.folds)
        return {
            name: self.select(np.array([fold == name for fold in self.folds])) for name in names
        }

    def select(self, rows: np.ndarray) -> Predictions:
        """Return the predictions of some clips; `rows` is bool of shape (n_clips,)."""
        kept = np.flatnonzero(rows)
        return replace(
            self,
            observed=self.observed[kept],
            scores=self.scores[kept],
            groups=tuple(self.groups[i] for i in kept),
            clips=self.clips[kept],
            folds=tuple(self.folds[i] for i in kept),
        )

    @cached_property
    def _ranks(self) -> np.ndarray:
        return np.stack([metrics.dense_ranks(column) for column in self.scores.T], axis=1)

    @cached_property
    def _one_hot(self) -> np.ndarray:
        out: np.ndarray = np.eye(len(self.classes), dtype=bool)[self.observed]
        return out

    @cached_property
    def _singles(self) -> np.ndarray:
        return np.array(
            [i for i, parts in enumerate(self.components) if len(parts) == 1], dtype=np.int64
        )

    @cached_property
    def _membership(self) -> np.ndarray:
        by_class = np.array(
            [
                [self.classes[single] in parts for single in self._singles]
                for parts in self.components
            ],
            dtype=bool,
        )
        out: np.ndarray = by_class[self.observed]
        return out


def pool(parts: Sequence[Predictions]) -> Predictions:
    """Put the predictions of several folds, of the same classes, into one record."""
    first = parts[0]
    assert all(part.classes == first.classes for part in parts)
    return replace(
        first,
        observed=np.concatenate([p.observed for p in parts]),
        scores=np.concatenate([p.scores for p in parts]),
        groups=tuple(g for p in parts for g in p.groups),
        clips=np.concatenate([p.clips for p in parts]),
        folds=tuple(f for p in parts for f in p.folds),
    )
