"""What the server orders of a process, as it travels to it and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from emoclip_clinical.core.preprocessing import Resize
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.scores import PromptVectors
from emoclip_clinical.features.segments import Grid
from emoclip_clinical.serving.isolation.limits import ProcessLimits
from emoclip_clinical.serving.isolation.messages import Message

MOST_SEGMENTS = 50_000
"""Of one video, which at 512 numbers each are 100 MB."""
MOST_TABLE_BYTES = 64 * 2**20
MOST_RESULT_BYTES = 256 * 2**20
MOST_JSON_BYTES = 16 * 2**20
MOST_TEXT_BYTES = MOST_JSON_BYTES // 8
"""Of a table; as JSON, which it travels in, a letter may take six."""
BATCHES_AHEAD = 3
"""Batches that a process may send before it takes the first one's vectors."""


@dataclass(frozen=True)
class ModelFacts:
    """What a process needs to know of the model.

    Attributes
    ----------
    embedding_width, image_size_pixels, temperature
        As `Embedder`.
    resize : Resize
        How a picture becomes a square.
    """

    embedding_width: int
    image_size_pixels: int
    temperature: float
    resize: Resize


@dataclass(frozen=True)
class VideoOrder:
    """How one video is to be read.

    Attributes
    ----------
    extraction : ExtractionConfig
        Settings, with absolute paths.
    grid : Grid
        Where segments begin and end.
    prompts : tuple of PromptVectors
        Encoded classes.
    model : ModelFacts
        The model.
    batch_frames : int
        Pictures of one message.
    most_seconds : float
        A longer video is refused.
    most_segments : int
        A video with more of them is refused.
    """

    extraction: ExtractionConfig
    grid: Grid
    prompts: tuple[PromptVectors, ...]
    model: ModelFacts
    batch_frames: int
    most_seconds: float
    most_segments: int

    def packed(self) -> tuple[Mapping[str, Any], list[bytes]]:
        """Return fields and payload."""
        fields = {
            "extraction": self.extraction.model_dump(mode="json"),
            "grid": asdict(self.grid),
            "prompts": [{"name": p.name, "classes": list(p.classes)} for p in self.prompts],
            "model": asdict(self.model),
            "batch_frames": self.batch_frames,
            "most_seconds": self.most_seconds,
            "most_segments": self.most_segments,
        }
        return fields, [np.asarray(p.vectors, dtype="<f4").tobytes() for p in self.prompts]

    @classmethod
    def unpacked(cls, message: Message) -> VideoOrder:
        """Read what `packed` returned."""
        fields = message.fields
        model = dict(fields["model"])
        facts = ModelFacts(**{**model, "resize": Resize(**model["resize"])})
        shapes = [
            ((len(p["classes"]), facts.embedding_width), np.dtype("<f4")) for p in fields["prompts"]
        ]
        prompts = tuple(
            PromptVectors(described["name"], tuple(described["classes"]), vectors)
            for described, vectors in zip(fields["prompts"], message.arrays(*shapes), strict=True)
        )
        return cls(
            extraction=ExtractionConfig.model_validate(fields["extraction"]),
            grid=Grid(**fields["grid"]),
            prompts=prompts,
            model=facts,
            batch_frames=fields["batch_frames"],
            most_seconds=fields["most_seconds"],
            most_segments=fields["most_segments"],
        )


def limits_field(limits: ProcessLimits) -> dict[str, Any]:
    """Return the field of every order that holds its limits."""
    return {"limits": asdict(limits)}


def limits_of(message: Message) -> ProcessLimits:
    """Read what `limits_field` returned."""
    return ProcessLimits(**message.fields["limits"])
