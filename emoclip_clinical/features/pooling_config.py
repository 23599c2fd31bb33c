"""The names of what an interview's segments can be pooled to."""

from __future__ import annotations

from typing import Literal

PoolingStatistic = Literal[
    "mean",
    "sd",
    "spread",
    "movement",
    "entropy",
    "quantiles",
    "above_chance",
    "dominant",
    "change",
    "transitions",
    "expressivity",
    "embedding_mean",
    "embedding_sd",
]
"""A statistic, or several that belong together; see `pooling`."""

PoolingWeights = Literal["equal", "face_seconds"]
"""How much a segment counts: all alike, or by how long the face was seen in it."""

POOLING: tuple[PoolingStatistic, ...] = ("mean", "sd", "spread", "movement", "entropy")
"""The default."""
