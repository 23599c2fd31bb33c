"""Joining features and ratings: the rows of an analysis, and the account of who is not in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS, FeatureTable, InputError, InterviewKey, Ratings
from emoclip_clinical.regression.flow import NOT_SELECTED_STAGE, flow_table
from emoclip_clinical.regression.ratings import NOT_SELECTED
from emoclip_clinical.regression.spellings import spelled_otherwise

LEAKING_CORRELATION = 0.999
"""|r| above which a feature is taken for the rating itself."""
LEAKING_MINIMUM_ROWS = 10
"""Fewer rows than this can reach that correlation by chance."""


@dataclass(frozen=True)
class Design:
    """What a model is fitted to: one row a visit, sorted by participant and session.

    Attributes
    ----------
    target : str
        Name of the rated target.
    items : tuple of str
        Columns whose sum the target is.
    minimum, maximum : float or None
        The target's range in scale points, where a scale is known.
    keys : DataFrame of shape (n_visits, 2)
        ``participant_id`` and ``session_id``.
    feature_names : tuple of str
        Names of the columns of `X`.
    X : ndarray of shape (n_visits, n_features)
        Features; NaN only where missing values are filled in inside the folds.
    y : ndarray of shape (n_visits,)
        Ratings in scale points.
    subjects : ndarray of int, shape (n_visits,)
        Number of the row's subject, from 0, in the order of ``participant_id``.
    weights : ndarray of shape (n_visits,)
        1 / number of visits of the row's subject.
    covariates : DataFrame of shape (n_visits, n_covariates)
        Other columns of the ratings.
    excluded : DataFrame
        ``participant_id, session_id, stage, reason``: visits known to either side that are not in
        the analysis. `stage` is ``not selected``, ``features``, ``rating``, ``no features`` or
        ``no rating``.
    flow : DataFrame
        From `flow_table`.
    warnings : tuple of str
        What the user should know.
    source : mapping
        What made the features.
    prorated : ndarray of bool, shape (n_visits,), or None
        Whether missing items of the row's rating were replaced by the mean of its others; None
        stands for no row.
    rater_ids : tuple of str, length n_visits, or None
        Who rated each row, where the raters of a visit are kept as repeated measures: then a visit
        has several rows.
    per_rater : DataFrame or None
        ``participant_id, session_id, rater_id, value``: each rater's own score of the visits of the
        analysis; None where no rater is named, and for changes.
    several_raters : bool
        Whether any visit was rated by several.
    others : DataFrame of shape (n_rows, n_others) or None
        Ratings of other targets of the same rows in scale points, NaN where missing: models that
        learn several targets at once learn from them in training folds. None: from no others.
    """

    target: str
    items: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    keys: pd.DataFrame
    feature_names: tuple[str, ...]
    X: np.ndarray
    y: np.ndarray
    subjects: np.ndarray
    weights: np.ndarray
    covariates: pd.DataFrame
    excluded: pd.DataFrame
    flow: pd.DataFrame
    warnings: tuple[str, ...]
    source: Mapping[str, object]
    prorated: np.ndarray | None = None
    rater_ids: tuple[str, ...] | None = None
    per_rater: pd.DataFrame | None = None
    others: pd.DataFrame | None = None
    several_raters: bool = False

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return int(self.subjects.max()) + 1

    @property
    def n_excluded(self) -> int:
        """Visits that were selected and are yet not in the analysis."""
        return int((self.excluded["stage"] != NOT_SELECTED_STAGE).sum())


def join(features: FeatureTable, ratings: Ratings) -> Design:
    """Match features and ratings by visit.

    Where only one side names sessions, visits are matched by participant if every participant
    has one row on both sides.

    Raises
    ------
    InputError
        If nothing matches, if identifiers of both sides differ only by what a spreadsheet does to
        them (see `spelled_otherwise`), if sessions stand on one side only and a participant has
        several visits, or if a feature is the target or one of its items.
    """
    sides = [_visits(_all_keys(side.keys, side.excluded)) for side in (features, ratings)]
    faults = spelled_otherwise(*sides)
    features, ratings = _same_sessions(features, ratings)
    in_features, in_ratings = _matched(features.keys, ratings.keys)
    if not len(in_ratings):
        faults = [*_no_match(features, ratings), *faults]
    if faults:
        raise InputError(faults)
    keys = features.keys.iloc[in_features].reset_index(drop=True)
    X = features.values.iloc[in_features].to_numpy(dtype=np.float64)
    y = np.asarray(ratings.values, dtype=np.float64)[in_ratings]
    names = tuple(str(c) for c in features.values.columns)
    covariates = ratings.covariates.iloc[in_ratings].reset_index(drop=True)
    _refuse_leaks(X, y, names, ratings, covariates)
    subjects = np.unique(keys["participant_id"].to_numpy(dtype=str), return_inverse=True)[1]
    excluded = _excluded(features, ratings)
    per_rater = _of_visits(ratings.per_rater, keys)
    return Design(
        target=ratings.target,
        items=ratings.items,
        minimum=ratings.minimum,
        maximum=ratings.maximum,
        keys=keys,
        feature_names=names,
        X=X,
        y=y,
        subjects=subjects,
        weights=1.0 / np.bincount(subjects)[subjects],
        covariates=covariates,
        excluded=excluded,
        flow=flow_table(keys, excluded),
        warnings=(*features.warnings, *ratings.warnings, *_exclusion_warnings(excluded)),
        source=features.source,
        prorated=None if ratings.prorated is None else ratings.prorated[in_ratings],
        rater_ids=(
            None
            if ratings.rater_ids is None
            else tuple(ratings.rater_ids[i] for i in in_ratings.tolist())
        ),
        per_rater=per_rater,
        several_raters=(
            ratings.several_raters
            if per_rater is None
            else bool(per_rater.duplicated(list(KEY_COLUMNS)).any())
        ),
    )


def _matched(left: pd.DataFrame, right: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of either side that match, by participant, session, and row of the right."""
    by_visit = {visit: row for row, visit in enumerate(left.itertuples(index=False, name=None))}
    pairs = sorted(
        (visit, row)
        for row, visit in enumerate(right.itertuples(index=False, name=None))
        if visit in by_visit
    )
    rows = np.array([row for _, row in pairs], dtype=np.int64)
    return np.array([by_visit[visit] for visit, _ in pairs], dtype=np.int64), rows


def _of_visits(table: pd.DataFrame | None, keys: pd.DataFrame) -> pd.DataFrame | None:
    if table is None:
        return None
    inside = pd.MultiIndex.from_frame(table[list(KEY_COLUMNS)]).isin(_visits(keys))
    return table[inside].reset_index(drop=True)


def _same_sessions(features: FeatureTable, ratings: Ratings) -> tuple[FeatureTable, Ratings]:
    all_features = _all_keys(features.keys, features.excluded)
    all_ratings = _all_keys(ratings.keys, ratings.excluded)
    named = [bool((k["session_id"] != "").any()) for k in (all_features, all_ratings)]
    if named[0] == named[1]:
        return features, ratings
    lacking, having = ("ratings", "features") if named[0] else ("features", "ratings")
    inside = [not str(r).startswith(NOT_SELECTED) for r in ratings.excluded["reason"].tolist()]
    chosen = _all_keys(ratings.keys, ratings.excluded[np.array(inside, dtype=bool)])
    faults = []
    for side, keys in (("features", all_features), ("ratings", chosen)):
        several = keys["participant_id"][keys["participant_id"].duplicated()].unique()
        if len(several):
            faults.append(
                f"session_id stands in the {having} and not in the {lacking}, and "
                f"participants have several visits in the {side} ({len(several)} of them, for "
                f"example {several[0]}): add session_id to the {lacking}, or keep one visit "
                "a participant"
            )
    if faults:
        raise InputError(faults)
    # Who has no selected visit is told as not selected, whichever of the visits stands for it.
    source = all_features if named[0] else pd.concat([all_ratings, chosen])
    session = dict(zip(source["participant_id"], source["session_id"], strict=True))

    def filled(table: pd.DataFrame) -> pd.DataFrame:
        known = [session.get(p, s) for p, s in zip(*(table[c] for c in KEY_COLUMNS), strict=True)]
        return table.assign(session_id=pd.Series(known, index=table.index, dtype=object))

    if named[0]:
        return features, _replaced(ratings, filled)
    return _replaced(features, filled), ratings


T = TypeVar("T", FeatureTable, Ratings)


def _replaced(table: T, fill: Callable[[pd.DataFrame], pd.DataFrame]) -> T:
    return replace(table, keys=fill(table.keys), excluded=fill(table.excluded))


def _all_keys(keys: pd.DataFrame, excluded: pd.DataFrame) -> pd.DataFrame:
    columns = list(KEY_COLUMNS)
    return pd.concat([keys[columns], excluded[columns]]).drop_duplicates()


def _no_match(features: FeatureTable, ratings: Ratings) -> list[str]:
    sides = []
    for name, keys, excluded in (
        ("features", features.keys, features.excluded),
        ("ratings", ratings.keys, ratings.excluded),
    ):
        visits = [InterviewKey(*visit).name for visit in keys.itertuples(index=False)]
        hint = "" if visits or excluded.empty else f", {len(excluded)} without usable values"
        sides.append(f"{name} have {', '.join(sorted(visits)[:3]) or 'none'}{hint}")
    lost = features.keys["participant_id"].isin(set(ratings.excluded["participant_id"]))
    more = [f"{int(lost.sum())} visits with features have no usable rating"] if lost.any() else []
    return [f"features and ratings have no visit in common: {'; '.join(sides)}", *more]


def _refuse_leaks(
    X: np.ndarray,
    y: np.ndarray,
    names: tuple[str, ...],
    ratings: Ratings,
    covariates: pd.DataFrame,
) -> None:
    """Refuse features that are the target or one of its items, by name or by value."""
    bare = ratings.target.removeprefix("percent_change(").removesuffix(")")
    named = {n.casefold() for n in (*ratings.items, ratings.target, bare, bare.rpartition(".")[2])}
    faults = {
        n: f"feature {n!r} is the target or one of its items"
        for n in names
        if n.casefold() in named
    }
    items = {i.casefold() for i in ratings.items}
    outcomes = {"the target": y} | {
        f"the item {c}": covariates[c].to_numpy(dtype=np.float64)
        for c in covariates.columns
        if c.casefold() in items and covariates[c].dtype == np.float64
    }
    for what, values in outcomes.items():
        r = _correlations(X, values)
        for i in np.flatnonzero(np.abs(r) > LEAKING_CORRELATION):
            faults.setdefault(
                names[i], f"feature {names[i]!r} repeats {what} (|r| = {abs(r[i]):.4f})"
            )
    if faults:
        raise InputError([faults[n] for n in names if n in faults])


def _correlations(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return r of each column with y over the rows that have both; NaN where it says nothing."""
    found = np.full(X.shape[1], np.nan)
    there = ~np.isnan(X) & ~np.isnan(y)[:, np.newaxis]
    n = there.sum(axis=0)
    share = np.divide(there, n, out=np.zeros(X.shape), where=n > 0)
    filled, target = np.where(there, X, 0.0), np.where(np.isnan(y), 0.0, y)
    centred = np.where(there, X - (share * filled).sum(axis=0), 0.0)
    deviation = np.where(there, target[:, np.newaxis] - share.T @ target, 0.0)
    sums = (centred**2).sum(axis=0) * (deviation**2).sum(axis=0)
    sayable = (n >= LEAKING_MINIMUM_ROWS) & (sums > 0)
    np.divide((centred * deviation).sum(axis=0), np.sqrt(sums), out=found, where=sayable)
    return found


def _excluded(features: FeatureTable, ratings: Ratings) -> pd.DataFrame:
    with_features, with_rating = _visits(features.keys), _visits(ratings.keys)
    bad_features, bad_rating = _reasons(features.excluded), _reasons(ratings.excluded)
    rows = []
    known = with_features | with_rating | bad_features.keys() | bad_rating.keys()
    for visit in sorted(known - (with_features & with_rating)):
        reason = bad_rating.get(visit, "")
        if reason.startswith(NOT_SELECTED):
            stage, reason = NOT_SELECTED_STAGE, reason.removeprefix(NOT_SELECTED)
        elif reason:
            stage = "rating"
        elif visit not in with_rating:
            stage, reason = "no rating", "features without a rating"
        elif visit in bad_features:
            stage, reason = "features", bad_features[visit]
        else:
            stage, reason = "no features", "rating without features"
        rows.append((*visit, stage, reason))
    return pd.DataFrame(rows, columns=[*KEY_COLUMNS, "stage", "reason"], dtype=object)


def _visits(keys: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(*(keys[c].tolist() for c in KEY_COLUMNS), strict=True))


def _reasons(excluded: pd.DataFrame) -> dict[tuple[str, str], str]:
    visits = zip(*(excluded[c].tolist() for c in KEY_COLUMNS), strict=True)
    return dict(zip(visits, excluded["reason"].tolist(), strict=True))


def _exclusion_warnings(excluded: pd.DataFrame) -> list[str]:
    texts = {
        "no features": "with a rating and no features",
        "no rating": "with features and no rating",
        "rating": "without a complete rating",
        "features": "without usable features",
    }
    warnings = []
    for stage, text in texts.items():
        rows = excluded.loc[excluded["stage"] == stage, list(KEY_COLUMNS)]
        visits = [InterviewKey(*visit).name for visit in rows.itertuples(index=False)]
        more = f" and {len(visits) - 10} more" if len(visits) > 10 else ""
        if visits:
            count = "1 visit" if len(visits) == 1 else f"{len(visits)} visits"
            warnings.append(f"{count} {text}: {', '.join(visits[:10])}{more}")
    return warnings
