"""Settings of the regressors that read segment embeddings."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class SegmentModelConfig(BaseModel):
    """How the MLP probe and attention pooling are built and trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: tuple[int, ...] = Field(
        default=(512, 256), min_length=1, description="Widths of the hidden layers."
    )
    attention_width: int = Field(
        default=128, ge=1, description="Width of the gated attention of attention pooling."
    )
    loss: Literal["rmse", "ccc"] = Field(
        default="rmse", description="Root mean squared error, or 1 - concordance correlation."
    )
    relational_weight: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the relational loss (arXiv 2207.05577) beside it; 0 leaves it out.",
    )
    joint: bool = Field(
        default=False,
        description="Whether one network learns all targets of the protocol, an output each; "
        "ratings of other targets that are missing are left out of its loss.",
    )
    epochs: tuple[int, ...] = Field(
        default=(10, 30), min_length=1, description="Epochs that inner folds choose from."
    )
    batch_visits: int = Field(default=16, ge=2, description="Visits of a training step.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Of AdamW.")
    weight_decay: float = Field(default=1e-2, ge=0, description="Of AdamW.")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="After each hidden layer.")

    @field_validator("hidden", "epochs")
    @classmethod
    def _positive(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if min(values) < 1:
            raise ValueError("values must be 1 or more")
        return values
