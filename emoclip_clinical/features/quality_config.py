"""Thresholds of recording quality: which segments are good enough to be scored."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class QualityConfig(BaseModel):
    """What a segment must reach for status ``ok``; fixed before outcomes are seen.

    Only coverage is on by default. The others also follow the camera, how a person sits and moves,
    and the skin (a darker face is a darker picture), so leaving out segments by them can leave out
    people; that is the study's decision. ``emoclip-clinical quality`` shows, without any rating,
    how many segments each would leave out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    minimum_coverage: float = Field(
        default=0.4,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Share of a segment's frames that must show the face for status 'ok'.",
    )
    minimum_face_height_pixels: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Median height of the face's box in the video's own pixels; null: any.",
    )
    minimum_sharpness: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Median variance of the Laplacian of what the model sees; depends on the "
        "model's picture size; null: any.",
    )
    minimum_brightness: float | None = Field(
        default=None,
        gt=0,
        lt=255,
        allow_inf_nan=False,
        description="Median grey level of what the model sees, 0 to 255; null: any.",
    )
    maximum_brightness: float | None = Field(
        default=None,
        gt=0,
        lt=255,
        allow_inf_nan=False,
        description="Median grey level of what the model sees, 0 to 255; null: any.",
    )
    maximum_head_motion: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Mean speed of the face's box in face heights per second; null: any.",
    )

    @model_validator(mode="after")
    def _room_between(self) -> QualityConfig:
        low, high = self.minimum_brightness, self.maximum_brightness
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"minimum_brightness must be below maximum_brightness, got {low:g} and {high:g}"
            )
        return self
