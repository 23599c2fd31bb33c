"""Estimating one target: nested cross-validation, its interval and its permutation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from emoclip_clinical.records import CrossValidation, Progress, SegmentBags, no_progress
from emoclip_clinical.regression.config import ModelName, RegressionConfig
from emoclip_clinical.regression.crossing import Crossed, Pipeline, cross
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.estimates import (
    CONDITIONAL_WARNING,
    IntervalOf,
    convergence_warnings,
    warnings_of,
)
from emoclip_clinical.regression.estimates import Estimate as Estimate
from emoclip_clinical.regression.fold_interval import fold_interval
from emoclip_clinical.regression.inference import (
    Interval,
    adjust_p,
    bootstrap_interval,
    permuted_ratings,
)
from emoclip_clinical.regression.models.base import Rows, learns_together
from emoclip_clinical.regression.models.catalogue import CATALOGUE, SegmentModels, make_model
from emoclip_clinical.regression.preparation import prepare
from emoclip_clinical.regression.resampling import no_interval


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
        Before the long work: for fewer subjects than folds, too few training subjects for the
        inner folds, ratings that do not vary, or columns of sites, subgroups and confounds that
        can not be used.
    """
    ready = prepare(design, config=config, seed=seed)
    design, sites = ready.design, ready.sites
    permuted = permuted_ratings(
        _ratings(design), exchange=ready.exchange, n=ready.n_permutations, seed=seed
    )
    rows = Rows(design.X, ready.confounds, design.subjects, design.weights, bags)
    made = _run(design, permuted, config.model, rows, config, seed, sites, segment_models, progress)
    beside = {
        name: _run(
            design, permuted[:, :0], name, rows, config, seed, sites, segment_models, progress
        )
        for name in config.compare
    }
    headline, of, conditional = _intervals(made.cv, config, seed)
    found = Estimate(
        design=design,
        config=config,
        seed=seed,
        cross_validation=made.cv,
        null=made.null,
        n_exchangeable=ready.exchange.n_exchangeable,
        interval=headline,
        interval_of=of,
        conditional=conditional,
        coefficients=_coefficient_table(design.feature_names, made.coefficients),
        p_adjusted=None,
        warnings=(),
        sites=sites,
        compared={name: other.cv for name, other in beside.items()},
        predictors=made.predictors if config.importance else (),
    )
    fits = {name: run.converged for name, run in ((config.model, made), *beside.items())}
    told = (*warnings_of(found), *convergence_warnings(fits))
    return replace(found, p_adjusted=found.p_permutation, warnings=told)


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
    ratings = _ratings(design)
    if not learns_together(model) and ratings.ndim > 1:
        ratings, permuted = ratings[:, 0], permuted[..., 0]
    return cross(design, ratings, permuted, pipeline=pipeline, name=title, progress=progress)


def _ratings(design: Design) -> np.ndarray:
    """Return the target's ratings, before those of other targets that are learnt with it."""
    if design.others is None:
        return design.y
    return np.column_stack([design.y, design.others.to_numpy(dtype=np.float64)])


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
