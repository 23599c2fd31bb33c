"""Estimating one target: nested cross-validation, its interval and its permutation test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from emoclip_clinical.records import (
    CrossValidation,
    InputError,
    Progress,
    SegmentBags,
    no_progress,
)
from emoclip_clinical.regression.config import ModelName, RegressionConfig, Scheme
from emoclip_clinical.regression.covariate_columns import check_subgroups, sites_of, with_confounds
from emoclip_clinical.regression.crossing import Crossed, Pipeline, cross
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.fold_interval import fold_interval
from emoclip_clinical.regression.folds import draw_folds
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
    fold_correlations,
    mae,
    rmse,
    summarise,
)
from emoclip_clinical.regression.models.base import Predictor, Rows
from emoclip_clinical.regression.models.catalogue import CATALOGUE, SegmentModels, make_model
from emoclip_clinical.regression.resampling import no_interval

IntervalOf = Literal["fold_mean", "pooled"]
LEAVE_ONE_OUT: tuple[Scheme, ...] = ("leave_one_subject_out", "rebalanced_leave_one_subject_out")
LEAVE_ONE_OUT_WARNING = (
    "leave-one-subject-out pulls the pooled r below 0 where there is nothing to find (a model that "
    "predicts the training mean has r = -1); judge r by the permutation p, or use repeated_kfold"
)
REBALANCED_WARNING = (
    "rebalanced leave-one-subject-out drops a second subject from each training set, so that the "
    "training mean does not tell who is held out; it depends on the ratings, is made anew for "
    "every permutation and shares no decompositions"
)
BALANCED_WARNING = (
    "folds are balanced on the ratings: they are drawn again for every permutation and share no "
    "decompositions"
)
SCHEME_WARNINGS: Mapping[Scheme, str] = {
    "leave_one_subject_out": LEAVE_ONE_OUT_WARNING,
    "rebalanced_leave_one_subject_out": REBALANCED_WARNING,
    "balanced_kfold": BALANCED_WARNING,
}
CONDITIONAL_WARNING = (
    "the interval resamples subjects and keeps the fitted models: in simulations such 95 % "
    "intervals held the true r in 51 % to 83 % of the cohorts, so it is too narrow"
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
        The interval to read beside `headline_r`.
    interval_of : str
        ``fold_mean``: of the mean r within folds, for new training sets of this size;
        ``pooled``: of the pooled r, the fitted models kept.
    conditional : Interval
        Bootstrap interval of the pooled r, whatever `interval` is.
    coefficients : DataFrame
        ``feature, mean, sd, low, high, share_positive``: over all outer training sets, scale
        points for one training standard deviation of the feature; low and high are the 2.5 % and
        97.5 % quantiles. No rows where the model has no coefficients.
    p_adjusted : float or None
        p value adjusted over the family of targets.
    warnings : tuple of str
        Everything the reader of the result should know.
    sites : tuple of str, length n_visits, or None
        Site of each visit, where one was named.
    compared : mapping of str to CrossValidation
        The other models of the config, on the same rows and folds.
    predictors : tuple of callable
        The model of every outer training set, in the order of `cross_validation.chosen`; empty
        where it needs more than features, or importance is not asked for.
    """

    design: Design
    config: RegressionConfig
    seed: int
    cross_validation: CrossValidation
    null: np.ndarray
    n_exchangeable: int
    interval: Interval
    interval_of: IntervalOf
    conditional: Interval
    coefficients: pd.DataFrame
    p_adjusted: float | None
    warnings: tuple[str, ...]
    sites: tuple[str, ...] | None = None
    compared: Mapping[ModelName, CrossValidation] = field(default_factory=dict)
    predictors: tuple[Predictor, ...] = ()

    @property
    def metrics(self) -> Metrics:
        """All metrics, derived from the predictions."""
        return summarise(self.cross_validation)

    @property
    def headline_r(self) -> float | None:
        """The r that `interval` belongs to."""
        m = self.metrics
        return m.pearson_fold_mean if self.interval_of == "fold_mean" else m.pearson_pooled

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
    design: Design,
    *,
    config: RegressionConfig,
    seed: int,
    bags: SegmentBags | None = None,
    segment_models: SegmentModels | None = None,
    progress: Progress = no_progress,
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
    bags : SegmentBags, optional
        Segments of each visit of the design, for models that read them.
    segment_models : mapping, optional
        Those models.
    progress : callable
        Called after each repeat, and by models that share no decompositions after each
        permutation.

    Raises
    ------
    InputError
        For fewer subjects than folds, too few training subjects for the inner folds, ratings
        that do not vary, or columns of sites and confounds that can not be used.
    """
    check_subgroups(design, config)
    design, confounds = with_confounds(design, config)
    sites = sites_of(design, config)
    _check(design, config, sites)
    exchangeable = exchange(design.subjects, design.keys["session_id"].tolist(), strata=sites)
    testable = exchangeable.n_exchangeable >= MINIMUM_EXCHANGEABLE
    n_permutations = config.permutations if testable else 0
    permuted = permuted_ratings(design.y, exchange=exchangeable, n=n_permutations, seed=seed)
    rows = Rows(design.X, confounds, design.subjects, design.weights, bags)
    made = _run(design, permuted, config.model, rows, config, seed, sites, segment_models, progress)
    beside = {
        name: _run(
            design, permuted[:, :0], name, rows, config, seed, sites, segment_models, progress
        ).cv
        for name in config.compare
    }
    headline, of, conditional = _intervals(made.cv, config, seed)
    found = Estimate(
        design=design,
        config=config,
        seed=seed,
        cross_validation=made.cv,
        null=made.null,
        n_exchangeable=exchangeable.n_exchangeable,
        interval=headline,
        interval_of=of,
        conditional=conditional,
        coefficients=_coefficient_table(design.feature_names, made.coefficients),
        p_adjusted=None,
        warnings=(),
        sites=sites,
        compared=beside,
        predictors=made.predictors if config.importance else (),
    )
    return replace(found, p_adjusted=found.p_permutation, warnings=_warnings(found))


def _run(
    design: Design,
    permuted: np.ndarray,
    name: ModelName,
    rows: Rows,
    config: RegressionConfig,
    seed: int,
    sites: tuple[str, ...] | None,
    segment_models: SegmentModels | None,
    progress: Progress,
) -> Crossed:
    model = make_model(name, config=config, segment_models=segment_models)
    pipeline = Pipeline(model, rows, config, seed, sites)
    title = CATALOGUE[name].title
    return cross(design, permuted, pipeline=pipeline, name=title, progress=progress)


def _intervals(
    cv: CrossValidation, config: RegressionConfig, seed: int
) -> tuple[Interval, IntervalOf, Interval]:
    """Return the headline interval, what it is of, and the conditional one."""
    conditional = (
        bootstrap_interval(cv, resamples=config.bootstrap, confidence=config.confidence, seed=seed)
        if config.bootstrap
        else no_interval("no bootstrap was asked for")
    )
    if config.interval == "bootstrap":
        return conditional, "pooled", conditional
    of_folds = fold_interval(cv, confidence=config.confidence)
    if of_folds.low is not None:
        return of_folds, "fold_mean", conditional
    why = tuple(
        f"no interval over folds ({w.removeprefix('no interval: ')})" for w in of_folds.warnings
    )
    if conditional.low is None:
        return replace(conditional, warnings=(*why, *conditional.warnings)), "pooled", conditional
    told = (*why, CONDITIONAL_WARNING, *conditional.warnings)
    return replace(conditional, warnings=told), "pooled", conditional


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
            train = ~test
            if cv.dropped is not None:
                train &= np.unique(subject, return_inverse=True)[1] != cv.dropped[repeat, fold]
            held_out = cv.observed[test], cv.predicted[repeat, test], cv.weight[test]
            rows.append(
                {
                    "repeat": repeat,
                    "fold": fold,
                    "n_train": int(train.sum()),
                    "n_test": int(test.sum()),
                    "n_train_subjects": len(np.unique(subject[train])),
                    "n_test_subjects": len(np.unique(subject[test])),
                    "r": np.nan if r is None else r,
                    "mae": mae(*held_out),
                    "rmse": rmse(*held_out),
                    **cv.chosen[len(rows)],
                }
            )
    return pd.DataFrame(rows)


def _check(design: Design, config: RegressionConfig, sites: tuple[str, ...] | None) -> None:
    n = design.n_subjects
    faults = []
    if np.ptp(design.y) == 0:
        faults.append(
            f"target {design.target}: all ratings are {design.y[0]:g}; nothing to estimate"
        )
    if n < 2:
        faults.append(f"two subjects are needed at least, got {n}")
    outer = n if config.cv in LEAVE_ONE_OUT else config.folds
    if config.cv == "leave_one_site_out":
        # The scheme has refusals of its own.
        number = draw_folds(design.subjects, config=config, seed=0, y=design.y, sites=sites).number
        largest = max(len(np.unique(design.subjects[number[0] == k])) for k in set(number[0]))
        outer = int(number.max()) + 1
    else:
        largest = -(-n // outer) + (config.cv == "rebalanced_leave_one_subject_out")
    if 1 < n < outer:
        faults.append(f"{outer} folds need at least {outer} subjects, got {n}")
    elif n > 1 and n - largest < config.inner_folds:
        faults.append(
            f"{config.inner_folds} inner folds need at least {config.inner_folds} training "
            f"subjects, got {n - largest} of {n} subjects with {outer} outer folds"
        )
    if faults:
        raise InputError(faults)


def _coefficient_table(names: Sequence[str], weights: np.ndarray) -> pd.DataFrame:
    if not len(weights):
        columns = ["feature", "mean", "sd", "low", "high", "share_positive"]
        return pd.DataFrame({c: [] for c in columns})
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
    found += [SCHEME_WARNINGS[config.cv]] if config.cv in SCHEME_WARNINGS else []
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
    at_site = " or a site" if made.sites else ""
    if fixed and len(made.null):
        found.append(
            f"{fixed} subjects have a set of visits{at_site} of their own and were not permuted"
        )
    smallest = min(config.alphas)
    chosen = made.cross_validation.chosen
    at_end = config.model == "ridge" and np.mean([c["alpha"] == smallest for c in chosen])
    if len(config.alphas) > 1 and at_end > 0.5:
        found.append(
            f"the smallest penalty ({smallest:g}) was chosen in {at_end:.0%} of the folds: smaller "
            "ones might do better"
        )
    return (*found, *made.interval.warnings)
