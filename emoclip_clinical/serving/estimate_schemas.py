"""What a request for estimates looks like, and its answer."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictStr, WithJsonSchema

from emoclip_clinical.serving.schemas import ModelName


def _cell(value: object) -> object:
    """Refuse what no cell of a table holds."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise ValueError("a finite number, text, a truth value or null was wanted")


Cell = Annotated[
    Any,
    BeforeValidator(_cell),
    WithJsonSchema({"type": ["number", "string", "boolean", "null"]}),
]


class FeaturesRow(BaseModel):
    """One visit: its keys, and a number for each feature; null where one is missing."""

    model_config = ConfigDict(extra="allow", frozen=True)

    __pydantic_extra__: dict[str, Cell]
    participant_id: StrictStr
    session_id: StrictStr | None = None


class FeaturesRequest(BaseModel):
    """Features of visits to estimate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: list[FeaturesRow] = Field(
        min_length=1, description="Columns that the estimator does not need are left aside."
    )
    source: dict[str, Any] | None = Field(
        default=None,
        description="The content of features.json, for features of `extract`; null or absent for "
        "a table of unknown origin.",
    )


class EstimateRow(BaseModel):
    """The estimate of one visit, in the target's unit; an estimate of a video has no keys."""

    participant_id: str | None = None
    session_id: str | None = None
    predicted: float | None = Field(description="Cut to the target's range.")
    predicted_unclipped: float | None = Field(description="What the model said.")
    low: float | None
    high: float | None
    level: float
    status: Literal["ok", "outside_scale", "not_computed"] = Field(
        description="Anything but ok: there is no estimate and no interval."
    )
    reason: str = Field(description="Why there is no estimate; empty where there is one.")
    out_of_range: bool
    distance: float | None
    distance_limit: float
    farthest_feature: str
    farthest_sd: float | None
    n_imputed: int
    in_training: bool | None = Field(
        description="Whether the estimator was fitted to these features; null for a video that is "
        "not known again, since the last bits of its features may differ."
    )


class ExcludedVisit(BaseModel):
    """A visit without an estimate."""

    participant_id: str
    session_id: str
    reason: str


class EstimatesAnswer(BaseModel):
    """Estimates; research use only."""

    model: ModelName
    target: str
    notice: str
    warnings: list[str]
    excluded: list[ExcludedVisit]
    video: dict[str, Any] | None = Field(
        default=None, description="How the reading of a video went; absent for features."
    )
    settings: dict[str, Any] | None = Field(
        default=None, description="How a video was read; absent for features."
    )
    rows: list[EstimateRow]


SHOWN: tuple[type[BaseModel], ...] = (FeaturesRequest, EstimatesAnswer)
