"""An account of the splits: who was where, and what was fitted where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoclip_clinical.regression.analysis import Estimate
from emoclip_clinical.regression.folds import inner_folds
from emoclip_clinical.regression.models.catalogue import CATALOGUE

CHOSEN_ELSEWHERE = "not known: made elsewhere; for the author to say"
"""What can be said of how features came about that ``extract`` did not make."""
CHOSEN_BY_NAME = "not known: columns chosen by name (feature_columns); for the author to say"
"""What can be said of how columns were chosen that the settings name."""


@dataclass(frozen=True)
class Audit:
    """What was counted in the splits of a cross-validation.

    Attributes
    ----------
    n_outer, n_inner : int
        Splits that were looked at.
    shared_subjects : int
        Subjects on both sides of an outer split, over all of them; 0 unless something is broken.
    shared_subjects_inner : int
        The same of the inner splits.
    rows_predicted_once : bool
        Whether every visit was held out exactly once in every repeat.
    smallest_training, largest_training : int
        Subjects.
    dropped : int
        Subjects left out of a training set to balance it, over all splits.
    fitted : tuple of (str, str)
        Each step, and the rows that it was fitted to, or why that is not known.
    """

    n_outer: int
    n_inner: int
    shared_subjects: int
    shared_subjects_inner: int
    rows_predicted_once: bool
    smallest_training: int
    largest_training: int
    dropped: int
    fitted: tuple[tuple[str, str], ...]


def audit(made: Estimate) -> Audit:
    """Count again, from the record, what the splits of an estimate shared.

    Parameters
    ----------
    made : Estimate
    """
    cv, subjects, config = made.cross_validation, made.design.subjects, made.config
    shared = shared_inner = n_outer = n_inner = dropped = 0
    sizes: list[int] = []
    for repeat, numbers in enumerate(cv.fold):
        for fold in np.unique(numbers):
            train = subjects[numbers != fold]
            shared += len(np.intersect1d(train, subjects[numbers == fold]))
            if cv.dropped is not None:
                train = train[train != cv.dropped[repeat, fold]]
                dropped += 1
            inner = inner_folds(
                train, folds=config.inner_folds, seed=made.seed, repeat=repeat, fold=int(fold)
            )
            for k in np.unique(inner):
                shared_inner += len(np.intersect1d(train[inner == k], train[inner != k]))
                n_inner += 1
            sizes.append(len(np.unique(train)))
            n_outer += 1
    return Audit(
        n_outer=n_outer,
        n_inner=n_inner,
        shared_subjects=shared,
        shared_subjects_inner=shared_inner,
        rows_predicted_once=bool((cv.fold >= 0).all() and np.isfinite(cv.predicted).all()),
        smallest_training=min(sizes),
        largest_training=max(sizes),
        dropped=dropped,
        fitted=_fitted(made),
    )


def _fitted(made: Estimate) -> tuple[tuple[str, str], ...]:
    config, training = made.config, "training rows of each fold"
    info = CATALOGUE[config.model]
    steps = []
    if not info.needs_segments:
        if config.impute == "median":
            steps.append(("medians for missing features", training))
        if config.remove_confounds:
            steps.append((f"removal of {', '.join(config.confounds)}", training))
        steps.append(("mean and SD of the features", training))
    tuned = "training rows" if config.model == "gaussian_process" else "inner folds of them"
    return (
        *steps,
        ("choice of hyper-parameters", f"{training}, {tuned}"),
        (info.title, training),
        ("folds", _who_decides(made)),
        ("choice and pooling of the feature columns", _columns(made)),
    )


def _columns(made: Estimate) -> str:
    # Whoever made a table elsewhere, or named its columns, may have looked at the ratings first.
    if not made.design.source:
        return CHOSEN_ELSEWHERE
    return CHOSEN_BY_NAME if made.config.feature_columns else "no rating: fixed beforehand"


def _who_decides(made: Estimate) -> str:
    sees = {
        "balanced_kfold": "all ratings, anew for every permutation",
        "rebalanced_leave_one_subject_out": "all ratings, anew for every permutation",
        "leave_one_site_out": "the sites",
        "leave_one_subject_out": "nothing",
    }
    return sees.get(made.config.cv, "the seed and the sites" if made.sites else "the seed alone")
