"""Errors in subgroups: by sex, age band, site, medication; small cells are not shown.

A cell that is hidden alone would follow from the others and the whole, and so would the sum of
several; then the next smallest is hidden too (secondary suppression; Cox 1980, Journal of the
American Statistical Association 75, 377-385).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from emoclip_clinical.records import CrossValidation, InputError
from emoclip_clinical.regression.labels import label_of
from emoclip_clinical.regression.metrics import bias, mae
from emoclip_clinical.regression.resampling import (
    Interval,
    no_interval,
    subject_counts,
    subject_interval,
)
from emoclip_clinical.regression.subject_sums import (
    absolute_error,
    mean_bias,
    over_repeats_of,
    subject_numbers,
    subject_sums,
)

MINIMUM_CELL = 10
"""Subgroups of fewer subjects than this are not shown."""
AGE_EDGES_YEARS = (30.0, 45.0, 60.0)
"""Ages at which a new band begins."""
MAXIMUM_LEVELS = 12
EXACT_DIGITS = 17
"""Significant digits that tell any two numbers apart."""
SMALL = f"fewer than {MINIMUM_CELL} subjects"
BESIDE_SMALL = "hidden, so that smaller groups do not follow from the others and the whole"


@dataclass(frozen=True)
class Subgroup:
    """Errors of the subjects of one level of one variable.

    Attributes
    ----------
    variable, level : str
    n_subjects : int or None
        None where the cell is suppressed.
    mae, bias : float or None
        Mean over repeats, scale points; bias is of predicted - observed. None where suppressed.
    mae_interval, bias_interval : Interval
        BCa over the subjects of the cell.
    hidden_because : str
        `SMALL` or `BESIDE_SMALL` where the cell is suppressed, else empty.
    """

    variable: str
    level: str
    n_subjects: int | None
    mae: float | None
    bias: float | None
    mae_interval: Interval
    bias_interval: Interval
    hidden_because: str = ""

    @property
    def is_suppressed(self) -> bool:
        """Whether the cell is not shown."""
        return bool(self.hidden_because)


def subgroups(
    cv: CrossValidation,
    *,
    covariates: pd.DataFrame,
    names: Sequence[str],
    resamples: int,
    confidence: float,
    seed: int,
    categories: Sequence[str] = (),
) -> tuple[Subgroup, ...]:
    """Return MAE and bias in every level of the named covariates.

    Numbers with more than `MAXIMUM_LEVELS` different values become bands (`level_names`). A
    missing value is a level of its own. A subject whose level differs between visits counts in
    each, with the visits that belong there. Levels of fewer than `MINIMUM_CELL` subjects are not
    shown; nor are the next smallest ones, until at least two levels of the variable are hidden
    that hold `MINIMUM_CELL` subjects together.

    Parameters
    ----------
    covariates : DataFrame of shape (n_visits, n_covariates)
        Rows as in the cross-validation.
    names : sequence of str
        Covariates that make subgroups.
    resamples : int
        Bootstrap samples of subjects; 0 for no intervals.
    confidence : float
        Level of the intervals, in (0, 1).
    categories : sequence of str
        Covariates, in any case, that are categories even where they hold numbers.

    Raises
    ------
    InputError
        With every name that is no column, or is a category with too many different values.
    """
    coded = {name.casefold() for name in categories}
    faults = [f"subgroups: there is no column {n!r}" for n in names if n not in covariates]
    levels: dict[str, list[str]] = {}
    for name in names:
        if name not in covariates:
            continue
        is_category = name.casefold() in coded
        if fault := level_fault(covariates[name], name=name, is_category=is_category):
            faults.append(fault)
        levels[name] = level_names(covariates[name], name=name, is_category=is_category)
    if faults:
        raise InputError(faults)
    made = []
    for name, of_rows in levels.items():
        at = np.array(of_rows, dtype=object)
        parts = {
            level: _rows_of(cv, at == level) for level in sorted(set(of_rows), key=_level_order)
        }
        hidden = hidden_levels({level: _n_subjects(part) for level, part in parts.items()})
        for level, part in parts.items():
            if level in hidden:
                made.append(_suppressed(name, level, hidden[level]))
            else:
                made.append(_subgroup(part, name, level, resamples, confidence, seed))
    return tuple(made)


def hidden_levels(sizes: Mapping[str, int]) -> dict[str, str]:
    """Return the levels whose number of subjects is not shown, and why.

    Parameters
    ----------
    sizes : mapping of str to int
        Subjects of each level of a variable.
    """
    hidden = {level: SMALL for level, n in sizes.items() if n < MINIMUM_CELL}
    by_size = sorted((n, place, level) for place, (level, n) in enumerate(sizes.items()))
    # Sorted by size, so that the small ones come first and are passed over.
    for _, _, level in by_size:
        together = sum(sizes[one] for one in hidden)
        if not hidden or (len(hidden) > 1 and together >= MINIMUM_CELL):
            break
        hidden.setdefault(level, BESIDE_SMALL)
    return hidden


def _n_subjects(part: CrossValidation) -> int:
    return int(subject_numbers(part).max()) + 1


def _suppressed(name: str, level: str, reason: str) -> Subgroup:
    nothing = no_interval(reason)
    return Subgroup(name, level, None, None, None, nothing, nothing, reason)


def level_fault(column: pd.Series, *, name: str, is_category: bool = False) -> str | None:
    """Return why a column makes no subgroups, where it does not; see `level_names`."""
    n_levels = len(set(level_names(column.dropna(), name=name, is_category=is_category)))
    if n_levels <= MAXIMUM_LEVELS:
        return None
    return (
        f"subgroups: column {name!r} has {n_levels} different categories, {MAXIMUM_LEVELS} are the "
        "most"
    )


def level_names(column: pd.Series, *, name: str, is_category: bool = False) -> list[str]:
    """Return the level of each row: a category, a small number, or a band of a number.

    Columns called ``age`` (or ``age_years``) are cut at `AGE_EDGES_YEARS`, other numbers with
    many values at their terciles, which no model sees. Numbers that stand for categories, such as
    those of sites, are not cut.
    """
    missing = column.isna().to_numpy()
    is_number = pd.api.types.is_numeric_dtype(column) and not is_category
    is_age = is_number and name.lower() in {"age", "age_years"}
    if not is_number or (column.dropna().nunique() <= MAXIMUM_LEVELS and not is_age):
        texts = [label_of(v) for v in column.tolist()]
        return ["missing" if m else t for m, t in zip(missing, texts, strict=True)]
    values = column.to_numpy(dtype=np.float64)
    if is_age:
        edges = np.array(AGE_EDGES_YEARS)
    else:
        edges = np.unique(np.quantile(values[~missing], [1 / 3, 2 / 3]))
    bands = _band_names(edges, values[~missing])
    return [
        "missing" if m else bands[int(np.searchsorted(edges, v, side="right"))]
        for m, v in zip(missing, values, strict=True)
    ]


def _band_names(edges: np.ndarray, values: np.ndarray) -> list[str]:
    shown = [label_of(edge) for edge in _rounded(edges, values)]
    middle = [f"{a} to below {b}" for a, b in pairwise(shown)]
    return [f"below {shown[0]}", *middle, f"{shown[-1]} and above"]


def _rounded(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the edges with six digits, or so many more that every value keeps its band."""
    bands = np.searchsorted(edges, values, side="right")
    for digits in range(6, EXACT_DIGITS):
        rounded = np.array([float(f"{edge:.{digits}g}") for edge in edges])
        if np.array_equal(np.searchsorted(rounded, values, side="right"), bands):
            return rounded
    return edges


def _level_order(level: str) -> tuple[int, float, str]:
    if level == "missing":
        return (3, 0.0, level)
    first = level.split()[0]
    try:
        return (0, float(first), level)
    except ValueError:
        return (-1 if first == "below" else 1, 0.0, level)


def _rows_of(cv: CrossValidation, rows: np.ndarray) -> CrossValidation:
    """Return the rows of a level, each subject counting once there."""
    places = np.flatnonzero(rows)
    keys = cv.keys.iloc[places].reset_index(drop=True)
    subjects = np.unique(keys["participant_id"].to_numpy(dtype=str), return_inverse=True)[1]
    return CrossValidation(
        target=cv.target,
        keys=keys,
        observed=cv.observed[places],
        predicted=cv.predicted[:, places],
        baseline=cv.baseline[:, places],
        fold=cv.fold[:, places],
        weight=1.0 / np.bincount(subjects)[subjects],
        chosen=(),
    )


def _subgroup(
    part: CrossValidation, name: str, level: str, resamples: int, confidence: float, seed: int
) -> Subgroup:
    n = _n_subjects(part)
    intervals = [no_interval("no bootstrap was asked for")] * 2
    if resamples:
        counts, sums = subject_counts(n, resamples=resamples, seed=seed), subject_sums(part)
        intervals = [
            subject_interval(
                over_repeats_of(metric, sums), counts=counts, confidence=confidence, name=text
            )
            for metric, text in ((absolute_error, "mae"), (mean_bias, "bias"))
        ]
    values = [
        float(np.mean([measure(part.observed, p, part.weight) for p in part.predicted]))
        for measure in (mae, bias)
    ]
    return Subgroup(name, level, n, values[0], values[1], intervals[0], intervals[1])
