"""Confounds: what they predict alone, and what the video adds to them.

Age, sex, medication, site, length of the interview or how well the face was seen may carry a
correlation between video and ratings. Three models on the same rows and folds say how much:
confounds alone, video alone, and both, the confounds unpenalised. The gain from video is the
difference of both to confounds alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from emoclip_clinical.records import CrossValidation, InputError, Progress, no_progress
from emoclip_clinical.regression.comparison import Gain, gain
from emoclip_clinical.regression.config import RegressionConfig, site_columns
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.encoding import EncodedCovariates, encode_covariates
from emoclip_clinical.regression.inference import (
    MINIMUM_EXCHANGEABLE,
    Exchange,
    bootstrap_interval,
    exchange,
    permutation_p,
    permuted_ratings,
)
from emoclip_clinical.regression.metrics import over_repeats, pearson_r
from emoclip_clinical.regression.nested_ridge import (
    Role,
    cross_fit,
    cross_validation,
    pooled_correlations,
    problem_of,
    subset,
)
from emoclip_clinical.regression.partial import partial_correlation
from emoclip_clinical.regression.removal import fit_confounds
from emoclip_clinical.regression.resampling import Interval, no_interval, subject_counts

ROWS_A_CONFOUND = 10
"""Fewer training subjects than this for each confound column are warned of."""
SUBJECTS_PER_COLUMN = 40
"""Fewer subjects than this for each confound column give no p of the gain: what their fit holds by
chance is real in the permuted ratings, and p <= 0.05 was found in 7 to 13 % of null cohorts with
5 to 10 subjects a column (6 % with 60)."""


BELOW_ZERO = (
    "confounds {names}: alone they reach r = {r:.2f}, and below zero lies a model that has learnt "
    "nothing; a gain in r would be counted from there and is not given, read the gain in skill"
)


@dataclass(frozen=True)
class ConfoundAnalysis:
    """What confounds predict, and what video adds.

    Attributes
    ----------
    names : tuple of str
        Covariates that were taken for confounds.
    columns : tuple of str
        Columns they became.
    confounds_only, video, combined, residualised : CrossValidation
        Least squares on the confounds; ridge on the features; both, confounds unpenalised; ridge
        on features from which the confounds were removed inside the fold. Ratings are raw in all.
    confounds_interval : Interval
        Of the pooled r of `confounds_only`.
    confounds_p : float or None
        One-sided permutation p of that r: whole rating vectors swapped among all subjects with
        the same set of visits. Not within strata: what differs between these would then stand in
        every permuted vector, too, and could never be found.
    gain : Gain
        Pooled r of `combined` less that of `confounds_only`; not given where the latter is below
        0.
    skill_gain : Gain
        The same of the skill score.
    gain_p : float or None
        One-sided Freedman-Lane p of the gain in r, swapped within the strata.
    n_permutations : int
    partial_r : float or None
        Correlation of rating and out-of-fold video estimate, given the confounds (mean over
        repeats).
    n_left_out : int
        Visits without a value in some confound.
    warnings : tuple of str
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    confounds_only: CrossValidation
    video: CrossValidation
    combined: CrossValidation
    residualised: CrossValidation
    confounds_interval: Interval
    confounds_p: float | None
    gain: Gain
    skill_gain: Gain
    gain_p: float | None
    n_permutations: int
    partial_r: float | None
    n_left_out: int
    warnings: tuple[str, ...]

    @property
    def confounds_r(self) -> float | None:
        """Pooled r of confounds alone."""
        return over_repeats(pearson_r, self.confounds_only)

    @property
    def combined_r(self) -> float | None:
        """Pooled r of confounds and video."""
        return over_repeats(pearson_r, self.combined)


def analyse_confounds(
    design: Design,
    *,
    names: Sequence[str],
    fold: np.ndarray,
    config: RegressionConfig,
    seed: int,
    table: pd.DataFrame | None = None,
    strata: Sequence[str] | None = None,
    progress: Progress = no_progress,
) -> ConfoundAnalysis:
    """Compare confounds alone, video alone, and both, on the same rows and folds.

    The permutation of the gain follows Freedman & Lane (1983), Journal of Business & Economic
    Statistics 1, 292-298: residuals of the ratings given the confounds are swapped among subjects
    with the same set of visits, added to the fit again, and both models are cross-validated anew.
    With fewer than `SUBJECTS_PER_COLUMN` subjects a column of confounds there is none.

    Parameters
    ----------
    design : Design
    names : sequence of str
        Columns of `table` to take for confounds.
    fold : ndarray of int, shape (n_repeats, n_visits)
        Outer folds, those of the main analysis.
    config : RegressionConfig
        `alphas`, `inner_folds`, `permutations`, `bootstrap` and `confidence` are used.
    seed : int
    table : DataFrame of shape (n_visits, n_columns), optional
        Where the columns stand; the design's covariates by default.
    strata : sequence of str, length n_visits, optional
        Permutations of the gain stay within these.
    progress : callable

    Raises
    ------
    InputError
        With every fault of the columns, and if too few visits are complete.
    """
    encoded = encode_covariates(
        design.covariates if table is None else table,
        names=names,
        forbidden=(*design.items, design.target),
        categories=site_columns(config),
    )
    used, fold = complete_rows(design, encoded, fold=fold, config=config)
    strata = None if strata is None else np.asarray(strata)[encoded.complete].tolist()
    runs = _Runs(used, encoded.values[encoded.complete], fold, config, seed, progress)
    y = used.y[:, np.newaxis]
    fitted = {role: runs.own(role, y) for role in ("confounds", "features", "both", "residualised")}
    sessions = used.keys["session_id"].tolist()
    swaps = exchange(used.subjects, sessions), exchange(used.subjects, sessions, strata=strata)
    confounds_only, combined = fitted["confounds"], fitted["both"]
    counts = subject_counts(used.n_subjects, resamples=config.bootstrap, seed=seed)
    in_r, in_skill = (
        gain(confounds_only, combined, metric=m, counts=counts, confidence=config.confidence)
        for m in ("r", "skill")
    )
    alone = over_repeats(pearson_r, confounds_only)
    alone_p = runs.p_alone(swaps[0], alone)
    # Its null begins below zero as well, so that it may be tested where it is not given.
    gain_p = runs.p_gain(swaps[1], in_r.value) if used.n_subjects >= needed_for_p(encoded) else None
    if alone is not None and alone < 0:
        why = no_interval(BELOW_ZERO.format(names=", ".join(encoded.names), r=alone))
        in_r = replace(in_r, value=None, interval=why, conditional=why)
    return ConfoundAnalysis(
        names=encoded.names,
        columns=encoded.columns,
        confounds_only=confounds_only,
        video=fitted["features"],
        combined=combined,
        residualised=fitted["residualised"],
        confounds_interval=_interval(confounds_only, config, seed),
        confounds_p=alone_p,
        gain=in_r,
        skill_gain=in_skill,
        gain_p=gain_p,
        n_permutations=runs.n_permutations(swaps[0]),
        partial_r=_partial(fitted["features"], runs.confounds),
        n_left_out=int((~encoded.complete).sum()),
        warnings=(
            *(encoded.warnings if table is None else ()),
            *(in_r.interval.warnings if config.bootstrap else ()),
            *_warnings(design, used, encoded, config, swaps[1].n_exchangeable),
        ),
    )


def needed_for_p(encoded: EncodedCovariates) -> int:
    """Return how many subjects a p of the gain needs; see `SUBJECTS_PER_COLUMN`."""
    return SUBJECTS_PER_COLUMN * encoded.n_free


@dataclass(frozen=True)
class _Runs:
    """Cross-validation of one set of rows in several roles."""

    design: Design
    confounds: np.ndarray
    fold: np.ndarray
    config: RegressionConfig
    seed: int
    progress: Progress

    def _fit(self, role: Role, Y: np.ndarray) -> tuple[np.ndarray, tuple[dict[str, float], ...]]:
        problem = problem_of(self.design, confounds=self.confounds)
        made = cross_fit(
            Y,
            problem=problem,
            role=role,
            fold=self.fold,
            config=self.config,
            seed=self.seed,
            progress=self.progress,
        )
        return made.predicted, made.chosen

    def own(self, role: Role, y: np.ndarray) -> CrossValidation:
        predicted, chosen = self._fit(role, y)
        return cross_validation(
            self.design, predicted=predicted[:, :, 0], fold=self.fold, chosen=chosen
        )

    def correlations(self, role: Role, Y: np.ndarray) -> np.ndarray:
        return pooled_correlations(Y, self._fit(role, Y)[0], self.design.weights)

    def n_permutations(self, swaps: Exchange) -> int:
        enough = swaps.n_exchangeable >= MINIMUM_EXCHANGEABLE
        return self.config.permutations if enough else 0

    def p_alone(self, swaps: Exchange, r: float | None) -> float | None:
        """Permutation p of the confounds' r."""
        n = self.n_permutations(swaps)
        if not n or r is None:
            return None
        permuted = permuted_ratings(self.design.y, exchange=swaps, n=n, seed=self.seed)
        return permutation_p(r, self.correlations("confounds", permuted))

    def p_gain(self, swaps: Exchange, gain: float | None) -> float | None:
        """Freedman-Lane p of the gain."""
        n = self.n_permutations(swaps)
        if not n or gain is None:
            return None
        y = self.design.y
        explained = fit_confounds(self.confounds, weight=self.design.weights).hat @ y
        moved = permuted_ratings(y - explained, exchange=swaps, n=n, seed=self.seed)
        star = explained[:, np.newaxis] + moved
        null = self.correlations("both", star) - self.correlations("confounds", star)
        return permutation_p(gain, null)


def complete_rows(
    design: Design, encoded: EncodedCovariates, *, fold: np.ndarray, config: RegressionConfig
) -> tuple[Design, np.ndarray]:
    """Return the visits that have every covariate, and their folds, numbered anew.

    Raises
    ------
    InputError
        Naming the covariates if the visits do not vary, or a training set is too small for the
        inner folds.
    """
    rows = encoded.complete
    used = design if rows.all() else subset(design, rows)
    kept = np.stack([np.unique(f, return_inverse=True)[1] for f in fold[:, rows]])
    training = [
        used.n_subjects - len(np.unique(used.subjects[f == k])) for f in kept for k in np.unique(f)
    ]
    if min(training) < config.inner_folds or np.ptp(used.y) == 0:
        raise InputError(
            f"confounds {', '.join(encoded.names)}: only {used.n_subjects} of {design.n_subjects} "
            f"subjects have a value in each, with {len(np.unique(used.y))} different ratings, and "
            f"{min(training)} of them in the smallest training set; two ratings and "
            f"{config.inner_folds} training subjects are needed"
        )
    return used, kept


def _interval(cv: CrossValidation, config: RegressionConfig, seed: int) -> Interval:
    if not config.bootstrap:
        return no_interval("no bootstrap was asked for")
    return bootstrap_interval(
        cv, resamples=config.bootstrap, confidence=config.confidence, seed=seed
    )


def _partial(cv: CrossValidation, confounds: np.ndarray) -> float | None:
    values = [
        partial_correlation(cv.observed, p, given=confounds, weight=cv.weight) for p in cv.predicted
    ]
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _warnings(
    design: Design,
    used: Design,
    encoded: EncodedCovariates,
    config: RegressionConfig,
    n_exchangeable: int,
) -> tuple[str, ...]:
    found = []
    lost = len(design.y) - len(used.y)
    if lost:
        found.append(
            f"confounds {', '.join(encoded.names)}: {lost} of {len(design.y)} visits lack a value "
            "and are left out of this comparison"
        )
    n_columns = encoded.n_free
    if used.n_subjects < ROWS_A_CONFOUND * n_columns:
        found.append(
            f"{n_columns} columns of confounds for {used.n_subjects} subjects: their own model "
            "overfits, and the gain beside them looks larger than it is"
        )
    if config.permutations and used.n_subjects < needed_for_p(encoded):
        found.append(
            f"no permutation p of the gain: {n_columns} columns of confounds for "
            f"{used.n_subjects} subjects would make it too small, {SUBJECTS_PER_COLUMN} subjects a "
            "column are needed; read the interval of the gain in skill"
        )
    elif config.permutations and n_exchangeable < MINIMUM_EXCHANGEABLE:
        found.append(
            f"no permutation p of the gain: only {n_exchangeable} subjects can be exchanged, "
            f"{MINIMUM_EXCHANGEABLE} are needed"
        )
    return tuple(found)
