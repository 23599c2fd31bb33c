"""Everything around an estimate: baselines, confounds, quality, visits, raters, subgroups, reach.

The estimate itself is `analysis.estimate`; nothing here changes it. What can not be computed is
None, with its reason in `Supplement.warnings`. Comparisons with confounds, sensitivity and the
learning curve use ridge, whatever the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pandas as pd

from emoclip_clinical.records import CrossValidation, InputError, Progress, no_progress
from emoclip_clinical.regression.agreement import (
    BlandAltman,
    IntraclassCorrelation,
    bland_altman,
    intraclass_correlations,
    item_kappa,
)
from emoclip_clinical.regression.analysis import Estimate
from emoclip_clinical.regression.audit import Audit, audit
from emoclip_clinical.regression.ceiling import HumanCeiling, human_ceiling
from emoclip_clinical.regression.comparison import Comparison, compare_models
from emoclip_clinical.regression.config import SITE, ModelName, site_columns
from emoclip_clinical.regression.confounds import (
    ConfoundAnalysis,
    analyse_confounds,
    complete_rows,
)
from emoclip_clinical.regression.covariate_columns import (
    covariate_code_warnings,
    is_left_out,
    with_confounds,
)
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.encoding import encode_covariates
from emoclip_clinical.regression.folds import blind_folds, sees_ratings
from emoclip_clinical.regression.importance import (
    Importance,
    emotion_groups,
    permutation_importance,
)
from emoclip_clinical.regression.intervals import MetricIntervals, metric_intervals
from emoclip_clinical.regression.labels import label_of
from emoclip_clinical.regression.learning_curve import LearningCurve, learning_curve
from emoclip_clinical.regression.longitudinal import (
    RepeatedVisits,
    analyse_visits,
    one_row_a_visit,
)
from emoclip_clinical.regression.quality import analyse_quality
from emoclip_clinical.regression.raters import raters_by_row
from emoclip_clinical.regression.sensitivity import Exclusion, without_each
from emoclip_clinical.regression.subgroups import (
    BESIDE_SMALL,
    MAXIMUM_LEVELS,
    Subgroup,
    subgroups,
)
from emoclip_clinical.regression.subject_sums import subject_numbers

COVARIATES = ("age", "age_years", "sex", "gender", "site", "medication", "cpz_equivalent")
"""Rating columns (in any case) that the baseline of covariates takes where none are named."""
SUBGROUP_COLUMNS = ("sex", "gender", "age", "age_years", "site", "medication")
ITEM_LEVELS = 12
"""Ranges of more points than this get no kappa: that is a sum of items."""
SENSITIVITY_REPEATS = 5
"""Refits without a site or a subject, and the one with all, repeat the folds no more often."""
MAXIMUM_GROUPS = 200
"""More groups of features than this get no permutation importance: single dimensions of an
embedding mean nothing, and it would take long."""


class _Resampling(TypedDict):
    resamples: int
    confidence: float
    seed: int


@dataclass(frozen=True)
class Supplement:
    """What stands beside an estimate.

    Attributes
    ----------
    covariates : tuple of str
        Those of the baseline; named in the config, or found among the columns.
    confounds, quality : ConfoundAnalysis or None
        Covariates, and recording quality, alone and beside the video.
    compared : mapping of str to Comparison
        Other models less the main one.
    intervals : MetricIntervals or None
    agreement : tuple of IntraclassCorrelation
        ICC(A,1) and ICC(C,1) of the mean prediction with the rating.
    limits : BlandAltman
    kappa : float or None
        Quadratic kappa, where the target is an item.
    visits : RepeatedVisits or None
    ceiling : HumanCeiling or None
    subgroups : tuple of Subgroup
    sensitivity : tuple of Exclusion
    curve : LearningCurve
    importance : tuple of Importance
    audit : Audit
    warnings : tuple of str
    """

    covariates: tuple[str, ...]
    confounds: ConfoundAnalysis | None
    quality: ConfoundAnalysis | None
    compared: Mapping[ModelName, Comparison]
    intervals: MetricIntervals | None
    agreement: tuple[IntraclassCorrelation, ...]
    limits: BlandAltman
    kappa: float | None
    visits: RepeatedVisits | None
    ceiling: HumanCeiling | None
    subgroups: tuple[Subgroup, ...]
    sensitivity: tuple[Exclusion, ...]
    curve: LearningCurve
    importance: tuple[Importance, ...]
    audit: Audit
    warnings: tuple[str, ...]


def supplement(
    made: Estimate, *, quality: pd.DataFrame | None = None, progress: Progress = no_progress
) -> Supplement:
    """Compute what stands beside an estimate.

    Parameters
    ----------
    made : Estimate
    quality : DataFrame, optional
        Recording quality by interview; see `analyse_quality`.
    progress : callable

    Raises
    ------
    InputError
        If named confounds or subgroups can not be used.
    """
    cv, config, seed = made.cross_validation, made.config, made.seed
    resampling = _Resampling(resamples=config.bootstrap, confidence=config.confidence, seed=seed)
    found: list[str] = []
    if sees_ratings(config.cv):
        found.append(
            f"confounds and recording quality are compared on random folds: those of {config.cv} "
            "follow the ratings"
        )
    covariates, confounds = _confounds(made, found, progress)
    groups = _subgroup_names(made, found)
    found += _code_warnings(made, (*covariates, *groups))
    ceiling = _ceiling(made, found)
    # A second rater is no second visit.
    of_visits = cv if made.design.rater_ids is None else one_row_a_visit(cv)
    visits = analyse_visits(of_visits, **resampling)
    removed = with_confounds(made.design, config)[1]
    curve = learning_curve(
        made.design, confounds=removed, config=config, seed=seed, progress=progress
    )
    refits = _sensitivity(made, removed, progress)
    compared = {
        name: compare_models(cv, other, **resampling) for name, other in made.compared.items()
    }
    for part in (ceiling, visits, curve, *compared.values()):
        found += [] if part is None else part.warnings
    found += [e.warning for e in refits if e.warning]
    return Supplement(
        covariates=covariates,
        confounds=confounds,
        quality=_quality(made, quality, found, progress),
        compared=compared,
        intervals=metric_intervals(cv, **resampling) if config.bootstrap else None,
        agreement=_agreement(cv, config.confidence),
        limits=bland_altman(cv, confidence=config.confidence),
        kappa=_kappa(made.design, cv, found),
        visits=visits,
        ceiling=ceiling,
        subgroups=_subgroups(made, groups, found, resampling),
        sensitivity=refits,
        curve=curve,
        importance=_importance(made, found, progress),
        audit=audit(made),
        warnings=tuple(found),
    )


def _confounds(
    made: Estimate, found: list[str], progress: Progress
) -> tuple[tuple[str, ...], ConfoundAnalysis | None]:
    named = made.config.confounds
    fold = _folds(made)
    usable, unusable = _usable(made, COVARIATES, fold=fold)
    if not named:
        found += [f"no covariate of the baseline: {name!r}: {why}" for name, why in unusable]
    wanted = named or tuple(usable)
    names = tuple(name for name in wanted if not is_left_out(name, made.config))
    if names != wanted:
        found.append(
            "the site is no covariate of the baseline: of a site that is left out no training "
            "visit tells anything"
        )
    if not names:
        found.append(
            "no baseline of covariates: no confounds were named, and no rating column is called "
            f"{', '.join(COVARIATES)}" + (" and can be used" if unusable else "")
        )
        return (), None
    try:
        analysis = analyse_confounds(
            made.design,
            names=names,
            fold=fold,
            config=made.config,
            seed=made.seed,
            strata=made.sites,
            progress=progress,
        )
    except InputError as error:
        found.append(f"no baseline of covariates: {'; '.join(error.faults)}")
        return (), None
    found += analysis.warnings
    return names, analysis


def _folds(made: Estimate) -> np.ndarray:
    """Return folds that ratings may be permuted on."""
    return blind_folds(
        made.design.subjects,
        config=made.config,
        seed=made.seed,
        y=made.design.y,
        sites=made.sites,
    )


def _usable(
    made: Estimate, wanted: tuple[str, ...], *, fold: np.ndarray | None = None
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the columns of these names that can be encoded, and why the others can not.

    With folds, a column must also have a value for enough subjects to be compared on them, so
    that none takes the others with it.
    """
    design, config = made.design, made.config
    usable, unusable = [], []
    for name in map(str, design.covariates.columns):
        if name.casefold() not in wanted:
            continue
        try:
            encoded = encode_covariates(
                design.covariates,
                names=[name],
                forbidden=(*design.items, design.target),
                categories=site_columns(config),
            )
            if fold is not None:
                complete_rows(design, encoded, fold=fold, config=config)
        except InputError as error:
            starts = f"covariate {name!r}: ", f"confounds {name}: "
            why = "; ".join(f.removeprefix(starts[0]).removeprefix(starts[1]) for f in error.faults)
            unusable.append((name, why))
            continue
        usable.append(name)
    return usable, unusable


def _code_warnings(made: Estimate, names: tuple[str, ...]) -> list[str]:
    """Name covariates with codes of missing values that the estimate has not told of already."""
    site = () if made.sites is None else (made.config.site or SITE,)
    untold = set((*names, *site)) - set(made.config.confounds)
    columns = [str(c) for c in made.design.covariates.columns]
    return covariate_code_warnings(
        made.design, made.config, names=[c for c in columns if c in untold]
    )


def _quality(
    made: Estimate, quality: pd.DataFrame | None, found: list[str], progress: Progress
) -> ConfoundAnalysis | None:
    if quality is None:
        found.append(
            "whether recording quality alone predicts the rating is not known: the features come "
            "without it"
        )
        return None
    try:
        analysis = analyse_quality(
            made.design,
            quality=quality,
            fold=_folds(made),
            config=made.config,
            seed=made.seed,
            strata=made.sites,
            progress=progress,
        )
    except InputError as error:
        found.append(f"recording quality was not analysed: {'; '.join(error.faults)}")
        return None
    if analysis is None:
        found.append("recording quality does not vary, so that it predicts nothing")
    else:
        found += [f"recording quality: {w}" for w in analysis.warnings]
    return analysis


def _agreement(cv: CrossValidation, confidence: float) -> tuple[IntraclassCorrelation, ...]:
    both = np.column_stack([cv.observed, cv.predicted.mean(axis=0)])
    return intraclass_correlations(both, weight=cv.weight, confidence=confidence)


def _kappa(design: Design, cv: CrossValidation, found: list[str]) -> float | None:
    low, high = design.minimum, design.maximum
    if low is None or high is None or high - low > ITEM_LEVELS or len(design.items) > 1:
        return None
    between = int((cv.observed != np.round(cv.observed)).sum())
    if between:
        found.append(
            f"no weighted kappa: it is of whole points of the item, and {between} of "
            f"{len(cv.observed)} ratings lie between them, as means of several raters do"
        )
        return None
    return item_kappa(cv, minimum=low, maximum=high)


def _ceiling(made: Estimate, found: list[str]) -> HumanCeiling | None:
    design, config = made.design, made.config
    if design.per_rater is None:
        return None
    table = raters_by_row(
        design.per_rater, keys=design.keys, rule=config.raters, rater_ids=design.rater_ids
    )
    if table.values.shape[1] < 2:
        found.append("no human ceiling: the visits of the analysis have one rater only")
        return None
    made_ceiling = human_ceiling(
        made.cross_validation,
        raters=table.values,
        names=table.names,
        shares=table.shares,
        resamples=config.bootstrap,
        confidence=config.confidence,
        seed=made.seed,
    )
    if made_ceiling is None:
        found.append("no human ceiling: too few subjects were rated by the same two raters")
    return made_ceiling


def _subgroups(
    made: Estimate, names: tuple[str, ...], found: list[str], resampling: _Resampling
) -> tuple[Subgroup, ...]:
    groups = subgroups(
        made.cross_validation,
        covariates=made.design.covariates,
        names=names,
        categories=site_columns(made.config),
        **resampling,
    )
    found += [
        f"subgroup {g.level!r} of {g.variable!r} is {BESIDE_SMALL}"
        for g in groups
        if g.hidden_because == BESIDE_SMALL
    ]
    return groups


def _subgroup_names(made: Estimate, found: list[str]) -> tuple[str, ...]:
    if made.config.subgroups:
        return made.config.subgroups
    names, unusable = _usable(made, SUBGROUP_COLUMNS)
    site = made.config.site
    # What a column of sites lacks is said below.
    found += [f"no subgroups of {name!r}: {why}" for name, why in unusable if name != site]
    if site is not None and site not in names:
        if made.design.covariates[site].nunique() <= MAXIMUM_LEVELS:
            names.append(site)
        else:
            found.append(f"no subgroups of {site!r}: more than {MAXIMUM_LEVELS} sites")
    if not names and not unusable:
        found.append("no subgroups: the ratings have no column of sex, age, site or medication")
    return tuple(names)


def _sensitivity(
    made: Estimate, confounds: np.ndarray, progress: Progress
) -> tuple[Exclusion, ...]:
    sites, columns = made.sites, made.design.covariates
    if sites is None and SITE in columns and columns[SITE].notna().all():
        sites = tuple(map(label_of, columns[SITE].tolist()))
    if sites is not None and len(set(sites)) < 2:
        sites = None
    return without_each(
        made.design,
        cv=made.cross_validation,
        sites=sites,
        strata=made.sites,
        confounds=confounds,
        config=made.config.model_copy(
            update={"repeats": min(made.config.repeats, SENSITIVITY_REPEATS)}
        ),
        seed=made.seed,
        progress=progress,
    )


def _importance(made: Estimate, found: list[str], progress: Progress) -> tuple[Importance, ...]:
    if not made.predictors:
        if made.config.importance:
            found.append("no permutation importance: the model reads more than the pooled features")
        return ()
    cv = made.cross_validation
    if any(len(np.unique(subject_numbers(cv)[f == k])) < 2 for f in cv.fold for k in np.unique(f)):
        found.append(
            "no permutation importance: a fold of one subject has nobody to swap features with"
        )
        return ()
    groups = emotion_groups(made.design.feature_names)
    if len(groups) > MAXIMUM_GROUPS:
        found.append(
            f"no permutation importance: {len(groups)} groups of features, {MAXIMUM_GROUPS} are "
            "the most"
        )
        return ()
    return permutation_importance(
        made.design,
        cv=cv,
        predictors=made.predictors,
        groups=groups,
        seed=made.seed,
        progress=progress,
    )
