"""Permutation importance over folds: how much worse held-out predictions get without a feature.

The rows of a feature, or of all features of an emotion together, are shuffled among the held-out
subjects of a fold, the fitted model stays. Correlated features share their importance, which is
why groups are shuffled as one. No number here comes from one fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emoclip_clinical.records import CrossValidation, InputError, Progress, no_progress
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.folds import splits
from emoclip_clinical.regression.imputation import filled, training_medians
from emoclip_clinical.regression.ridge import coefficients, decompose

STREAM = 6

Predictor = Callable[[np.ndarray], np.ndarray]
"""Maps features (n_rows, n_features) to predictions (n_rows,), with the model of one fold."""


@dataclass(frozen=True)
class Importance:
    """Importance of a group of features.

    Attributes
    ----------
    group : str
    features : tuple of str
    mean, sd, low, high : float
        Rise of the held-out mean squared error when the group is shuffled, as a share of the
        variance of the ratings: mean, spread and 2.5 % and 97.5 % quantiles over all folds.
    share_positive : float
        Share of the folds in which shuffling made it worse.
    """

    group: str
    features: tuple[str, ...]
    mean: float
    sd: float
    low: float
    high: float
    share_positive: float


def permutation_importance(
    design: Design,
    *,
    cv: CrossValidation,
    predictors: Sequence[Predictor],
    groups: Mapping[str, Sequence[str]],
    seed: int,
    shuffles: int = 5,
    progress: Progress = no_progress,
) -> tuple[Importance, ...]:
    """Return the importance of groups of features, the largest first.

    Parameters
    ----------
    design : Design
    cv : CrossValidation
        Its folds say which rows a model has not seen.
    predictors : sequence of callable
        The model of each repeat and fold, in the order of `cv.chosen`; see `ridge_predictors`.
    groups : mapping of str to sequence of str
        Names of the features of each group; see `emotion_groups`.
    seed : int
    shuffles : int
        Times a group is shuffled in each fold.
    progress : callable

    Raises
    ------
    InputError
        If a group names an unknown feature or none, or models and folds do not fit together.
    """
    columns = _columns(design, groups)
    tests = [test for numbers in cv.fold for _, test in splits(numbers, subjects=design.subjects)]
    if len(tests) != len(predictors):
        raise InputError(f"{len(tests)} folds need as many models, got {len(predictors)}")
    mean = np.average(design.y, weights=design.weights)
    variance = float(np.average((design.y - mean) ** 2, weights=design.weights))
    if variance == 0:
        raise InputError(f"target {design.target}: all ratings are equal; nothing has importance")
    rises = np.empty((len(tests), len(columns)))
    for fold, (test, predict) in enumerate(zip(tests, predictors, strict=True)):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(STREAM, fold)))
        rises[fold] = _rises(design, test, predict, list(columns.values()), shuffles, rng)
        progress("permutation importance", fold + 1, len(tests))
    rises /= variance
    low, high = np.quantile(rises, [0.025, 0.975], axis=0)
    made = [
        Importance(
            group=name,
            features=tuple(groups[name]),
            mean=float(rises[:, i].mean()),
            sd=float(rises[:, i].std(ddof=1)) if len(rises) > 1 else 0.0,
            low=float(low[i]),
            high=float(high[i]),
            share_positive=float((rises[:, i] > 0).mean()),
        )
        for i, name in enumerate(columns)
    ]
    return tuple(sorted(made, key=lambda m: -m.mean))


def ridge_predictors(design: Design, *, cv: CrossValidation) -> tuple[Predictor, ...]:
    """Fit ridge again on each outer training set, with the penalty that was chosen there.

    Returns
    -------
    tuple of callable
        In the order of `cv.chosen`; their predictions of the held-out rows are those of `cv`.
    """
    made: list[Predictor] = []
    for numbers in cv.fold:
        for train, _ in splits(numbers, subjects=design.subjects):
            alpha = cv.chosen[len(made)]["alpha"]
            made.append(_ridge(design, train, alpha))
    return tuple(made)


def emotion_groups(feature_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Group pooled features by the emotion they are of.

    ``mean_emotion_<set>__<name>``, ``sd_cosine_<set>__<name>`` and their kin belong to the emotion
    ``<name>``; every other feature is a group of its own.
    """
    groups: dict[str, list[str]] = {}
    for name in feature_names:
        found = re.fullmatch(r"[a-z0-9]+_(?:emotion|cosine)_.+?__(.+)", name)
        groups.setdefault(found[1] if found else name, []).append(name)
    return {group: tuple(names) for group, names in groups.items()}


def _columns(design: Design, groups: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    place = {name: i for i, name in enumerate(design.feature_names)}
    faults = [
        f"group {group!r}: there is no feature {name!r}"
        for group, names in groups.items()
        for name in names
        if name not in place
    ]
    faults += [f"group {group!r} names no feature" for group, names in groups.items() if not names]
    if faults or not groups:
        raise InputError(faults or ["importance needs a group of features"])
    return {group: [place[name] for name in names] for group, names in groups.items()}


def _rises(
    design: Design,
    test: np.ndarray,
    predict: Predictor,
    columns: list[list[int]],
    shuffles: int,
    rng: np.random.Generator,
) -> np.ndarray:
    X, y, weight = design.X[test], design.y[test], design.weights[test]

    def error(features: np.ndarray) -> float:
        return float(np.average((predict(features) - y) ** 2, weights=weight))

    whole = error(X)
    orders = [rng.permutation(len(test)) for _ in range(shuffles)]
    rises = np.zeros(len(columns))
    for i, group in enumerate(columns):
        for order in orders:
            shuffled = X.copy()
            shuffled[:, group] = X[order][:, group]
            rises[i] += (error(shuffled) - whole) / shuffles
    return rises


def _ridge(design: Design, train: np.ndarray, alpha: float) -> Predictor:
    weight, y = design.weights[train], design.y[train]
    medians = training_medians(design.X[train])
    training = decompose(filled(design.X[train], medians), weight=weight)
    slopes = coefficients(training, y, alpha=alpha) / training.scale
    centre = float(np.average(y, weights=weight)) - float(training.mean @ slopes)
    return lambda X: np.asarray(filled(X, medians) @ slopes + centre)
