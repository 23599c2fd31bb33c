"""The models by name: what each one is, what is tuned, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.config import ModelName, RegressionConfig
from emoclip_clinical.regression.models.base import Model
from emoclip_clinical.regression.models.ordinal import ProportionalOdds
from emoclip_clinical.regression.models.pls import WeightedPLS
from emoclip_clinical.regression.models.search import Candidate, Regressor, SearchModel
from emoclip_clinical.regression.models.smoothers import (
    GaussianProcessModel,
    KernelRidgeModel,
    RidgeModel,
)
from emoclip_clinical.regression.models.standard import ScaledLinear, ScaledTarget

ELASTIC_ALPHAS = (0.01, 0.03, 0.1, 0.3, 1.0)
ELASTIC_SHARES = (0.1, 0.5, 0.9)
ELASTIC_STEPS = 50_000
COMPONENTS = (1, 2, 3, 5, 8)
MARGIN_COSTS = (0.1, 1.0, 10.0)
KERNEL_WIDTHS = (0.1, 0.3, 1.0)
LEAF_ROWS = (2, 5, 10)
TREES = 100
LEARNING_RATES = (0.03, 0.1)
BOOSTING_ROUNDS = (30, 100)
ODDS_PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)

SegmentModels = Mapping[ModelName, Model]
"""Models of segments, which the study hands over, since they need torch."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model is.

    Attributes
    ----------
    title : str
        As a reader of the report knows it.
    description : str
        Pipeline and tuning, a sentence.
    needs_segments : bool
        Whether it reads segment embeddings instead of pooled features.
    """

    title: str
    description: str
    needs_segments: bool = False


CATALOGUE: Mapping[ModelName, ModelInfo] = {
    "ridge": ModelInfo("ridge regression", "linear with a squared penalty; the penalty is tuned"),
    "kernel_ridge": ModelInfo(
        "kernel ridge regression", "Gaussian kernel; penalty and width are tuned"
    ),
    "gaussian_process": ModelInfo(
        "Gaussian process",
        "Gaussian kernel; width, noise and variance by marginal likelihood of the training fold",
    ),
    "elastic_net": ModelInfo(
        "elastic net", "linear with squared and absolute penalties; both are tuned"
    ),
    "pls": ModelInfo(
        "partial least squares", "directions of greatest covariance; their number is tuned"
    ),
    "svr": ModelInfo(
        "support vector regression", "Gaussian kernel, margin 0.1 SD; cost and width are tuned"
    ),
    "random_forest": ModelInfo(
        "random forest", f"{TREES} trees on thirds of the features; the leaf size is tuned"
    ),
    "gradient_boosting": ModelInfo(
        "histogram gradient boosting", "trees of 8 leaves; rate and number of rounds are tuned"
    ),
    "ordinal": ModelInfo(
        "proportional odds",
        "cumulative logits with a squared penalty, which is tuned; expected rating",
    ),
    "mlp_probe": ModelInfo(
        "MLP probe",
        "an MLP on each segment's embedding, averaged to the visit; epochs are tuned",
        needs_segments=True,
    ),
    "attention_pooling": ModelInfo(
        "attention pooling",
        "segments weighted by learnt attention, then an MLP; epochs are tuned",
        needs_segments=True,
    ),
}


def make_model(
    name: ModelName, *, config: RegressionConfig, segment_models: SegmentModels | None = None
) -> Model:
    """Return a model with its candidates.

    Parameters
    ----------
    name : str
    config : RegressionConfig
        `alphas` are the penalties of ridge and kernel ridge.
    segment_models : mapping of str to Model, optional
        Those that read segments.

    Raises
    ------
    InputError
        For a model of segments where none were handed over.
    """
    if name == "ridge":
        return RidgeModel(config.alphas)
    if name == "kernel_ridge":
        return KernelRidgeModel(config.alphas)
    if name == "gaussian_process":
        return GaussianProcessModel()
    if CATALOGUE[name].needs_segments:
        if segment_models is None or name not in segment_models:
            raise InputError(
                f"model {name} reads the embeddings of segments: a features folder that extract "
                "wrote is needed"
            )
        return segment_models[name]
    candidates, make = _SEARCHED[name]
    return SearchModel(candidates, make)


def model_names() -> tuple[ModelName, ...]:
    """Return every model's name."""
    names: tuple[ModelName, ...] = get_args(ModelName)
    return names


def _elastic_net(candidate: Candidate, seed: int) -> Regressor:
    from sklearn.linear_model import ElasticNet

    return ScaledLinear(
        ElasticNet(
            alpha=candidate["alpha"],
            l1_ratio=candidate["l1_ratio"],
            max_iter=ELASTIC_STEPS,
            tol=1e-4,
        )
    )


def _pls(candidate: Candidate, seed: int) -> Regressor:
    return WeightedPLS(components=int(candidate["components"]))


def _svr(candidate: Candidate, seed: int) -> Regressor:
    return ScaledTarget(_WidthBySize(cost=candidate["cost"], width=candidate["width"]))


class _WidthBySize:
    """SVR whose kernel width is that of `KernelRidgeModel`, in units of the number of features."""

    def __init__(self, *, cost: float, width: float) -> None:
        self.cost, self.width = cost, width

    def fit(self, Z: np.ndarray, y: np.ndarray, sample_weight: np.ndarray) -> _WidthBySize:
        from sklearn.svm import SVR

        gamma = self.width / Z.shape[1]
        self.svr_ = SVR(kernel="rbf", C=self.cost, gamma=gamma, epsilon=0.1)
        self.svr_.fit(Z, y, sample_weight=sample_weight)
        return self

    def predict(self, Z: np.ndarray) -> np.ndarray:
        return np.asarray(self.svr_.predict(Z))


def _random_forest(candidate: Candidate, seed: int) -> Regressor:
    from sklearn.ensemble import RandomForestRegressor

    return ScaledTarget(
        RandomForestRegressor(
            n_estimators=TREES,
            min_samples_leaf=int(candidate["leaf_rows"]),
            max_features=1 / 3,
            random_state=seed,
        )
    )


def _gradient_boosting(candidate: Candidate, seed: int) -> Regressor:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return ScaledTarget(
        HistGradientBoostingRegressor(
            learning_rate=candidate["learning_rate"],
            max_iter=int(candidate["rounds"]),
            max_leaf_nodes=8,
            min_samples_leaf=8,
            early_stopping=False,
            random_state=seed,
        )
    )


def _ordinal(candidate: Candidate, seed: int) -> Regressor:
    return ProportionalOdds(alpha=candidate["alpha"])


def _grid(**values: tuple[float, ...]) -> tuple[Candidate, ...]:
    return tuple(dict(zip(values, found, strict=True)) for found in product(*values.values()))


_SEARCHED: Mapping[ModelName, tuple[tuple[Candidate, ...], Callable[[Candidate, int], Regressor]]]
_SEARCHED = {
    "elastic_net": (_grid(alpha=ELASTIC_ALPHAS, l1_ratio=ELASTIC_SHARES), _elastic_net),
    "pls": (_grid(components=COMPONENTS), _pls),
    "svr": (_grid(cost=MARGIN_COSTS, width=KERNEL_WIDTHS), _svr),
    "random_forest": (_grid(leaf_rows=LEAF_ROWS), _random_forest),
    "gradient_boosting": (
        _grid(learning_rate=LEARNING_RATES, rounds=BOOSTING_ROUNDS),
        _gradient_boosting,
    ),
    "ordinal": (_grid(alpha=ODDS_PENALTIES), _ordinal),
}
