"""The cross-validated estimate of one target, and what its reader should be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from emoclip_clinical.records import CrossValidation
from emoclip_clinical.regression.config import ModelName, RegressionConfig, Scheme
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.inference import MINIMUM_EXCHANGEABLE, Interval, permutation_p
from emoclip_clinical.regression.metrics import (
    Metrics,
    fold_correlations,
    mae,
    rmse,
    summarise,
)
from emoclip_clinical.regression.models.base import Predictor
from emoclip_clinical.regression.models.catalogue import CATALOGUE

IntervalOf = Literal["fold_mean", "pooled"]
LEAVE_ONE_OUT_WARNING = (
    "leave-one-subject-out pulls the pooled r below 0 where there is nothing to find (a model that "
    "predicts the training mean has r = -1); judge r by the permutation p, or use repeated_kfold"
)
REBALANCED_WARNING = (
    "rebalanced leave-one-subject-out drops a second subject from each training set, so that the "
    "training mean does not tell who is held out; it depends on the ratings and is made anew "
    "for every permutation, which takes longer"
)
BALANCED_WARNING = (
    "folds are balanced on the ratings: they are drawn again for every permutation, which takes "
    "longer"
)
SCHEME_WARNINGS: Mapping[Scheme, str] = {
    "leave_one_subject_out": LEAVE_ONE_OUT_WARNING,
    "rebalanced_leave_one_subject_out": REBALANCED_WARNING,
    "balanced_kfold": BALANCED_WARNING,
}
CONDITIONAL_WARNING = (
    "the interval resamples subjects and keeps the fitted models: in simulations such 95 % "
    "intervals held the true r in 53 % to 76 % of the cohorts, so it is too narrow"
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


def warnings_of(made: Estimate) -> tuple[str, ...]:
    """Return everything that the reader of an estimate should know."""
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


def convergence_warnings(fits: Mapping[ModelName, Sequence[bool]]) -> tuple[str, ...]:
    """Name the models of which fits did not come to their end.

    Parameters
    ----------
    fits : mapping of str to sequence of bool
        Of each model, whether each fit to the observed ratings did. Fits to permuted ratings are
        not counted: what they lack, those of the observed ratings lack too.
    """
    return tuple(
        f"{CATALOGUE[name].title}: {converged.count(False)} of {len(converged)} fits, those of "
        "tuning among them, were stopped before they had converged; what they predict is not exact"
        for name, converged in fits.items()
        if not all(converged)
    )
