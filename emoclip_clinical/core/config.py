"""Settings of the model, with their defaults; no torch here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


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
    text: bool = Field(
        True, description="False for a model without text tower: it embeds clips, refuses texts"
    )


class TemporalConfig(Settings):
    """From the frame vectors of a clip to one vector.

    `transformer` is EmoCLIP's: a transformer over [CLS] and the frame vectors. `mean` (the frame
    ensemble) and `first_frame` are the baselines that it is to be compared with: they have
    nothing to learn, and the settings of the transformer mean nothing to them.
    """

    kind: Literal["transformer", "mean", "first_frame"] = Field(
        "transformer", description="EmoCLIP's transformer, or a baseline with nothing to learn"
    )
    layers: int = Field(2, ge=1, description="Of the transformer")
    heads: int = Field(8, ge=1, description="Attention heads of a layer")
    head_width: int = Field(64, ge=1, description="Of one attention head")
    mlp_width: int = Field(2048, ge=1, description="Of a layer's hidden part")
    positions: int = Field(1024, ge=2, description="Longest sequence, the CLS token included")
    dropout: float = Field(0.0, ge=0, lt=1, description="In training")


FAITHFUL_TEMPORAL = TemporalConfig(
    kind="transformer",
    layers=2,
    heads=8,
    head_width=2048,
    mlp_width=512,
    positions=1024,
    dropout=0.0,
)
"""The temporal part of the published code: head and MLP widths are swapped there by mistake."""


class ModelConfig(Settings):
    """Architecture of a model and the clock on which it sees a video.

    With `faithful`, the model is that of the published code, to the tensor: `temporal` takes the
    values of `FAITHFUL_TEMPORAL`, and pictures are resized without antialiasing. A setting of
    `temporal` that says otherwise is refused.
    """

    name: str = Field(
        "emoclip",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Of the model's folder below models/",
    )
    faithful: bool = Field(
        False, description="The published code's geometry and resizing, its faults included"
    )
    tower: TowerConfig = Field(TowerConfig(), description="Image and text towers")
    temporal: TemporalConfig = Field(
        TemporalConfig(), description="From a clip's frames to one vector"
    )
    sample_fps: float = Field(6.25, gt=0, le=120, description="Frames a second that it sees")
    frames_per_clip: int = Field(32, ge=1, le=1023, description="Longest clip, in sampled frames")
    stride_frames: int | None = Field(
        None,
        ge=1,
        description="Sample clips as the published code does: every so many raw frames from a "
        "random start, not at `sample_fps`; interviews always go by `sample_fps`",
    )

    @model_validator(mode="after")
    def _settle(self) -> ModelConfig:
        if self.faithful:
            self._take_faithful_temporal()
        longest = self.temporal.positions - 1
        if self.temporal.kind == "transformer" and self.frames_per_clip > longest:
            raise ValueError(
                f"frames_per_clip must be at most temporal.positions - 1 = {longest}, "
                f"got {self.frames_per_clip}"
            )
        return self

    def _take_faithful_temporal(self) -> None:
        wanted, came = FAITHFUL_TEMPORAL.model_dump(), self.temporal.model_dump()
        faults = [
            f"temporal.{key} must be {wanted[key]} or left out with faithful: true, got {came[key]}"
            for key in sorted(self.temporal.model_fields_set)
            if came[key] != wanted[key]
        ]
        if faults:
            raise ValueError("; ".join(faults))
        # Frozen settings change here alone, before anybody has seen them.
        object.__setattr__(self, "temporal", FAITHFUL_TEMPORAL)
