"""scikit-learn's regressors on standardised features, with ratings in units of their own spread."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np


class ScaledTarget:
    """Fit a regressor to ratings less their training mean over their training SD.

    Penalties and margins then mean the same for an item of 1 to 7 and a sum of 7 to 49.

    Parameters
    ----------
    regressor : object
        With scikit-learn's ``fit(X, y, sample_weight)`` and ``predict``.
    """

    def __init__(self, regressor: Any) -> None:
        self.regressor = regressor

    def fit(self, Z: np.ndarray, y: np.ndarray, *, weight: np.ndarray) -> ScaledTarget:
        """Fit to standardised features (n_train, n_features) and ratings (n_train,)."""
        self.centre_ = float(np.average(y, weights=weight))
        spread = float(np.sqrt(np.average((y - self.centre_) ** 2, weights=weight)))
        self.spread_ = spread or 1.0
        self.regressor.fit(Z, (y - self.centre_) / self.spread_, sample_weight=weight)
        return self

    def predict(self, Z: np.ndarray) -> np.ndarray:
        """Return predictions of shape (n_rows,) in scale points."""
        return np.asarray(self.centre_ + self.spread_ * self.regressor.predict(Z))


class ScaledLinear(ScaledTarget):
    """The same for a linear regressor in steps, whose coefficients are given in scale points."""

    def fit(self, Z: np.ndarray, y: np.ndarray, *, weight: np.ndarray) -> ScaledLinear:
        """See `ScaledTarget.fit`; `converged_` says what scikit-learn would warn of."""
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            super().fit(Z, y, weight=weight)
        self.converged_ = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
        return self

    @property
    def coef_(self) -> np.ndarray:
        """Scale points for one training SD of each feature, (n_features,)."""
        return np.asarray(self.spread_ * self.regressor.coef_)

    @property
    def intercept_(self) -> float:
        """Prediction at the training mean of the features, scale points."""
        return float(self.centre_ + self.spread_ * self.regressor.intercept_)
