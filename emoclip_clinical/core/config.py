"""Settings of the model and of its training, with their defaults; no torch here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TowerConfig(_Settings):
    """The image and text towers, both of them open_clip's."""

    name: str = Field(
        "ViT-B-32-quickgelu",
        description="An architecture that open_clip ships, or a name of your own with `definition`",
    )
    definition: dict[str, Any] | None = Field(
        None,
        description="An open_clip model configuration, for towers that open_clip does not ship",
    )
    pretrained: str = Field(
        "openai", description="A weights tag of open_clip, `none` for random weights, or a file"
    )


class TemporalConfig(_Settings):
    """The transformer over [CLS] and the frame vectors of a clip."""

    layers: int = Field(2, ge=1)
    heads: int = Field(8, ge=1)
    head_width: int = Field(64, ge=1)
    mlp_width: int = Field(2048, ge=1)
    positions: int = Field(1024, ge=2, description="Longest sequence, the CLS token included")
    dropout: float = Field(0.0, ge=0, lt=1)


class ModelConfig(_Settings):
    """Architecture of a model and the clock on which it sees a video."""

    name: str = Field("emoclip", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    tower: TowerConfig = TowerConfig()
    temporal: TemporalConfig = TemporalConfig()
    sample_fps: float = Field(6.25, gt=0, le=120, description="Frames a second that it sees")
    frames_per_clip: int = Field(32, ge=1, le=1023, description="Longest clip, in sampled frames")


class OptimiserConfig(_Settings):
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


class TrainingConfig(_Settings):
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
