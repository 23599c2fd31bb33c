"""From the settings of an extraction and the facts of a model to how interviews are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.face_setup import FaceSetup, face_setup, load_detector
from emoclip_clinical.features.quality_config import QualityConfig
from emoclip_clinical.features.scores import PromptVectors
from emoclip_clinical.features.segments import Grid


class ClipFacts(Protocol):
    """How a model's training clips were sampled and cut."""

    @property
    def sample_fps(self) -> float:
        """Frames a second."""

    @property
    def frames_per_clip(self) -> int:
        """Longest clip, in sampled frames."""


@dataclass(frozen=True)
class ReadingSettings:
    """Everything that reading an interview needs; the same for all interviews.

    Attributes
    ----------
    grid : Grid
        Sampling and windows.
    prompts : tuple of PromptVectors
        Encoded classes.
    faces : FaceSetup or None
        None: the whole picture is encoded.
    quality, stall_seconds
        See `ExtractionConfig`.
    """

    grid: Grid
    prompts: tuple[PromptVectors, ...]
    faces: FaceSetup | None
    quality: QualityConfig
    stall_seconds: float


def segment_grid(config: ExtractionConfig, *, model: ClipFacts) -> Grid:
    """Return where segments begin and end.

    Parameters
    ----------
    config : ExtractionConfig
        What is None there is taken from the model.
    model : ClipFacts
        An `Embedder`, or what is known of one.

    Returns
    -------
    Grid

    Raises
    ------
    InputError
        If a segment would hold no frame.
    """
    window_seconds = config.window_seconds or model.frames_per_clip / model.sample_fps
    return Grid(
        sample_fps=config.sample_fps or model.sample_fps,
        window_seconds=window_seconds,
        stride_seconds=config.stride_seconds or window_seconds,
    )


def reading_settings(
    config: ExtractionConfig, *, grid: Grid, prompts: tuple[PromptVectors, ...]
) -> ReadingSettings:
    """Gather what `read_interview` needs, the face detector included.

    Parameters
    ----------
    config : ExtractionConfig
        Settings, with absolute paths.
    grid : Grid
        From `segment_grid`.
    prompts : tuple of PromptVectors
        Encoded classes.

    Returns
    -------
    ReadingSettings

    Raises
    ------
    InputError
        If the detector's weights are not there.
    """
    return ReadingSettings(
        grid=grid,
        prompts=prompts,
        faces=face_setup(config, detector=load_detector(config)),
        quality=config.quality,
        stall_seconds=config.stall_seconds,
    )
