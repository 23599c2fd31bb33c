"""Settings of the synthetic study. Importing this module loads no numpy-heavy or video code."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SyntheticConfig(BaseModel):
    """What the synthetic study holds, how large it is and how strong the planted effect is.

    The same settings give the same bytes on the same machine, whatever the number of workers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, description="Seed of everything that is drawn.")

    n_training_clips: int = Field(3000, ge=11, description="Captioned clips to train on.")
    n_validation_clips: int = Field(330, ge=11, description="Held-out clips to choose settings by.")
    n_test_clips: int = Field(440, ge=11, description="Held-out clips for the zero-shot test.")
    n_training_people: int = Field(300, ge=2, description="People in the training clips.")
    n_validation_people: int = Field(30, ge=1, description="Other people, validation clips.")
    n_test_people: int = Field(30, ge=1, description="Other people again, test clips.")
    frames_per_clip: int = Field(16, ge=4, description="Frames of a clip.")
    clip_frames_per_second: float = Field(
        6.25, gt=0, le=60, description="Frame rate of the clips; that at which features sample."
    )
    compound_share: float = Field(
        0.15, ge=0, lt=1, description="Share of the clips that blend two emotions."
    )

    n_subjects: int = Field(54, ge=2, description="Interviewed subjects.")
    second_visit_share: float = Field(
        0.2, ge=0, le=1, description="Share of the subjects who are interviewed twice."
    )
    n_sites: int = Field(2, ge=1, description="Sites among which subjects are spread.")
    interview_seconds: float = Field(60.0, gt=0, description="Length of an interview, seconds.")
    interview_frames_per_second: float = Field(
        12.5, gt=0, le=60, description="Frame rate of the interview videos."
    )

    effect: float = Field(
        1.0,
        ge=0,
        le=1,
        description="How much of the planted link between trait and face is kept; 0 is none.",
    )
    face_correlation: float = Field(
        0.92,
        gt=0,
        lt=1,
        description="Correlation of each latent expressivity with minus the trait at effect 1.",
    )
    trait_stability: float = Field(
        0.6, ge=0, le=1, description="Correlation of the trait between two visits."
    )
    mean_change: float = Field(
        0.0,
        ge=-3,
        le=3,
        description="Mean change of the trait from the first visit to the second, in its SDs.",
    )
    with_cains: bool = Field(
        False, description="Whether the same visits are rated on the 13 items of the CAINS too."
    )
    rating_correlation: float = Field(
        0.8,
        gt=0,
        lt=0.9,
        description="Population Pearson r of the trait with the observed sum negative_symptoms.",
    )
    n_population: int = Field(
        100_000, ge=1000, description="Subjects drawn to calibrate and to estimate that r."
    )

    size_pixels: int = Field(
        64, ge=32, le=512, multiple_of=2, description="Width and height of every video, pixels."
    )
    quality_crf: int = Field(
        20, ge=0, le=40, description="H.264 constant rate factor; lower is better and larger."
    )

    @property
    def clip_seconds(self) -> float:
        """Length of a clip, seconds."""
        return self.frames_per_clip / self.clip_frames_per_second
