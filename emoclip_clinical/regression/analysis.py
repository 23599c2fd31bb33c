"""Estimating one target: nested cross-validation, its interval and its permutation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from emoclip_clinical.records import CrossValidation, InputError, Progress, no_progress
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.folds import (
    inner_folds,
    leave_one_subject_out,
    outer_folds,
    splits,
)
from emoclip_clinical.regression.inference import (
    MINIMUM_EXCHANGEABLE,
    Interval,
    adjust_p,
    bootstrap_interval,
    exchange,
    permutation_p,
    permuted_ratings,
)
from emoclip_clinical.regression.metrics import (
    Metrics,
    column_correlations,
    fold_correlations,
    mae,
    rmse,
    summarise,
)
from emoclip_clinical.regression.ridge import coefficients, decompose, prediction_matrices, tune

LEAVE_ONE_OUT_WARNING = (
    "leave-one-subject-out pulls the pooled r below 0 where there is nothing to find (a model that "
    "predicts the training mean has r = -1); judge r by the permutation p, or use repeated_kfold"
)


@dataclass(frozen=True)
class Estimate:
    """The cross-validated estimate of one target, with what is needed to judge it.

    Attributes
    ----------
    design : Design
        The rows that were analysed and those that were not.
    config : RegressionConfig
        Settings.
    seed : int
        Seed of folds, permutations and resamples.
    cross_validation : CrossValidation
        Every out-of-fold prediction.
    null : ndarray of shape (n_permutations,)
        Mean-over-repeats pooled r of each permuted rating vector, the whole pipeline rerun; NaN
        where it is not defined. Empty where no test was made.
    n_exchangeable : int
        Subjects whose ratings could be permuted.
    interval : Interval
        Bootstrap interval of the pooled r.
    coefficients : DataFrame
        ``feature, mean, sd, low, high, share_positive``: over all outer training sets, scale
        points for one training standard deviation of the feature; low and high are the 2.5 % and
        97.5 % quantiles.
    p_adjusted : float or None
        p value adjusted over the family of targets.
    warnings : tuple of str
        Everything the reader of the result should know.
    """

    design: Design
    config: RegressionConfig
    seed: int
    cross_validation: CrossValidation
    null: np.ndarray
    n_exchangeable: int
    interval: Interval
    coefficients: pd.DataFrame
    p_adjusted: float | None
    warnings: tuple[str, ...]

    @property
    def metrics(self) -> Metrics:
        """All metrics, derived from the predictions."""
        return summarise(self.cross_validation)

    @property
    def p_permutation(self) -> float | None:
        """One-sided permutation p of the pooled r; None where it is not defined."""
        r = self.metrics.pearson_pooled
        return None if r is None or not len(self.null) else permutation_p(r, self.null)

    @property
    def folds(self) -> pd.DataFrame:
        """One row a fold, in the columns of ``folds.csv``."""
        return fold_table(self.cross_validation)


def estimate(
    design: Design, *, config: RegressionConfig, seed: int, progress: Progress = no_progress
) -> Estimate:
    """Estimate a target from features by nested, grouped, repeated cross-validation.

    Parameters
    ----------
    design : Design
        Rows to analyse.
    config : RegressionConfig
        Settings; `targets`, `where` and `feature_columns` were used before and are ignored here.
    seed : int
        Seed, 0 or more.
    progress : callable
        Called after each repeat.

    Raises
    ------
    InputError
        For fewer subjects than folds, too few training subjects for the inner folds, or ratings
        that do not vary.
    """
    _check(design, config)
    exchangeable = exchange(design.subjects, design.keys["session_id"].tolist())
    testable = exchangeable.n_exchangeable >= MINIMUM_EXCHANGEABLE
    n_permutations = config.permutations if testable else 0
    permuted = permuted_ratings(design.y, exchange=exchangeable, n=n_permutations, seed=seed)
    # The matrices are small: threads would wait for each other, and could change the last bits.
    with threadpool_limits(limits=1, user_api="blas"):
        cv, null, weights = _cross_validate(
            design, permuted, config=config, seed=seed, progress=progress
        )
    interval = (
        bootstrap_interval(cv, resamples=config.bootstrap, confidence=config.confidence, seed=seed)
        if config.bootstrap
        else Interval(None, None, "none", ("no interval: no bootstrap was asked for",))
    )
    made = Estimate(
        design=design,
        config=config,
        seed=seed,
        cross_validation=cv,
        null=null,
        n_exchangeable=exchangeable.n_exchangeable,
        interval=interval,
        coefficients=_coefficient_table(design.feature_names, weights),
        p_adjusted=None,
        warnings=(),
    )
    return replace(made, p_adjusted=made.p_permutation, warnings=_warnings(made))


def adjust_family(estimates: Sequence[Estimate]) -> tuple[Estimate, ...]:
    """Return the estimates of a family of targets with Benjamini-Hochberg adjusted p values."""
    adjusted = adjust_p([e.p_permutation for e in estimates])
    return tuple(replace(e, p_adjusted=p) for e, p in zip(estimates, adjusted, strict=True))


def fold_table(cv: CrossValidation) -> pd.DataFrame:
    """Return one row a fold: sizes, r, errors, chosen hyper-parameters.

    Returns
    -------
    DataFrame
        ``repeat, fold, n_train, n_test, n_train_subjects, n_test_subjects, r, mae, rmse`` and a
        column for each hyper-parameter; r is NaN where it is not defined.
    """
    subject = cv.keys["participant_id"].to_numpy(dtype=str)
    rows: list[dict[str, float]] = []
    for repeat, correlations in enumerate(fold_correlations(cv)):
        for fold, r in enumerate(correlations):
            test = cv.fold[repeat] == fold
            held_out = cv.observed[test], cv.predicted[repeat, test], cv.weight[test]
            rows.append(
                {
                    "repeat": repeat,
                    "fold": fold,
                    "n_train": int((~test).sum()),
                    "n_test": int(test.sum()),
                    "n_train_subjects": len(np.unique(subject[~test])),
                    "n_test_subjects": len(np.unique(subject[test])),
                    "r": np.nan if r is None else r,
                    "mae": mae(*held_out),
                    "rmse": rmse(*held_out),
                    **cv.chosen[len(rows)],
                }
            )
    return pd.DataFrame(rows)


def _check(design: Design, config: RegressionConfig) -> None:
    n = design.n_subjects
    outer = n if config.cv == "leave_one_subject_out" else config.folds
    faults = []
    if np.ptp(design.y) == 0:
        faults.append(
            f"target {design.target}: all ratings are {design.y[0]:g}; nothing to estimate"
        )
    if n < outer:
        faults.append(f"{outer} folds need at least {outer} subjects, got {n}")
    elif n - -(-n // outer) < config.inner_folds:
        faults.append(
            f"{config.inner_folds} inner folds need at least {config.inner_folds} training "
            f"subjects, got {n - -(-n // outer)} of {n} subjects with {outer} outer folds"
        )
    if faults:
        raise InputError(faults)


def _cross_validate(
    design: Design,
    permuted: np.ndarray,
    *,
    config: RegressionConfig,
    seed: int,
    progress: Progress,
) -> tuple[CrossValidation, np.ndarray, np.ndarray]:
    """Cross-validate observed and permuted ratings together, repeat by repeat.

    Returns the record of the observed ratings, the pooled r of the permuted ones (mean over
    repeats), and the coefficients of every outer training set.
    """
    Y = np.column_stack([design.y, permuted])
    if config.cv == "leave_one_subject_out":
        fold = leave_one_subject_out(design.subjects)
    else:
        fold = outer_folds(design.subjects, folds=config.folds, repeats=config.repeats, seed=seed)
    predicted, baseline = np.empty(fold.shape), np.empty(fold.shape)
    total = np.zeros(permuted.shape[1])
    chosen: list[dict[str, float]] = []
    weights: list[np.ndarray] = []
    for repeat, numbers in enumerate(fold):
        out = np.empty_like(Y)
        for number, (train, test) in enumerate(splits(numbers, subjects=design.subjects)):
            inner = inner_folds(
                design.subjects[train],
                folds=config.inner_folds,
                seed=seed,
                repeat=repeat,
                fold=number,
            )
            fitted, alpha, weight = _fit_fold(design, Y, train, test, inner, config.alphas)
            out[test] = fitted
            baseline[repeat, test] = np.average(design.y[train], weights=design.weights[train])
            chosen.append({"alpha": alpha})
            weights.append(weight)
        predicted[repeat] = out[:, 0]
        total += column_correlations(permuted, out[:, 1:], design.weights)
        progress(f"cross-validation of {design.target}", repeat + 1, len(fold))
    cv = CrossValidation(
        target=design.target,
        keys=design.keys,
        observed=design.y,
        predicted=predicted,
        baseline=baseline,
        fold=fold,
        weight=design.weights,
        chosen=tuple(chosen),
    )
    return cv, total / len(fold), np.array(weights)


def _fit_fold(
    design: Design,
    Y: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    inner: np.ndarray,
    alphas: Sequence[float],
) -> tuple[np.ndarray, float, np.ndarray]:
    """Tune and fit on the training rows; predict the test rows for every column of Y."""
    weight = design.weights[train]
    best = tune(
        design.X[train],
        Y[train],
        weight=weight,
        subjects=design.subjects[train],
        inner_fold=inner,
        alphas=alphas,
    )
    training = decompose(design.X[train], weight=weight)
    used = np.unique(best)
    matrices = prediction_matrices(training, design.X[test], alphas=[alphas[i] for i in used])
    predicted = np.empty((len(test), Y.shape[1]))
    for index, matrix in zip(used, matrices, strict=True):
        columns = best == index
        predicted[:, columns] = matrix @ Y[np.ix_(train, np.flatnonzero(columns))]
    alpha = float(alphas[best[0]])
    return predicted, alpha, coefficients(training, Y[train, 0], alpha=alpha)


def _coefficient_table(names: Sequence[str], weights: np.ndarray) -> pd.DataFrame:
    low, high = np.quantile(weights, [0.025, 0.975], axis=0)
    table = pd.DataFrame(
        {
            "feature": list(names),
            "mean": weights.mean(axis=0),
            "sd": weights.std(axis=0, ddof=1),
            "low": low,
            "high": high,
            "share_positive": (weights > 0).mean(axis=0),
        }
    )
    order = np.argsort(-table["mean"].abs().to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _warnings(made: Estimate) -> tuple[str, ...]:
    config, metrics = made.config, made.metrics
    found = list(made.design.warnings)
    if config.cv == "leave_one_subject_out":
        found.append(LEAVE_ONE_OUT_WARNING)
    if metrics.pearson_pooled is None:
        found.append("pearson_r is not defined: the out-of-fold predictions are constant")
    if metrics.pearson_fold_mean is None:
        found.append("the mean r within folds is not defined: no fold has enough varying rows")
    if config.permutations == 0:
        found.append("no permutation p: no permutations were asked for")
    elif not len(made.null):
        found.append(
            f"no permutation p: only {made.n_exchangeable} subjects share their set of visits "
            f"with another subject, {MINIMUM_EXCHANGEABLE} are needed"
        )
    undefined = int(np.isnan(made.null).sum())
    if undefined:
        found.append(f"r is not defined for {undefined} permuted rating vectors; counted against")
    fixed = made.design.n_subjects - made.n_exchangeable
    if fixed and len(made.null):
        found.append(f"{fixed} subjects have a set of visits of their own and were not permuted")
    smallest = min(config.alphas)
    at_end = np.mean([c["alpha"] == smallest for c in made.cross_validation.chosen])
    if len(config.alphas) > 1 and at_end > 0.5:
        found.append(
            f"the smallest penalty ({smallest:g}) was chosen in {at_end:.0%} of the folds: smaller "
            "ones might do better"
        )
    return (*found, *made.interval.warnings)
