"""Several raters of one visit: their mean, the first, or each as a measure of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS
from emoclip_clinical.regression.keyed import RATER
from emoclip_clinical.regression.scoring import RaterRule, Scores


@dataclass(frozen=True)
class CombinedRaters:
    """Ratings with the raters dealt with.

    Attributes
    ----------
    rows : ndarray of int, shape (n_kept,)
        Row of the given keys that stands for each kept rating: the first of its visit.
    values : ndarray of shape (n_kept,)
        Scale points.
    prorated : ndarray of bool, shape (n_kept,)
        Whether any score that went in was prorated.
    items : ndarray of shape (n_kept, n_items)
        Item values, averaged where the scores are.
    per_rater : DataFrame or None
        ``participant_id, session_id, rater_id, value``: each rater's score, in the order of the
        rows; None where no rater is named.
    warnings : tuple of str
    several : bool
        Whether any visit has several raters.
    """

    rows: np.ndarray
    values: np.ndarray
    prorated: np.ndarray
    items: np.ndarray
    per_rater: pd.DataFrame | None
    warnings: tuple[str, ...]
    several: bool = False


def combine_raters(
    keys: pd.DataFrame, scores: Scores, items: np.ndarray, *, rule: RaterRule
) -> CombinedRaters:
    """Make the rows of several raters one row a visit, or keep them apart.

    Parameters
    ----------
    keys : DataFrame of shape (n_rows, 2 or 3)
        ``participant_id``, ``session_id``, and ``rater_id`` where raters are named; the rows of a
        visit stand together, in the order of the file.
    scores : Scores
        Of the same rows, none missing.
    items : ndarray of shape (n_rows, n_items)
    rule : {'mean', 'first', 'repeated'}

    Returns
    -------
    CombinedRaters
    """
    if RATER not in keys:
        rows = np.arange(len(keys))
        return CombinedRaters(rows, scores.values, scores.prorated, items, None, ())
    per_rater = keys.assign(value=scores.values).reset_index(drop=True)
    visit = keys.groupby(list(KEY_COLUMNS), sort=False).ngroup().to_numpy()
    size = np.bincount(visit) if len(visit) else np.zeros(0, dtype=np.int64)
    first = np.unique(visit, return_index=True)[1]
    several = int((size > 1).sum())
    warnings = (_told(several, rule, uneven=len(set(size.tolist())) > 1),) if several else ()
    if rule == "repeated":
        rows = np.arange(len(keys))
        return CombinedRaters(
            rows, scores.values, scores.prorated, items, per_rater, warnings, several > 0
        )
    if rule == "first":
        return CombinedRaters(
            first,
            scores.values[first],
            scores.prorated[first],
            items[first],
            per_rater,
            warnings,
            several > 0,
        )
    return CombinedRaters(
        rows=first,
        values=np.bincount(visit, weights=scores.values) / size,
        prorated=np.bincount(visit, weights=scores.prorated) > 0,
        items=_item_means(items, visit, len(size)),
        per_rater=per_rater,
        warnings=warnings,
        several=several > 0,
    )


@dataclass(frozen=True)
class RatersByRow:
    """Who rated what, by the rows of an analysis.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_raters)
        Each rater's own score of the row's visit, NaN where there is none; raters in the order of
        their names.
    shares : ndarray of shape (n_rows, n_raters)
        Share of each rater in the row's rating; each row sums to 1.
    names : tuple of str, length n_raters
    """

    values: np.ndarray
    shares: np.ndarray
    names: tuple[str, ...]


def raters_by_row(
    per_rater: pd.DataFrame,
    *,
    keys: pd.DataFrame,
    rule: RaterRule,
    rater_ids: Sequence[str] | None,
) -> RatersByRow:
    """Lay out the raters' own scores beside the rows that were made of them.

    Parameters
    ----------
    per_rater : DataFrame
        See `CombinedRaters`; the raters of a visit in the order in which the rule met them.
    keys : DataFrame of shape (n_rows, 2)
        Visit of each row.
    rule : {'mean', 'first', 'repeated'}
        How the rows' ratings were made.
    rater_ids : sequence of str, length n_rows, or None
        Whose rating each row is, for ``repeated``.
    """
    visit = list(KEY_COLUMNS)
    wide = per_rater.pivot_table(index=visit, columns=RATER, values="value", aggfunc="mean")
    names = wide.columns.to_numpy(dtype=object)
    rows = pd.MultiIndex.from_frame(keys[visit])
    values = wide.reindex(rows).to_numpy(dtype=np.float64)
    if rater_ids is not None:
        rated_by = np.array(rater_ids, dtype=object)
    elif rule == "first":
        first = per_rater[~per_rater.duplicated(visit)].set_index(visit)[RATER]
        rated_by = first.reindex(rows).to_numpy(dtype=object)
    else:
        there = np.isfinite(values)
        return RatersByRow(values, there / there.sum(axis=1, keepdims=True), tuple(names))
    shares = (rated_by[:, np.newaxis] == names).astype(np.float64)
    return RatersByRow(values, shares, tuple(names))


def _item_means(items: np.ndarray, visit: np.ndarray, n_visits: int) -> np.ndarray:
    """Average items over raters; NaN where no rater has the item."""
    there = ~np.isnan(items)
    total, count = np.zeros((2, n_visits, items.shape[1]))
    np.add.at(total, visit, np.where(there, items, 0.0))
    np.add.at(count, visit, there)
    means = np.full(total.shape, np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def _told(several: int, rule: RaterRule, *, uneven: bool) -> str:
    did = {
        "mean": "their mean is the rating",
        "first": "the one who stands first in the file counts",
        "repeated": "each is a measure of its own",
    }[rule]
    visits = "1 visit was" if several == 1 else f"{several} visits were"
    more = "; not every visit has the same number of raters" if uneven else ""
    return f"{visits} rated by several raters: {did}{more}"
