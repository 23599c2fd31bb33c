"""Ordinal regression: proportional odds with a ridge penalty."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

MAXIMUM_ITERATIONS = 2_000


class ProportionalOdds:
    """Cumulative logit model P(y <= level_j) = expit(θ_j - z·β) (McCullagh 1980, JRSS B 42).

    Every rating that occurs in training is a level, so that sums of items need no binning (Liu et
    al. 2017, Statistics in Medicine 36). The penalty is alpha ‖β‖²/2 beside the negative weighted
    log-likelihood; thresholds are not penalised. The prediction is the expected rating.

    Parameters
    ----------
    alpha : float
        Penalty, 0 or more.
    """

    def __init__(self, *, alpha: float) -> None:
        self.alpha = alpha

    def fit(self, Z: np.ndarray, y: np.ndarray, *, weight: np.ndarray) -> ProportionalOdds:
        """Fit to standardised features (n_train, n_features) and ratings (n_train,)."""
        self.levels_, at = np.unique(y, return_inverse=True)
        n_cuts = len(self.levels_) - 1
        if n_cuts == 0:
            self.coef_, self.thresholds_ = np.zeros(Z.shape[1]), np.empty(0)
            self.converged_ = True
            return self
        below = np.cumsum(np.bincount(at, weights=weight))[:-1] / weight.sum()
        cuts = np.log(below / (1 - below))
        # First cut and the logarithms of the gaps: the cuts stay in order without a constraint.
        start = np.concatenate([np.zeros(Z.shape[1]), cuts[:1], np.log(np.diff(cuts))])
        found = minimize(
            _loss,
            start,
            args=(Z, at, weight, n_cuts, self.alpha),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAXIMUM_ITERATIONS, "ftol": 1e-10, "gtol": 1e-6},
        )
        self.coef_ = found.x[: Z.shape[1]]
        self.thresholds_ = _cuts(found.x[Z.shape[1] :])
        self.converged_ = bool(found.success)
        return self

    def probabilities(self, Z: np.ndarray) -> np.ndarray:
        """Return the probability of each level, (n_rows, n_levels)."""
        below = expit(self.thresholds_ - (Z @ self.coef_)[:, np.newaxis])
        edges = np.column_stack([np.zeros(len(Z)), below, np.ones(len(Z))])
        return np.asarray(np.diff(edges, axis=1))

    def predict(self, Z: np.ndarray) -> np.ndarray:
        """Return the expected rating of each row, (n_rows,), in scale points."""
        return np.asarray(self.probabilities(Z) @ self.levels_)


def _cuts(parameters: np.ndarray) -> np.ndarray:
    return np.cumsum(np.concatenate([parameters[:1], np.exp(np.clip(parameters[1:], -30, 30))]))


def _loss(
    parameters: np.ndarray,
    Z: np.ndarray,
    at: np.ndarray,
    weight: np.ndarray,
    n_cuts: int,
    alpha: float,
) -> tuple[float, np.ndarray]:
    """Penalised negative log-likelihood and its gradient."""
    beta, free = parameters[: Z.shape[1]], parameters[Z.shape[1] :]
    cuts = np.concatenate([[-np.inf], _cuts(free), [np.inf]])
    eta = Z @ beta
    upper, lower = expit(cuts[at + 1] - eta), expit(cuts[at] - eta)
    probability = np.maximum(upper - lower, 1e-300)
    loss = -float(weight @ np.log(probability)) + 0.5 * alpha * float(beta @ beta)
    of_upper = weight * upper * (1 - upper) / probability
    of_lower = weight * lower * (1 - lower) / probability
    of_beta = Z.T @ (of_upper - of_lower) + alpha * beta
    of_cuts = np.zeros(n_cuts + 2)
    np.add.at(of_cuts, at + 1, -of_upper)
    np.add.at(of_cuts, at, of_lower)
    # A gap moves every cut above it.
    onward = np.cumsum(of_cuts[1:-1][::-1])[::-1]
    gaps = np.exp(np.clip(free[1:], -30, 30))
    of_free = np.concatenate([onward[:1], onward[1:] * gaps])
    return loss, np.concatenate([of_beta, of_free])
