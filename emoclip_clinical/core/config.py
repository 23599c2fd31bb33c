"""Settings of the model, with their defaults; no torch here."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """What all settings share: unknown keys are refused, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TowerConfig(Settings):
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


class TemporalConfig(Settings):
    """The transformer over [CLS] and the frame vectors of a clip."""

    layers: int = Field(2, ge=1)
    heads: int = Field(8, ge=1)
    head_width: int = Field(64, ge=1)
    mlp_width: int = Field(2048, ge=1)
    positions: int = Field(1024, ge=2, description="Longest sequence, the CLS token included")
    dropout: float = Field(0.0, ge=0, lt=1)


class ModelConfig(Settings):
    """Architecture of a model and the clock on which it sees a video."""

    name: str = Field("emoclip", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    tower: TowerConfig = TowerConfig()
    temporal: TemporalConfig = TemporalConfig()
    sample_fps: float = Field(6.25, gt=0, le=120, description="Frames a second that it sees")
    frames_per_clip: int = Field(32, ge=1, le=1023, description="Longest clip, in sampled frames")
