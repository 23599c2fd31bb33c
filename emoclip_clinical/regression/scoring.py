"""From items to scores, row by row: sums and means of complete items, prorated by choice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from emoclip_clinical.regression.targets import Target

RaterRule = Literal["mean", "first", "repeated"]
MissingRule = Literal["complete", "prorate"]


@dataclass(frozen=True)
class RatingRules:
    """How several raters and missing items are dealt with.

    Attributes
    ----------
    raters : {'mean', 'first', 'repeated'}
        A visit's rating is the mean over its raters, that of the rater who stands first in the
        file, or one row for each rater.
    missing_items : {'complete', 'prorate'}
        A score is made of complete items only, or of the mean of those that are there where the
        scale's share of them is reached. A single item is never filled in.
    """

    raters: RaterRule = "mean"
    missing_items: MissingRule = "complete"


@dataclass(frozen=True)
class Scores:
    """Scores of rows of ratings.

    Attributes
    ----------
    values : ndarray of shape (n_rows,)
        Scale points; NaN where there is no score.
    prorated : ndarray of bool, shape (n_rows,)
        Whether a missing item was replaced by the mean of the others.
    """

    values: np.ndarray
    prorated: np.ndarray


def score_rows(target: Target, items: np.ndarray, *, missing_items: MissingRule) -> Scores:
    """Score each row of items.

    With k items of which m are there, a prorated sum is k / m times their sum (person mean); the
    items that a difference subtracts are prorated apart.

    Parameters
    ----------
    target : Target
        What is added, subtracted or averaged.
    items : ndarray of shape (n_rows, n_items)
        In the order of ``target.items``; NaN where an item is missing.
    missing_items : {'complete', 'prorate'}

    Returns
    -------
    Scores
    """
    subtracted = np.array([item in target.minus for item in target.items], dtype=bool)
    parts = [items[:, ~subtracted]]
    if subtracted.any():
        parts.append(items[:, subtracted])
    may_prorate = missing_items == "prorate" and target.scale is not None and len(target.items) > 1
    share = target.scale.prorate_minimum_share if may_prorate and target.scale else 1.0
    sums = [_person_sum(part, minimum_share=share) for part in parts]
    values = sums[0] - sums[1] if subtracted.any() else sums[0]
    if target.score == "mean":
        values = values / len(target.items)
    return Scores(values, np.isnan(items).any(axis=1) & ~np.isnan(values))


def _person_sum(items: np.ndarray, *, minimum_share: float) -> np.ndarray:
    k = items.shape[1]
    there = (~np.isnan(items)).sum(axis=1)
    # The small number keeps 0.8 * 5 from asking for five items.
    enough = (there >= max(1, math.ceil(minimum_share * k - 1e-9))) & (there > 0)
    total = np.nansum(items, axis=1)
    prorated = np.full(len(items), np.nan)
    np.divide(total * k, there, out=prorated, where=enough)
    return np.where(there == k, total, prorated)
