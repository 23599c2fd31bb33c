"""Learning curve: what more subjects would have brought, and how many the curve suggests.

Subsets of subjects run through the whole nested cross-validation. The squared error falls with
the number n of training subjects as a + b/n, what least squares and ridge with a fixed number of
useful directions do to first order; b is what one still pays for estimating the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emoclip_clinical.records import InputError, Progress, no_progress
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.folds import outer_folds
from emoclip_clinical.regression.metrics import pearson_r
from emoclip_clinical.regression.nested_ridge import refit, subset

STREAM = 5
SHARES = (0.4, 0.55, 0.7, 0.85, 1.0)
"""Shares of the subjects at which the curve is measured."""
MINIMUM_SUBJECTS = 15
TOLERANCE = 0.05
"""Excess of RMSE over its limit at which more subjects no longer pay."""
FARTHEST = 5.0
"""Times the subjects at hand beyond which the curve is not trusted."""


@dataclass(frozen=True)
class CurvePoint:
    """Out-of-fold performance with some of the subjects.

    Attributes
    ----------
    n_subjects : int
    n_training : float
        Training subjects of a fold.
    r, r_sd : float or None
        Mean and spread over draws of the pooled r, of the draws that define it.
    mse, mse_sd : float
        Squared scale points.
    skill : float
        1 - mse / that of the training mean.
    n_draws : int
    """

    n_subjects: int
    n_training: float
    r: float | None
    r_sd: float | None
    mse: float
    mse_sd: float
    skill: float
    n_draws: int


@dataclass(frozen=True)
class LearningCurve:
    """A learning curve and the sample size it suggests.

    Attributes
    ----------
    points : tuple of CurvePoint
        By number of subjects.
    limit_rmse : float or None
        RMSE that the fitted curve approaches, scale points.
    suggested_subjects : int or None
        Subjects with which (K-1)/K of them train a model whose RMSE lies within `TOLERANCE` of
        that limit; None where the curve does not tell.
    warnings : tuple of str
    suggested_is_upper_bound : bool
        Whether fewer than the smallest size of `points` would do, by an extrapolation below it
        that is not trusted: `suggested_subjects` is that size then.
    """

    points: tuple[CurvePoint, ...]
    limit_rmse: float | None
    suggested_subjects: int | None
    warnings: tuple[str, ...]
    suggested_is_upper_bound: bool = False


def learning_curve(
    design: Design,
    *,
    confounds: np.ndarray | None = None,
    config: RegressionConfig,
    seed: int,
    draws: int = 10,
    shares: Sequence[float] = SHARES,
    progress: Progress = no_progress,
) -> LearningCurve:
    """Cross-validate ridge on random subsets of subjects of growing size.

    Parameters
    ----------
    design : Design
    confounds : ndarray of shape (n_visits, n_confounds), optional
        What the analysis removes from the features.
    config : RegressionConfig
        `folds`, `inner_folds` and `alphas` are used; `cv` only to tell that there is no curve
        where sites are left out.
    seed : int
    draws : int
        Subsets of each size, each with folds of its own.
    shares : sequence of float
        Shares of the subjects, in (0, 1].
    progress : callable

    Raises
    ------
    InputError
        If a share is outside (0, 1], or there are no draws.
    """
    if draws < 1 or not all(0 < s <= 1 for s in shares):
        raise InputError(
            f"learning curve: shares in (0, 1] and draws of at least 1 are wanted, "
            f"got {list(shares)} and {draws}"
        )
    if config.cv == "leave_one_site_out":
        why = (
            "no learning curve: with leave_one_site_out more participants of the same sites say "
            "little of new sites"
        )
        return LearningCurve((), None, None, (why,))
    smallest = max(MINIMUM_SUBJECTS, 2 * config.folds, 2 * config.inner_folds)
    sizes = sorted({round(s * design.n_subjects) for s in shares})
    sizes = [n for n in sizes if n >= smallest]
    if len(sizes) < 3:
        why = (
            f"no learning curve: {design.n_subjects} subjects allow fewer than three sizes of at "
            f"least {smallest}"
        )
        return LearningCurve((), None, None, (why,))
    removed = np.empty((len(design.y), 0)) if confounds is None else confounds
    points = []
    for done, n in enumerate(sizes):
        points.append(_point(design, removed, n, draws, config, seed))
        progress("learning curve", done + 1, len(sizes))
    return _fitted(points, design.n_subjects, config.folds)


def _point(
    design: Design,
    confounds: np.ndarray,
    n: int,
    draws: int,
    config: RegressionConfig,
    seed: int,
) -> CurvePoint:
    rs, errors, references = [], [], []
    for draw in range(draws):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(STREAM, n, draw)))
        chosen = rng.permutation(design.n_subjects)[:n]
        rows = np.isin(design.subjects, chosen)
        part = subset(design, rows)
        if np.ptp(part.y) == 0:
            continue
        r, error, reference = _scores(part, confounds[rows], config, seed=int(rng.integers(2**31)))
        errors.append(error)
        references.append(reference)
        rs += [] if r is None else [r]
    if not errors:
        raise InputError(f"learning curve: the ratings of {n} subjects never vary")
    return CurvePoint(
        n_subjects=n,
        n_training=n - n / config.folds,
        r=float(np.mean(rs)) if rs else None,
        r_sd=float(np.std(rs, ddof=1)) if len(rs) > 1 else None,
        mse=float(np.mean(errors)),
        mse_sd=float(np.std(errors, ddof=1)) if len(errors) > 1 else 0.0,
        skill=1 - float(np.mean(errors) / np.mean(references)),
        n_draws=len(errors),
    )


def _scores(
    design: Design, confounds: np.ndarray, config: RegressionConfig, *, seed: int
) -> tuple[float | None, float, float]:
    fold = outer_folds(design.subjects, folds=config.folds, repeats=1, seed=seed)
    made = refit(design, confounds=confounds, fold=fold, config=config, seed=seed)
    mse, reference = (
        float(np.average((p[0] - design.y) ** 2, weights=design.weights))
        for p in (made.predicted, made.baseline)
    )
    return pearson_r(design.y, made.predicted[0], design.weights), mse, reference


def _fitted(points: list[CurvePoint], n_subjects: int, folds: int) -> LearningCurve:
    training = np.array([p.n_training for p in points])
    error = np.array([p.mse for p in points])
    b, a = np.polyfit(1 / training, error, 1)
    found: list[str] = []
    suggested, is_upper_bound = None, False
    if b <= 0 or a <= 0:
        found.append(
            "learning curve: the error does not fall as 1/n over these sizes; no sample size "
            "follows from it"
        )
        return LearningCurve(tuple(points), None, None, tuple(found))
    needed = b / (a * ((1 + TOLERANCE) ** 2 - 1)) * folds / (folds - 1)
    if points[-1].skill <= 0:
        found.append(
            "learning curve: the model does not yet beat the mean rating, so that the curve shows "
            "noise being learnt less, not the rating being learnt more"
        )
    elif needed > FARTHEST * n_subjects:
        found.append(
            f"learning curve: the error still falls; more than {FARTHEST:g} times the "
            f"{n_subjects} subjects at hand would be needed, farther than the curve can be trusted"
        )
    else:
        is_upper_bound = bool(needed < points[0].n_subjects)
        suggested = points[0].n_subjects if is_upper_bound else int(np.ceil(needed))
    limit = float(np.sqrt(a))
    return LearningCurve(tuple(points), limit, suggested, tuple(found), is_upper_bound)
