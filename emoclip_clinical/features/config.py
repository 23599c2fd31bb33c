"""Settings of the extraction: what is sampled, how it is cut, which face, which prompts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from emoclip_clinical.features.patient import patient_rule
from emoclip_clinical.features.pooling_config import (
    POOLING,
    PoolingStatistic,
    PoolingWeights,
)
from emoclip_clinical.features.quality_config import QualityConfig

_PATHS = ("yunet_weights", "reference_folder", "boxes_folder")

Precision = Literal["auto", "float32", "bfloat16", "int8"]

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
    face: Literal["detect", "whole_frame", "precomputed"] = Field(
        default="detect",
        description="Encode the face that is found, the whole picture as it is, or the face whose "
        "boxes another tool has found.",
    )
    detector: Literal["centerface", "yunet", "uniface"] = Field(
        default="centerface", description="Face detector, where face is 'detect'."
    )
    yunet_weights: str | None = Field(
        default=None,
        description="ONNX file of the detector yunet; not shipped. null: see fetch_weights.",
    )
    fetch_weights: bool = Field(
        default=False,
        description="Fetch weights that are not on this machine, once: those of the detector "
        "yunet, where yunet_weights is null, from its authors' repository (used only if their "
        "SHA-256 is the known one), and those of the package uniface, by the package.",
    )
    patient: str = Field(
        default="longest",
        description="Who of several people is the patient: longest (most time on screen; near-ties "
        "by size), largest, left, right, track:<k> (of the contact sheet), or reference. The "
        "column patient of interviews.csv goes before it.",
    )
    reference_folder: str | None = Field(
        default=None,
        description="Folder of <participant_id>.jpg or .png for patient 'reference'.",
    )
    boxes_folder: str | None = Field(
        default=None, description="Folder of <interview>.csv for face 'precomputed'."
    )
    boxes_fps: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        allow_inf_nan=False,
        description="Constant frame rate of the videos, for py-feat's tables of boxes.",
    )
    detection_fps: float = Field(
        default=2.0,
        ge=0.5,
        le=120,
        allow_inf_nan=False,
        description="Face detections per second; boxes in between are interpolated, where the "
        "same face was seen on both sides.",
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
    align_face: bool = Field(
        default=False,
        description="Turn the crop so that the eyes stand level, where the detector gives eyes.",
    )
    minimum_face_score: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="Detections that score less are not taken for a face.",
    )
    quality: QualityConfig = Field(
        default=QualityConfig(), description="What a segment must reach for status 'ok'."
    )
    pooling: tuple[PoolingStatistic, ...] = Field(
        default=POOLING,
        min_length=1,
        description="Statistics of an interview's segments that regress uses; changing them "
        "reads no video again.",
    )
    pooling_weights: PoolingWeights = Field(
        default="equal",
        description="Whether segments count alike in them, or by how long the face was seen.",
    )
    precision: Precision = Field(
        default="auto",
        description="What the image tower computes with: float32, bfloat16, int8 (on a CPU; the "
        "run is refused where it does not agree with float32 on real frames), or auto: bfloat16 "
        "where the device has it and it agrees with float32 on real frames.",
    )
    compile_model: bool = Field(
        default=False,
        description="Translate the image tower with torch.compile before use; pays off on a GPU "
        "and long cohorts, and moves results by rounding.",
    )
    stall_seconds: float = Field(
        default=120.0,
        gt=0,
        le=86_400,
        allow_inf_nan=False,
        description="Seconds without a picture from the decoder after which an interview is "
        "ended with what was read; moves no result.",
    )
    batch_frames: int = Field(
        default=32,
        ge=1,
        le=4096,
        description="Frames encoded at once; moves results by rounding only.",
    )

    @field_validator("patient")
    @classmethod
    def _known_rule(cls, value: str) -> str:
        return patient_rule(value).text

    @model_validator(mode="after")
    def _complete(self) -> ExtractionConfig:
        faults = {
            "face 'precomputed' needs boxes_folder, a folder of <interview>.csv": (
                self.face == "precomputed" and self.boxes_folder is None
            ),
            "detector 'yunet' needs yunet_weights, a local ONNX file, or fetch_weights: true": (
                self.face == "detect"
                and self.detector == "yunet"
                and self.yunet_weights is None
                and not self.fetch_weights
            ),
            "patient 'reference' needs reference_folder, a folder of pictures": (
                self.patient == "reference" and self.reference_folder is None
            ),
            "precision 'int8' is not computed by torch: compile_model must be false": (
                self.precision == "int8" and self.compile_model
            ),
        }
        found = [text for text, wrong in faults.items() if wrong]
        if found:
            raise ValueError("; ".join(found))
        return self

    def located(self, folder: Path) -> ExtractionConfig:
        """Return the same settings with the files and folders of the faces in absolute form.

        Parameters
        ----------
        folder : Path
            From which relative paths start.

        Returns
        -------
        ExtractionConfig
            Absolute `yunet_weights`, `reference_folder` and `boxes_folder`.
        """
        given = {name: getattr(self, name) for name in _PATHS}
        return self.model_copy(
            update={name: str(folder / path) for name, path in given.items() if path is not None}
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
