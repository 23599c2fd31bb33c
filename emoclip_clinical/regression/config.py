"""Settings of the regression: what is estimated, with which folds, how many permutations."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Scheme = Literal[
    "repeated_kfold",
    "balanced_kfold",
    "leave_one_subject_out",
    "rebalanced_leave_one_subject_out",
    "leave_one_site_out",
]
"""Outer cross-validation; see `regression.folds`."""
ModelName = Literal[
    "ridge",
    "kernel_ridge",
    "gaussian_process",
    "elastic_net",
    "pls",
    "svr",
    "random_forest",
    "gradient_boosting",
    "ordinal",
    "mlp_probe",
    "attention_pooling",
]
"""What estimates ratings; see `regression.models.catalogue`."""

DEFAULT_ALPHAS = tuple(round(10 ** (-1 + 2 * k / 3), 6) for k in range(10))
"""Ten ridge penalties from 0.1 to 100,000, evenly spaced in their logarithm."""


SITE = "site"
"""Column that holds sites, whatever it holds, and that leave_one_site_out takes by itself."""


class PublishedResult(BaseModel):
    """A published figure that the report shows beside ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str | None = Field(
        default=None, min_length=1, description="As in targets; null: the source names none."
    )
    measure: Literal["pearson_r", "mae", "rmse", "ccc"] = Field(
        default="pearson_r", description="What was measured."
    )
    value: float = Field(allow_inf_nan=False, description="What was found.")
    at_most: bool = Field(
        default=False, description="Whether the source says `up to`: the best of several."
    )
    source: str = Field(min_length=1, description="Where it was published.")


class RegressionConfig(BaseModel):
    """How a rated target is estimated from the features of the visits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: tuple[str, ...] = Field(
        default=("negative_symptoms",),
        min_length=1,
        description="Names of the scale registry, sums of items (N1+N3), or rating columns.",
    )
    model: ModelName = Field(
        default="ridge", description="Estimator; regression.models says what each one is."
    )
    compare: tuple[ModelName, ...] = Field(
        default=(), description="Other models to run beside it on the same folds, without a test."
    )
    alphas: tuple[float, ...] = Field(
        default=DEFAULT_ALPHAS,
        min_length=1,
        description="Ridge penalties that inner tuning chooses from; features are standardised.",
    )
    cv: Scheme = Field(
        default="repeated_kfold", description="Outer cross-validation; subjects are never split."
    )
    site: str | None = Field(
        default=None,
        description="Rating column with the site: repeated_kfold is balanced over sites, ratings "
        "are permuted within them. leave_one_site_out takes a column `site` where none is named.",
    )
    confounds: tuple[str, ...] = Field(
        default=(), description="Rating columns to compare the video with, alone and together."
    )
    remove_confounds: bool = Field(
        default=False,
        description="Remove the confounds from the features, inside each training fold.",
    )
    subgroups: tuple[str, ...] = Field(
        default=(),
        description="Rating columns of subgroups; none: those named sex, gender, age and the site.",
    )
    importance: bool = Field(
        default=True, description="Permutation importance of the features, by emotion, over folds."
    )
    moments: int = Field(
        default=3,
        ge=0,
        description="Segments of each interview to list that move its estimate most; 0: none.",
    )
    jobs: int = Field(
        default=2,
        ge=1,
        description="Processes for permutations that share no linear algebra; results do not "
        "depend on it.",
    )
    folds: int = Field(default=5, ge=2, description="Outer folds, in subjects.")
    repeats: int = Field(default=20, ge=1, description="Repetitions with new random folds.")
    inner_folds: int = Field(default=5, ge=2, description="Folds of the inner tuning.")
    permutations: int = Field(
        default=1000, ge=0, description="Permuted rating vectors of the test; 0 leaves it out."
    )
    bootstrap: int = Field(
        default=2000,
        ge=0,
        description="Resamples of subjects for the intervals of pooled r, errors and differences; "
        "0 leaves them out. The interval of r within folds needs none.",
    )
    interval: Literal["folds", "bootstrap"] = Field(
        default="folds",
        description="Headline interval: of the mean r within folds, over new training sets; or of "
        "the pooled r, subjects resampled and fitted models kept, which is too narrow.",
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Level of the interval.")
    prediction_level: float = Field(
        default=0.9,
        gt=0.5,
        lt=1,
        description="Share of new subjects whose rating an interval of predict is to hold.",
    )
    where: dict[str, str | int | float] = Field(
        default_factory=dict, description="Only visits whose rating columns have these values."
    )
    raters: Literal["mean", "first", "repeated"] = Field(
        default="mean",
        description="Several raters of a visit: their mean, the first in the file, or a row each.",
    )
    missing_items: Literal["complete", "prorate"] = Field(
        default="complete",
        description="Scores of complete items only, or prorated from the scale's share of them.",
    )
    feature_columns: tuple[str, ...] = Field(
        default=(), description="Patterns (with *, ?, []) of feature columns; empty means all."
    )
    impute: Literal["none", "median"] = Field(
        default="none",
        description="Visits with a missing feature are left out, or filled in inside the folds.",
    )
    published: tuple[PublishedResult, ...] = Field(
        default=(), description="Published figures, shown beside ours; they change no number."
    )

    @field_validator("alphas")
    @classmethod
    def _alphas_positive(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < a < float("inf") for a in alphas) or len(set(alphas)) < len(alphas):
            raise ValueError("alphas must be different, finite and above 0")
        return alphas

    @field_validator("confounds", "subgroups", "compare")
    @classmethod
    def _named_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or not all(n.strip() for n in names):
            raise ValueError("names must be different and not empty")
        return names

    @model_validator(mode="after")
    def _fits_together(self) -> RegressionConfig:
        if self.remove_confounds and not self.confounds:
            raise ValueError("remove_confounds needs confounds")
        if self.model in self.compare:
            raise ValueError(f"compare names the model itself, {self.model}")
        bags = {"mlp_probe", "attention_pooling"} & {self.model, *self.compare}
        if self.remove_confounds and bags:
            raise ValueError(
                f"confounds are removed from pooled features, {', '.join(sorted(bags))} reads "
                "segments"
            )
        return self

    @field_validator("targets")
    @classmethod
    def _targets_once(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(targets)) < len(targets) or not all(t.strip() for t in targets):
            raise ValueError("targets must be different and not empty")
        return targets

    @field_validator("bootstrap")
    @classmethod
    def _bootstrap_enough(cls, bootstrap: int) -> int:
        if 0 < bootstrap < 100:
            raise ValueError("an interval needs at least 100 resamples (or 0 for none)")
        return bootstrap


def site_columns(config: RegressionConfig) -> tuple[str, ...]:
    """Return the rating columns that hold sites, which are categories even where they are numbers.

    >>> site_columns(RegressionConfig(site="clinic"))
    ('site', 'clinic')
    """
    return (SITE,) if config.site in (None, SITE) else (SITE, config.site)
