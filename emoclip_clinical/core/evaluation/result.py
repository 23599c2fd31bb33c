"""The result of an evaluation: the predictions of each variant, and the figures they give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from emoclip_clinical.core.evaluation.bootstrap import (
    Interval,
    bootstrap_values,
    percentile_interval,
)
from emoclip_clinical.core.evaluation.config import BootstrapConfig, PublishedConfig
from emoclip_clinical.core.evaluation.held_out_classes import uar_per_run_as_published
from emoclip_clinical.core.evaluation.out_of_vocabulary import detection
from emoclip_clinical.core.evaluation.predictions import Predictions

SINGLE_LABEL = ("uar", "war", "macro_f1")
MULTIPLE_LABEL = (*SINGLE_LABEL, "macro_auc", "component_auc")


@dataclass(frozen=True)
class Variant:
    """One way of classifying the same clips: a prompt set, a composition.

    Attributes
    ----------
    name : str
        `<prompt set>` or `<prompt set>/<composition>`.
    predictions : Predictions
        Of all folds.
    details : mapping
        What was chosen on the way (a threshold, a regularisation), by fold.
    """

    name: str
    predictions: Predictions
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes
    ----------
    task : str
        Name of the task.
    variants : tuple of Variant
        At least one; the first is the reference of the differences.
    bootstrap : BootstrapConfig
        How intervals are made.
    seed : int
        Of the bootstrap.
    published : PublishedConfig or None
        A result to show beside ours, for the first variant.
    faithful : bool
        Whether the official per-run UAR of leave_one_class_out is given too.
    source : mapping
        What the predictions were made of: hashes of models, names of prompt sets.
    warnings : tuple of str
        What the user should know.
    """

    task: str
    variants: tuple[Variant, ...]
    bootstrap: BootstrapConfig
    seed: int
    published: PublishedConfig | None = None
    faithful: bool = False
    source: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def figure_names(self) -> tuple[str, ...]:
        """Figures that belong to the task."""
        return MULTIPLE_LABEL if self.task == "compound" else SINGLE_LABEL

    def intervals(self, predictions: Predictions) -> dict[str, Interval | None]:
        """Return the bootstrap interval of each of the task's figures."""
        return predictions.intervals(
            self.figure_names,
            seed=self.seed,
            n_resamples=self.bootstrap.resamples,
            confidence=self.bootstrap.confidence,
        )


@dataclass(frozen=True)
class Difference:
    """How one variant's UAR differs from the reference's on the same clips.

    Attributes
    ----------
    variant, reference : str
        Names.
    difference : float
        UAR of the variant minus that of the reference.
    interval : Interval or None
        Of the difference, with both on the same resamples.
    """

    variant: str
    reference: str
    difference: float
    interval: Interval | None


def differences(evaluation: Evaluation) -> tuple[Difference, ...]:
    """Compare each variant with the first, on paired resamples of people.

    Variants that were judged on other clips or classes than the first are passed over.
    """
    first, *others = evaluation.variants
    return tuple(
        _difference(evaluation, first, other)
        for other in others
        if _same_clips(first.predictions, other.predictions)
    )


def _same_clips(one: Predictions, other: Predictions) -> bool:
    def judged(p: Predictions) -> list[tuple[str, int, str]]:
        rows = zip(p.folds, p.clips.tolist(), p.observed, strict=True)
        return [(fold, clip, p.classes[observed]) for fold, clip, observed in rows]

    return judged(one) == judged(other)


def _difference(evaluation: Evaluation, first: Variant, other: Variant) -> Difference:
    a, b = first.predictions, other.predictions

    def statistic(weight: np.ndarray) -> list[float]:
        return [b.figures(("uar",), weight=weight)[0] - a.figures(("uar",), weight=weight)[0]]

    interval = None
    if evaluation.bootstrap.resamples and len(set(a.units)) > 1:
        values = bootstrap_values(
            statistic,
            units=a.units,
            n_resamples=evaluation.bootstrap.resamples,
            seed=evaluation.seed,
        )
        interval = percentile_interval(values[:, 0], confidence=evaluation.bootstrap.confidence)
    return Difference(other.name, first.name, b.uar - a.uar, interval)


def metrics_record(evaluation: Evaluation) -> dict[str, object]:
    """Return the content of ``metrics.json``; what is not defined is None."""
    published = evaluation.published
    return {
        "task": evaluation.task,
        "variants": [_variant_record(evaluation, v) for v in evaluation.variants],
        "differences": [
            {
                "variant": d.variant,
                "reference": d.reference,
                "uar": d.difference,
                **_ends(d.interval),
            }
            for d in differences(evaluation)
        ],
        "published": None if published is None else published.model_dump(),
        "bootstrap": {**evaluation.bootstrap.model_dump(), "seed": evaluation.seed},
        "source": dict(evaluation.source),
        "warnings": list(evaluation.warnings),
    }


def _variant_record(evaluation: Evaluation, variant: Variant) -> dict[str, object]:
    pooled = variant.predictions
    names = evaluation.figure_names
    intervals = evaluation.intervals(pooled)
    folds = pooled.by_fold()
    by_fold = {fold: _numbers(names, p.figures(names)) for fold, p in folds.items()}
    record: dict[str, object] = {
        "variant": variant.name,
        "n_clips": len(pooled.observed),
        "n_people": len(set(pooled.groups) - {""}) or None,
        "chance": pooled.chance,
        "pooled": {
            name: {"value": value, **_ends(intervals[name])}
            for name, value in _numbers(names, pooled.figures(names)).items()
        },
        "fold_mean": {name: _mean([f[name] for f in by_fold.values()]) for name in names},
        "folds": [
            {"fold": fold, "n_clips": len(p.observed), **by_fold[fold], "recalls": p.recalls()}
            for fold, p in folds.items()
        ],
        "recalls": pooled.recalls(),
        "details": dict(variant.details),
    }
    if evaluation.task == "out_of_vocabulary":
        record["detection"] = _detection_record(evaluation, pooled)
    if evaluation.task == "leave_one_class_out" and evaluation.faithful:
        record["uar_per_run_as_published"] = uar_per_run_as_published(pooled)
    return record


def _detection_record(evaluation: Evaluation, predictions: Predictions) -> dict[str, object]:
    found = detection(predictions)
    interval = None
    if evaluation.bootstrap.resamples and len(set(predictions.units)) > 1:
        values = bootstrap_values(
            lambda weight: [detection(predictions, weight=weight).auroc],
            units=predictions.units,
            n_resamples=evaluation.bootstrap.resamples,
            seed=evaluation.seed,
        )
        interval = percentile_interval(values[:, 0], confidence=evaluation.bootstrap.confidence)
    return {
        "auroc": {"value": _number(found.auroc), **_ends(interval)},
        "known_kept": _number(found.known_kept),
        "unknown_found": _number(found.unknown_found),
    }


def _ends(interval: Interval | None) -> dict[str, float | None]:
    return {
        "ci_low": interval.low if interval else None,
        "ci_high": interval.high if interval else None,
    }


def _numbers(names: tuple[str, ...], values: list[float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(names, values, strict=True)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _mean(values: list[float | None]) -> float | None:
    defined = [v for v in values if v is not None]
    return float(np.mean(defined)) if defined else None
