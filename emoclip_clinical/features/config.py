"""Settings of the extraction: what is sampled, how it is cut, which face, which prompts."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

PositiveSeconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class ExtractionConfig(BaseModel):
    """How an interview becomes segment scores.

    Everything that is ``None`` is taken from the model, so that a video is sampled and cut as
    the model's training clips were.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_fps: float | None = Field(
        default=None,
        gt=0,
        le=120,
        allow_inf_nan=False,
        description="Frames sampled per second of video; null: the model's own rate.",
    )
    window_seconds: PositiveSeconds | None = Field(
        default=None, description="Length of a segment; null: the model's clip length."
    )
    stride_seconds: PositiveSeconds | None = Field(
        default=None,
        description="Time from the start of a segment to the next; null: the segment's length.",
    )
    prompts: tuple[str, ...] = Field(
        default=("basic_seven",),
        description="Prompt sets: names of shipped sets or paths of YAML files.",
    )
    face: Literal["detect", "whole_frame"] = Field(
        default="detect",
        description="Encode the face that is found, or the whole picture as it is.",
    )
    detector: Literal["centerface"] = Field(
        default="centerface", description="Face detector, where face is 'detect'."
    )
    detection_fps: float = Field(
        default=2.0,
        ge=0.5,
        le=120,
        allow_inf_nan=False,
        description="Face detections per second; boxes in between are interpolated.",
    )
    detection_side_pixels: int = Field(
        default=480,
        ge=64,
        le=4096,
        description="The picture's longer side in the detector; larger pictures are reduced.",
    )
    crop_margin: float = Field(
        default=0.25,
        ge=0,
        le=2,
        allow_inf_nan=False,
        description="Added on each side of the face, as a share of the box's longer side.",
    )
    minimum_face_score: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="Detections that score less are not taken for a face.",
    )
    minimum_coverage: float = Field(
        default=0.4,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Share of a segment's frames that must show the face for status 'ok'.",
    )
    batch_frames: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Frames encoded at once; moves results by rounding only.",
    )

    @field_validator("prompts")
    @classmethod
    def _some_prompts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or any(not name.strip() for name in value):
            raise ValueError("at least one prompt set must be named, and no name may be empty")
        repeated = sorted({name for name in value if value.count(name) > 1})
        if repeated:
            raise ValueError(f"prompt sets are named twice: {', '.join(repeated)}")
        return value


def canonical_hash(content: object) -> str:
    """Return the SHA-256 of a JSON-like value, the same on every machine.

    Parameters
    ----------
    content : object
        Numbers, strings, lists and mappings.

    Returns
    -------
    str
        64 hexadecimal digits of the value's JSON form with sorted keys.
    """
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
