"""Which of the thresholds of recording quality a segment fails."""

from __future__ import annotations

from dataclasses import dataclass

from emoclip_clinical.features.quality_config import QualityConfig


@dataclass(frozen=True)
class Threshold:
    """One limit on one measured column.

    Attributes
    ----------
    setting : str
        Key of `QualityConfig`.
    column : str
        Column of ``segments.parquet`` that it limits.
    fault : str
        How a segment that fails is called, the first word of its reason.
    measure : str
        What the number is, for people.
    is_minimum : bool
        Whether lower values fail; else higher ones do.
    examples : tuple of float
        Levels worth a look where the study has set none; no recommendation.
    """

    setting: str
    column: str
    fault: str
    measure: str
    is_minimum: bool
    examples: tuple[float, ...]

    def level(self, config: QualityConfig) -> float | None:
        """Return the level that is set; None where it is off."""
        level: float | None = getattr(config, self.setting)
        return level

    def fails(self, value: float | None, *, level: float) -> bool:
        """Say whether a measured value fails; what could not be measured fails nothing."""
        if value is None:
            return False
        return value < level if self.is_minimum else value > level


COVERAGE = Threshold(
    setting="minimum_coverage",
    column="face_coverage",
    fault="low_coverage",
    measure="share of frames with the face",
    is_minimum=True,
    examples=(0.2, 0.4, 0.6, 0.8),
)
OTHER_THRESHOLDS = (
    Threshold(
        setting="minimum_face_height_pixels",
        column="FaceRectHeight",
        fault="small_face",
        measure="face height, pixels",
        is_minimum=True,
        examples=(32, 64, 96),
    ),
    Threshold(
        setting="minimum_sharpness",
        column="sharpness",
        fault="blurred",
        measure="sharpness",
        is_minimum=True,
        examples=(10, 30, 100),
    ),
    Threshold(
        setting="minimum_brightness",
        column="brightness",
        fault="dark",
        measure="brightness, 0 to 255",
        is_minimum=True,
        examples=(30, 60),
    ),
    Threshold(
        setting="maximum_brightness",
        column="brightness",
        fault="glaring",
        measure="brightness, 0 to 255",
        is_minimum=False,
        examples=(200, 230),
    ),
    Threshold(
        setting="maximum_head_motion",
        column="head_motion",
        fault="head_motion",
        measure="face heights per second",
        is_minimum=False,
        examples=(0.2, 0.5, 1),
    ),
)


def failed_thresholds(values: dict[str, float | None], *, config: QualityConfig) -> str:
    """Say which of the thresholds beside coverage a segment fails.

    Parameters
    ----------
    values : dict of str to float or None
        The measured columns of the segment.
    config : QualityConfig
        The levels.

    Returns
    -------
    str
        For example ``small_face: 31, at least 48 wanted (face height, pixels)``, several joined
        by semicolons; empty where it fails none.
    """
    faults = []
    for threshold in OTHER_THRESHOLDS:
        level, value = threshold.level(config), values[threshold.column]
        if level is not None and threshold.fails(value, level=level):
            bound = "at least" if threshold.is_minimum else "at most"
            faults.append(
                f"{threshold.fault}: {value:.3g}, {bound} {level:g} wanted ({threshold.measure})"
            )
    return "; ".join(faults)
