"""What requests and answers look like, for checking bodies and for openapi.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictStr
from pydantic.json_schema import models_json_schema

from emoclip_clinical.serving.answers import ARROW, JSON, NPY
from emoclip_clinical.serving.problems import MEDIA_TYPE

BINARY = {"type": "string", "format": "binary"}

_REFERENCE = "#/components/schemas/{model}"
_ANYWHERE = (401, 403, 414, 421, 431, 500, 503)


class TextsRequest(BaseModel):
    """Texts to embed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: list[StrictStr] = Field(
        description="What is longer than the text tower's context is cut off."
    )


class ProblemDetails(BaseModel):
    """Why a request was not answered (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    faults: list[str] = Field(description="Every fault that was found.")


class ModelName(BaseModel):
    """Which model made an answer."""

    name: str
    hash: str = Field(description="SHA-256 of its weights and settings.")


class TableAnswer(BaseModel):
    """A table, row by row; what is not defined is null."""

    model_config = ConfigDict(extra="allow")

    model: ModelName
    rows: list[dict[str, Any]]


class EmbeddingRow(BaseModel):
    """One vector."""

    embedding: list[float]


class EmbeddingsAnswer(BaseModel):
    """Vectors in the order of what was sent."""

    model: ModelName
    rows: list[EmbeddingRow]


class Standing(BaseModel):
    """Whether the server lives, or takes requests."""

    status: str


class PromptSetDescription(BaseModel):
    """A prompt set that a request may name."""

    name: str
    classes: list[str]
    compounds: list[str]


class ModelDescription(BaseModel):
    """The model that answers."""

    name: str
    hash: str
    embedding_width: int
    image_size_pixels: int
    sample_fps: float
    frames_per_clip: int
    temperature: float
    has_text_tower: bool
    precision: str
    device: str


class EstimatorDescription(BaseModel):
    """An estimator that the server has loaded."""

    target: str
    n_subjects: int
    minimum: float | None
    maximum: float | None
    level: float
    n_features: int
    for_videos: bool = Field(description="Whether it can be used for videos, too.")
    notice: str


class ModelsAnswer(BaseModel):
    """Everything that the server can be asked."""

    model: ModelDescription
    prompt_sets: list[PromptSetDescription]
    estimators: list[EstimatorDescription]


SHOWN: tuple[type[BaseModel], ...] = (
    TextsRequest,
    ProblemDetails,
    TableAnswer,
    EmbeddingsAnswer,
)


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Return how openapi.json points to the schema of one of `SHOWN`."""
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def component_schemas(models: Sequence[type[BaseModel]] = SHOWN) -> dict[str, Any]:
    """Return the schemas that `reference` points to, by name."""
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REFERENCE
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the problems that a route may answer with, and those that every route may."""
    content = {MEDIA_TYPE: {"schema": reference(ProblemDetails)}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*_ANYWHERE, *statuses})
    }


def table_answer(
    description: str, *, schema: type[BaseModel] = TableAnswer, npy: bool = False
) -> dict[str, Any]:
    """Return how a table is answered, in each of its forms.

    Parameters
    ----------
    description : str
        What its rows are.
    schema : class
        Its JSON form.
    npy : bool
        Whether it has embeddings.
    """
    content: dict[str, Any] = {JSON: {"schema": reference(schema)}, ARROW: {"schema": BINARY}}
    return {
        "description": description,
        "content": content | ({NPY: {"schema": BINARY}} if npy else {}),
    }


def request_body(content: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a route's ``openapi_extra`` for a body: a schema for each media type."""
    by_type = {name: {"schema": schema} for name, schema in content.items()}
    return {"requestBody": {"required": True, "content": by_type}}
