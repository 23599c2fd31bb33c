"""Repeated visits: a mixed model, correlation between and within subjects, change scores.

The prediction of a visit is the mean over repeats of its out-of-fold predictions; the correlation
between subjects is the mean over repeats, as pooled r is.

Where everybody improves, whatever else changes from visit to visit (a drug, a room, a camera) goes
with the ratings within subjects, too. So p values stand where what all have in common at a visit
was taken out first, in the mixed model and in the adjusted correlation within subjects.

Out-of-fold predictions of a model that has learnt nothing fall where the ratings rise: they are
means of the others' ratings. Below zero, then, neither p nor interval means anything.
"""

from __future__ import annotations

import warnings as python_warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from emoclip_clinical.records import KEY_COLUMNS, CrossValidation, InputError
from emoclip_clinical.regression.metrics import bias, is_constant, mae, pearson_r
from emoclip_clinical.regression.resampling import (
    Interval,
    correlation_of,
    no_interval,
    subject_counts,
    subject_interval,
)
from emoclip_clinical.regression.subject_sums import subject_numbers
from emoclip_clinical.regression.visit_order import visit_numbers

MINIMUM_REPEATED = 5
"""Fewer subjects with several visits than this give no analysis."""

_BELOW_ZERO = (
    "below zero, where out-of-fold predictions of a model that has learnt nothing lie by "
    "construction; no p and no interval, the permutation test answers"
)


@dataclass(frozen=True)
class MixedModel:
    """Rating on out-of-fold prediction and visit, with a random intercept for each subject (REML).

    Visits are fixed effects, by the name of their session; the intercept is that of the first name.

    Attributes
    ----------
    slope, slope_error, slope_low, slope_high : float
        Scale points of rating for one scale point of prediction; Wald interval.
    p : float
        Two-sided, of slope 0.
    intercept : float
        Scale points.
    subject_variance, residual_variance : float
        Squared scale points.
    """

    slope: float
    slope_error: float
    slope_low: float
    slope_high: float
    p: float
    intercept: float
    subject_variance: float
    residual_variance: float


@dataclass(frozen=True)
class Correlated:
    """A correlation with its degrees of freedom, two-sided p and interval by Fisher's z."""

    r: float
    degrees_of_freedom: int
    p: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Change:
    """Observed and estimated change from a subject's first to last visit.

    Attributes
    ----------
    n_subjects : int
    r : float or None
    r_interval : Interval
        BCa over subjects.
    mae, bias : float
        Of the estimated change, scale points.
    mean_observed, mean_predicted : float
        Mean change, scale points.
    """

    n_subjects: int
    r: float | None
    r_interval: Interval
    mae: float
    bias: float
    mean_observed: float
    mean_predicted: float


@dataclass(frozen=True)
class RepeatedVisits:
    """What repeated visits say of an estimate; parts are None where `warnings` tell why.

    Attributes
    ----------
    n_subjects, n_repeated, n_visits : int
        Subjects, those with several visits, and visits.
    mixed_model : MixedModel or None
    between : Correlated or None
        Of subjects' mean ratings and mean predictions, each subject once; mean over repeats.
    within : Correlated or None
        Repeated-measures correlation; without p and interval, since the common course over visits
        is in it.
    within_adjusted : Correlated or None
        The same with each visit's mean taken out, too.
    change : Change or None
    warnings : tuple of str
    """

    n_subjects: int
    n_repeated: int
    n_visits: int
    mixed_model: MixedModel | None
    between: Correlated | None
    within: Correlated | None
    within_adjusted: Correlated | None
    change: Change | None
    warnings: tuple[str, ...]


def analyse_visits(
    cv: CrossValidation, *, resamples: int, confidence: float, seed: int
) -> RepeatedVisits | None:
    """Analyse repeated visits; None if no subject has several.

    Parameters
    ----------
    resamples : int
        Bootstrap samples of subjects for the interval of change; 0 for none.
    confidence : float
        Level of every interval, in (0, 1).
    """
    subjects, predicted = subject_numbers(cv), cv.predicted.mean(axis=0)
    visits = np.unique(cv.keys["session_id"].to_numpy(dtype=str), return_inverse=True)[1]
    count = np.bincount(subjects)
    repeated = int((count > 1).sum())
    if not repeated:
        return None
    found: list[str] = []
    if repeated < MINIMUM_REPEATED:
        found.append(
            f"only {repeated} subjects have several visits, {MINIMUM_REPEATED} are needed to look "
            "at visits apart from subjects"
        )
        return RepeatedVisits(
            len(count), repeated, len(subjects), None, None, None, None, None, tuple(found)
        )
    enough = not is_constant(predicted) and not is_constant(cv.observed)
    if not enough:
        found.append("repeated visits: ratings or predictions are constant")
    model = None
    if enough:
        model, messages = mixed_model(
            cv.observed, predicted, subjects, visits=visits, confidence=confidence
        )
        if model is not None and model.slope < 0:
            model, messages = None, [f"mixed model: {_BELOW_ZERO}"]
        found += messages
    between = _between(cv, subjects, confidence) if enough else None
    if between is not None and between.r < 0:
        found.append(f"between participants: {_BELOW_ZERO}")
        between = _only_r(between)
    pair = cv.observed, predicted
    within = repeated_correlation(*pair, subjects, confidence=confidence)
    adjusted = repeated_correlation(*pair, subjects, visits=visits, confidence=confidence)
    if enough and within is None:
        found.append("the correlation within subjects is not defined: nobody changes")
    elif enough and adjusted is None:
        found.append(
            "the correlation within subjects less the means of visits is not defined: nobody "
            "changes otherwise than all, or too few share their visits"
        )
    if within is not None:
        within = _only_r(within)
    if adjusted is not None and adjusted.r < 0:
        found.append(f"within participants, less the means of visits: {_BELOW_ZERO}")
        adjusted = _only_r(adjusted)
    change = None
    try:
        change = _change(
            cv, predicted, subjects, resamples=resamples, confidence=confidence, seed=seed
        )
    except InputError as error:
        found.append(f"no change scores: {'; '.join(error.faults)}")
    return RepeatedVisits(
        n_subjects=len(count),
        n_repeated=repeated,
        n_visits=len(subjects),
        mixed_model=model,
        between=between,
        within=within,
        within_adjusted=adjusted,
        change=change,
        warnings=tuple(found),
    )


def one_row_a_visit(cv: CrossValidation) -> CrossValidation:
    """Return the mean rating and prediction of each visit, where raters are rows of their own."""
    visit = cv.keys.groupby(list(KEY_COLUMNS), sort=False, dropna=False).ngroup().to_numpy()
    first = np.unique(visit, return_index=True)[1]
    count = np.bincount(visit)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(visit, weights=values) / count

    subjects = subject_numbers(cv)[first]
    return replace(
        cv,
        keys=cv.keys.iloc[first].reset_index(drop=True),
        observed=mean(cv.observed),
        predicted=np.stack([mean(p) for p in cv.predicted]),
        baseline=np.stack([mean(b) for b in cv.baseline]),
        fold=cv.fold[:, first],
        weight=1.0 / np.bincount(subjects)[subjects],
    )


def mixed_model(
    observed: np.ndarray,
    predicted: np.ndarray,
    subjects: np.ndarray,
    *,
    visits: np.ndarray,
    confidence: float,
) -> tuple[MixedModel | None, list[str]]:
    """Fit rating on prediction and visit with a random intercept, and return its warnings.

    Parameters
    ----------
    observed, predicted : ndarray of shape (n_visits,)
    subjects : ndarray of int, shape (n_visits,)
    visits : ndarray of int, shape (n_visits,)
        Number of each row's session; every one but number 0 gets a fixed effect.
    confidence : float

    Returns
    -------
    MixedModel or None
        None where the fit failed or did not converge, or the visits' effects leave nothing.
    list of str
    """
    from statsmodels.regression.mixed_linear_model import MixedLM

    design = np.column_stack([np.ones_like(predicted), predicted, _dummies(visits)])
    if len(observed) < 2 * design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        return None, ["mixed model: too few participants share their visits for effects of visits"]
    with python_warnings.catch_warnings(record=True) as caught:
        python_warnings.simplefilter("always")
        try:
            fit = MixedLM(observed, design, groups=subjects).fit(reml=True)
        except np.linalg.LinAlgError as error:
            return None, [f"mixed model: could not be fitted ({error})"]
    messages = sorted({f"mixed model: {str(w.message).splitlines()[0]}" for w in caught})
    if not fit.converged:
        return None, ["mixed model: it did not converge"]
    numbers = [float(fit.fe_params[1]), float(fit.bse_fe[1])]
    if not np.isfinite(numbers).all():
        return None, [*messages, "mixed model: the standard error is not defined"]
    slope, error_of_slope = numbers
    z = float(stats.norm.ppf((1 + confidence) / 2))
    model = MixedModel(
        slope=slope,
        slope_error=error_of_slope,
        slope_low=slope - z * error_of_slope,
        slope_high=slope + z * error_of_slope,
        p=float(2 * stats.norm.sf(abs(slope / error_of_slope))),
        intercept=float(fit.fe_params[0]),
        subject_variance=float(np.asarray(fit.cov_re)[0, 0]),
        residual_variance=float(fit.scale),
    )
    return model, messages


def repeated_correlation(
    x: np.ndarray,
    y: np.ndarray,
    subjects: np.ndarray,
    *,
    visits: np.ndarray | None = None,
    confidence: float,
) -> Correlated | None:
    """Return the repeated-measures correlation (Bakdash & Marusich 2017, Front. Psychol. 8, 456).

    Correlation of deviations from each subject's own means; subjects with one visit say nothing.
    Degrees of freedom are visits less subjects less 1, of subjects with several visits. None
    where nobody changes or there are none.

    Parameters
    ----------
    x, y : ndarray of shape (n_visits,)
    subjects : ndarray of int, shape (n_visits,)
    visits : ndarray of int, shape (n_visits,), optional
        Number of each row's session: effects of sessions are removed beside those of subjects,
        as dummy variables would, each for a degree of freedom.
    confidence : float
    """
    count = np.bincount(subjects)
    several = count[subjects] > 1

    def deviations(values: np.ndarray) -> np.ndarray:
        mean = np.bincount(subjects, weights=values)[subjects] / count[subjects]
        return np.asarray((values - mean)[several])

    dummies = np.empty((len(x), 0)) if visits is None else _dummies(visits)
    effects = np.column_stack([np.empty((several.sum(), 0)), *map(deviations, dummies.T)])
    basis, size, _ = np.linalg.svd(effects, full_matrices=False)
    basis = basis[:, size > 1e-9]
    degrees = int(several.sum() - (count > 1).sum()) - 1 - basis.shape[1]
    if degrees < 1:
        return None
    left = []
    for values in (x, y):
        rest = deviations(values)
        rest -= basis @ (basis.T @ rest)
        if np.abs(rest).max() <= 1e-12 * max(np.abs(values).max(), 1e-300):
            return None
        left.append(rest)
    r = float(left[0] @ left[1] / np.sqrt((left[0] @ left[0]) * (left[1] @ left[1])))
    return _correlated(r, degrees, confidence)


def _dummies(numbers: np.ndarray) -> np.ndarray:
    """Return a column of 0 and 1 for each number but 0."""
    return np.asarray(numbers[:, np.newaxis] == np.arange(1, numbers.max() + 1), dtype=np.float64)


def _only_r(found: Correlated) -> Correlated:
    return replace(found, p=None, low=None, high=None)


def _between(cv: CrossValidation, subjects: np.ndarray, confidence: float) -> Correlated | None:
    count = np.bincount(subjects)
    observed, *predicted = (
        np.bincount(subjects, weights=values) / count for values in (cv.observed, *cv.predicted)
    )
    found = [pearson_r(observed, p, np.ones(len(count))) for p in predicted]
    defined = [r for r in found if r is not None]
    if len(defined) < len(found):
        return None
    return _correlated(float(np.mean(defined)), len(count) - 2, confidence)


def _correlated(r: float, degrees: int, confidence: float) -> Correlated:
    inside = min(max(r, -1.0), 1.0)
    if abs(inside) >= 1 - 1e-15:
        return Correlated(inside, degrees, 0.0, inside, inside)
    t = inside * np.sqrt(degrees / (1 - inside**2))
    p = float(2 * stats.t.sf(abs(t), degrees))
    if degrees < 2:
        return Correlated(inside, degrees, p, None, None)
    half = stats.norm.ppf((1 + confidence) / 2) / np.sqrt(degrees - 1)
    low, high = (float(np.tanh(np.arctanh(inside) + s * half)) for s in (-1, 1))
    return Correlated(inside, degrees, p, low, high)


def _first_and_last(cv: CrossValidation, subjects: np.ndarray) -> np.ndarray:
    """Return the rows of the first and the last visit of each subject with several; (2, n)."""
    rows = np.flatnonzero(np.bincount(subjects)[subjects] > 1)
    sessions = cv.keys["session_id"].iloc[rows].tolist()
    number = visit_numbers(sessions)
    pairs = []
    for subject in np.unique(subjects[rows]):
        own = np.flatnonzero(subjects[rows] == subject)
        at = own[np.argsort(number[own])]
        if number[at[0]] == number[at[1]] or number[at[-1]] == number[at[-2]]:
            raise InputError(
                "a change needs a first and a last visit, and several of a subject have the same "
                f"number: {', '.join(sessions[i] for i in at[:5])}"
            )
        pairs.append((rows[at[0]], rows[at[-1]]))
    return np.array(pairs).T


def _change(
    cv: CrossValidation,
    predicted: np.ndarray,
    subjects: np.ndarray,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Change:
    first, last = _first_and_last(cv, subjects)
    observed = cv.observed[last] - cv.observed[first]
    estimated = predicted[last] - predicted[first]
    ones = np.ones(len(observed))
    r = pearson_r(observed, estimated, ones)
    interval = no_interval("r of change is not defined")
    if r is not None:
        interval = no_interval("no bootstrap was asked for")
        if resamples:
            counts = subject_counts(len(observed), resamples=resamples, seed=seed)
            interval = subject_interval(
                correlation_of(observed, estimated),
                counts=counts,
                confidence=confidence,
                name="r of change",
            )
    return Change(
        n_subjects=len(observed),
        r=r,
        r_interval=interval,
        mae=mae(observed, estimated, ones),
        bias=bias(observed, estimated, ones),
        mean_observed=float(observed.mean()),
        mean_predicted=float(estimated.mean()),
    )
