"""Segments that move a visit's estimate: how it changes when one of them is left out.

The models are those of the cross-validation, and of them only those in whose folds the visit was
held out, so that no model judges a visit that it was fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emoclip_clinical.records import CrossValidation, InputError
from emoclip_clinical.regression.models.base import Predictor


def segment_influence(
    cv: CrossValidation,
    *,
    predictors: Sequence[Predictor],
    row: int,
    whole: np.ndarray,
    without: np.ndarray,
) -> np.ndarray:
    """Return how much each segment of a visit moves its out-of-fold estimate.

    Parameters
    ----------
    cv : CrossValidation
        Its folds say which models have not seen the visit.
    predictors : sequence of callable
        The model of each repeat and fold, in the order of `cv.chosen`.
    row : int
        The visit's row in `cv`.
    whole : ndarray of shape (n_features,)
        Its features.
    without : ndarray of shape (n_segments, n_features)
        The same without each of its segments.

    Returns
    -------
    ndarray of shape (n_segments,)
        The estimate with the segment less the estimate without it, in scale points, each the mean
        over repeats; above 0 where the segment raises the estimate. NaN where a feature that the
        visit has is not defined without the segment.

    Raises
    ------
    InputError
        If models, folds and features do not fit together.
    """
    repeats = len(cv.fold)
    if len(predictors) != len(cv.chosen) or len(predictors) % repeats:
        raise InputError(f"{len(cv.chosen)} folds need as many models, got {len(predictors)}")
    if without.ndim != 2 or without.shape[1:] != whole.shape:
        raise InputError(
            f"features without a segment must have shape (n, {len(whole)}), got {without.shape}"
        )
    folds = len(predictors) // repeats
    both = np.concatenate([whole[np.newaxis], without])
    change = np.zeros(len(without))
    for repeat, fold in enumerate(cv.fold[:, row].tolist()):
        estimates = predictors[repeat * folds + fold](both)
        change += (estimates[0] - estimates[1:]) / repeats
    lost = np.isnan(without) & ~np.isnan(whole)
    return np.where(lost.any(axis=1), np.nan, change)
