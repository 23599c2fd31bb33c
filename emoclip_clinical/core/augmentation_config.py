"""Settings of augmentation, with their defaults; no torch here."""

from __future__ import annotations

from pydantic import Field

from emoclip_clinical.core.config import Settings


class AugmentationConfig(Settings):
    """How training clips are varied: the same way for all frames of a clip. Off by default.

    The paper's recipe is `{rotation_degrees: 6, horizontal_flip: true}`.
    """

    rotation_degrees: float = Field(0.0, ge=0, le=180, description="Largest, either way")
    horizontal_flip: bool = Field(False, description="Mirror every other clip, by chance")
    smallest_crop: float = Field(
        1.0, gt=0, le=1, description="Least share of the picture that a random crop keeps; 1: all"
    )
    brightness: float = Field(0.0, ge=0, le=1, description="Largest relative change, either way")
    contrast: float = Field(0.0, ge=0, le=1, description="Largest relative change, either way")
    saturation: float = Field(0.0, ge=0, le=1, description="Largest relative change, either way")
    hue: float = Field(0.0, ge=0, le=0.5, description="Largest turn of the hue, in whole turns")

    @property
    def is_off(self) -> bool:
        """True where clips stay as they are."""
        return self == AugmentationConfig()
