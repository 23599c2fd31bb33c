"""What an estimate needs before its long work, and all that it refuses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.config import RegressionConfig, Scheme
from emoclip_clinical.regression.covariate_columns import (
    check_confounds,
    check_subgroups,
    sites_of,
    with_confounds,
)
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.folds import draw_folds
from emoclip_clinical.regression.inference import (
    MINIMUM_EXCHANGEABLE,
    Exchange,
    can_change,
    exchange,
)

LEAVE_ONE_OUT: tuple[Scheme, ...] = ("leave_one_subject_out", "rebalanced_leave_one_subject_out")


@dataclass(frozen=True)
class Prepared:
    """A design that can be estimated.

    Attributes
    ----------
    design : Design
        The visits that have every confound to be removed.
    confounds : ndarray of shape (n_visits, n_confounds)
        Those to be removed.
    sites : tuple of str, length n_visits, or None
        None where the analysis knows no sites.
    exchange : Exchange
        Which subjects may swap their ratings.
    n_permutations : int
        0 where too few may.
    """

    design: Design
    confounds: np.ndarray
    sites: tuple[str, ...] | None
    exchange: Exchange
    n_permutations: int


def prepare(design: Design, *, config: RegressionConfig, seed: int) -> Prepared:
    """Return what an estimate of a design works on; takes no time to speak of.

    Raises
    ------
    InputError
        For fewer subjects than folds, too few training subjects for the inner folds, ratings
        that do not vary, or columns of sites, subgroups and confounds that can not be used.
    """
    check_subgroups(design, config)
    design, confounds = with_confounds(design, config)
    sites = sites_of(design, config)
    _check(design, config, sites)
    check_confounds(design, config, seed=seed, sites=sites)
    swaps = exchange(design.subjects, design.keys["session_id"].tolist(), strata=sites)
    n_permutations = config.permutations if swaps.n_exchangeable >= MINIMUM_EXCHANGEABLE else 0
    if n_permutations and not can_change(design.y, exchange=swaps):
        alike = "within any site" if sites else "among subjects with the same visits"
        raise InputError(
            f"target {design.target}: ratings do not vary {alike}: nothing can be permuted"
        )
    return Prepared(design, confounds, sites, swaps, n_permutations)


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
