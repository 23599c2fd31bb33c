"""What the result owes to one site or to single subjects: fit again without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emoclip_clinical.records import CrossValidation, InputError, Progress, no_progress
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.folds import blind_folds
from emoclip_clinical.regression.metrics import mae, over_repeats, pearson_r
from emoclip_clinical.regression.nested_ridge import refit, subset
from emoclip_clinical.regression.subgroups import hidden_levels
from emoclip_clinical.regression.subject_sums import (
    over_repeats_of,
    pearson,
    subject_sums,
)

MINIMUM_LEFT = 20
"""Fewer subjects left than this are not analysed again."""
INFLUENTIAL_SPREADS = 3.0
"""Robust spreads from the median influence at which a subject counts as influential."""
MAXIMUM_INFLUENTIAL = 10


@dataclass(frozen=True)
class Exclusion:
    """The estimate without some subjects.

    Attributes
    ----------
    kind : str
        ``site`` or ``subject``.
    excluded : str
        Which site, or which participant.
    n_subjects : int or None
        Subjects left; None where it would tell the size of a small site.
    r : float or None
        Pooled r of the whole pipeline on the rest, with new folds.
    r_change : float or None
        Less the r of all subjects, the same pipeline.
    mae : float or None
        Scale points.
    warning : str
        Why there is no estimate; empty where there is one.
    """

    kind: str
    excluded: str
    n_subjects: int | None
    r: float | None
    r_change: float | None
    mae: float | None
    warning: str = ""


def influence(cv: CrossValidation) -> np.ndarray:
    """Return how much the pooled r falls when a subject's rows are left out of it.

    The fitted models stay as they are. Subjects are in the order of ``participant_id``.

    Returns
    -------
    ndarray of shape (n_subjects,)
        r with all less r without the subject; NaN where r is not defined.
    """
    sums = subject_sums(cv)
    if sums.constant:
        return np.full(sums.n_subjects, np.nan)
    statistic = over_repeats_of(pearson, sums)
    whole = float(statistic(np.ones((1, sums.n_subjects)))[0])
    return np.asarray(whole - statistic(1.0 - np.eye(sums.n_subjects)))


def influential_subjects(cv: CrossValidation) -> tuple[str, ...]:
    """Return the participants whose influence stands out, the strongest first.

    More than `INFLUENTIAL_SPREADS` times 1.4826 median absolute deviations from the median; at
    most `MAXIMUM_INFLUENTIAL`.
    """
    values = influence(cv)
    if not np.isfinite(values).all():
        return ()
    distance = np.abs(values - np.median(values))
    spread = 1.4826 * float(np.median(distance))
    names = np.unique(cv.keys["participant_id"].to_numpy(dtype=str))
    order = np.argsort(-distance, kind="stable")[:MAXIMUM_INFLUENTIAL]
    limit = max(INFLUENTIAL_SPREADS * spread, 1e-12)
    return tuple(str(names[i]) for i in order if distance[i] > limit)


def without_each(
    design: Design,
    *,
    cv: CrossValidation,
    sites: Sequence[str] | None,
    strata: Sequence[str] | None = None,
    confounds: np.ndarray | None = None,
    config: RegressionConfig,
    seed: int,
    progress: Progress = no_progress,
) -> tuple[Exclusion, ...]:
    """Run ridge again without each site and without each influential subject.

    Folds are drawn as those of the analysis; at random where these follow the ratings. How many
    subjects are left is not said where the size of a small site would follow (`hidden_levels`).

    Parameters
    ----------
    design : Design
    cv : CrossValidation
        Of all rows of the design; says which subjects are influential.
    sites : sequence of str, length n_visits, or None
        Site of each visit; an excluded site takes all visits of whoever was seen there.
    strata : sequence of str, length n_visits, optional
        Site of each visit, where the folds of the analysis know it.
    confounds : ndarray of shape (n_visits, n_confounds), optional
        What the analysis removes from the features.
    config : RegressionConfig
        `cv`, `folds`, `repeats`, `inner_folds` and `alphas` are used.
    seed : int
    progress : callable

    Returns
    -------
    tuple of Exclusion
        Sites in alphabetical order, then subjects by influence.
    """
    names = design.keys["participant_id"].to_numpy(dtype=str)
    without: list[tuple[str, str, np.ndarray]] = []
    hidden: Mapping[str, str] = {}
    if sites is not None:
        at = np.array([str(s) for s in sites])
        for site in sorted(set(at.tolist())):
            gone = np.isin(design.subjects, design.subjects[at == site])
            without.append(("site", site, gone))
        hidden = hidden_levels(
            {site: len(np.unique(design.subjects[gone])) for _, site, gone in without}
        )
    without += [("subject", name, names == name) for name in influential_subjects(cv)]
    if not without:
        return ()
    removed = np.empty((len(names), 0)) if confounds is None else confounds
    known = None if strata is None else np.array([str(s) for s in strata])
    everyone = np.zeros(len(names), dtype=bool)
    whole = over_repeats(pearson_r, _refit(design, everyone, known, removed, config, seed))
    made = []
    for done, (kind, label, gone) in enumerate(without):
        one = _without(design, gone, kind, label, whole, known, removed, config, seed)
        is_hidden = kind == "site" and label in hidden
        made.append(replace(one, n_subjects=None) if is_hidden else one)
        progress("sensitivity", done + 1, len(without))
    return tuple(made)


def _without(
    design: Design,
    gone: np.ndarray,
    kind: str,
    label: str,
    whole: float | None,
    strata: np.ndarray | None,
    confounds: np.ndarray,
    config: RegressionConfig,
    seed: int,
) -> Exclusion:
    left = len(np.unique(design.subjects[~gone]))
    needed = max(MINIMUM_LEFT, 2 * config.folds)
    if left < needed:
        why = f"without {kind} {label} fewer than {needed} subjects are left"
        return Exclusion(kind, label, left, None, None, None, why)
    rest = design.y[~gone]
    if np.ptp(rest) == 0:
        why = f"without {kind} {label} all ratings are {rest[0]:g}"
        return Exclusion(kind, label, left, None, None, None, why)
    try:
        cv = _refit(design, gone, strata, confounds, config, seed)
    except InputError as refused:
        why = f"without {kind} {label}: {'; '.join(refused.faults)}"
        return Exclusion(kind, label, left, None, None, None, why)
    r = over_repeats(pearson_r, cv)
    error = float(np.mean([mae(cv.observed, p, cv.weight) for p in cv.predicted]))
    change = None if r is None or whole is None else r - whole
    why = f"without {kind} {label} r is not defined" if r is None else ""
    return Exclusion(kind, label, left, r, change, error, why)


def _refit(
    design: Design,
    gone: np.ndarray,
    strata: np.ndarray | None,
    confounds: np.ndarray,
    config: RegressionConfig,
    seed: int,
) -> CrossValidation:
    part = subset(design, ~gone)
    sites = None if strata is None else strata[~gone].tolist()
    fold = blind_folds(part.subjects, config=config, seed=seed, y=part.y, sites=sites)
    return refit(part, confounds=confounds[~gone], fold=fold, config=config, seed=seed)
