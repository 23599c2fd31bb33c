"""Settings of training, with their defaults; no torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from emoclip_clinical.core.config import Settings


class OptimiserConfig(Settings):
    """How weights are updated in one stage of training."""

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="Of SGD; AdamW does not use it")
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="Share of the steps")
    step_epochs: tuple[int, ...] = Field(
        (15, 35, 50), description="Epochs after which `steps` multiplies the rate by 0.1"
    )
    clip_gradient_norm: float = Field(1.0, gt=0)


class TrainingConfig(Settings):
    """Contrastive training on captioned clips, in one or two stages.

    Stage `frames` (off by default) trains both towers on single frames and their clips'
    captions. Stage `clips` trains the temporal transformer on whole clips, with the towers
    frozen (the paper's recipe) or trained along.
    """

    frame_epochs: int = Field(0, ge=0, description="Epochs of stage `frames`")
    frame_window: float = Field(
        0.5, gt=0, le=1, description="Middle share of a clip from which its single frame is drawn"
    )
    frame_optimiser: OptimiserConfig = OptimiserConfig()
    epochs: int = Field(30, ge=0, description="Epochs of stage `clips`")
    towers: Literal["frozen", "trained"] = Field("frozen", description="In stage `clips`")
    optimiser: OptimiserConfig = OptimiserConfig()
    batch_clips: int = Field(64, ge=2)
    memory_megabytes: int = Field(
        2048, ge=0, description="Decoded frames that are kept; the rest is decoded again"
    )
    threads: int | None = Field(None, ge=1, description="Of torch on the CPU; none: torch's own")
