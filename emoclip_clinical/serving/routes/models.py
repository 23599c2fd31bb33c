"""What the server can be asked."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from emoclip_clinical.serving.door import Door, door_of
from emoclip_clinical.serving.schemas import (
    EstimatorDescription,
    ModelDescription,
    ModelsAnswer,
    PromptSetDescription,
    problems,
)

router = APIRouter()


@router.get("/v1/models", summary="The model, prompt sets and estimators", responses=problems())
async def models(request: Request) -> ModelsAnswer:
    """Describe the model, the prompt sets that a request may name, and the estimators."""
    door = door_of(request)
    return ModelsAnswer(
        model=_model(door),
        prompt_sets=[
            PromptSetDescription(
                name=name, classes=list(prompts.classes), compounds=list(prompts.compounds)
            )
            for name, prompts in door.prompts.sets.items()
        ],
        estimators=[
            EstimatorDescription.model_validate(described)
            for described in (door.estimators.describe() if door.estimators else ())
        ],
    )


def _model(door: Door) -> ModelDescription:
    embedder = door.model.embedder
    return ModelDescription(
        name=door.model.name,
        hash=door.model.model_hash,
        embedding_width=embedder.embedding_width,
        image_size_pixels=embedder.image_size_pixels,
        sample_fps=embedder.sample_fps,
        frames_per_clip=embedder.frames_per_clip,
        temperature=door.model.temperature,
        has_text_tower=embedder.has_text_tower,
        precision=embedder.precision,
        device=embedder.device.type,
    )
