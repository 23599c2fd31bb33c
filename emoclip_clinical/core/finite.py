"""Weights that are no numbers make embeddings, and scores, that are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def not_finite(tensors: Mapping[str, Any]) -> list[str]:
    """Return a fault for each tensor that holds NaN or infinity, in the order of `tensors`."""
    return [
        f"tensor {name} holds values that are not finite"
        for name, value in tensors.items()
        if not bool(torch.isfinite(value).all())
    ]
