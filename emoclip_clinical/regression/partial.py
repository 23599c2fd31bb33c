"""Correlation of two variables, given others."""

from __future__ import annotations

import numpy as np

from emoclip_clinical.regression.metrics import pearson_r
from emoclip_clinical.regression.removal import fit_confounds

EXPLAINED = 1e-12
"""Share of a variable's spread below which nothing of it is left."""


def partial_correlation(
    x: np.ndarray, y: np.ndarray, *, given: np.ndarray, weight: np.ndarray | None = None
) -> float | None:
    """Return Pearson r of what linear fits to `given` leave of x and of y.

    None where one of them is constant, wholly explained, or rows are too few.

    Parameters
    ----------
    x, y : ndarray of shape (n_rows,)
    given : ndarray of shape (n_rows, n_given)
    weight : ndarray of shape (n_rows,), optional
        1 by default.
    """
    weight = np.ones(len(x)) if weight is None else weight
    if len(x) < given.shape[1] + 3:
        return None
    hat = fit_confounds(given, weight=weight).hat
    left = []
    for values in (x, y):
        rest = values - hat @ values
        spread = np.sqrt(np.average((values - values.mean()) ** 2))
        if np.abs(rest).max() <= EXPLAINED * max(spread, np.abs(values).max()):
            return None
        left.append(rest)
    return pearson_r(left[0], left[1], weight)
