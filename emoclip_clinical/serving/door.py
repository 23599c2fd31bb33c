"""Everything that a route needs to answer, made once at the server's start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.desk import Desk
from emoclip_clinical.serving.encoding import ServedModel
from emoclip_clinical.serving.metrics import Metrics
from emoclip_clinical.serving.prompts import LoadedPrompts
from emoclip_clinical.serving.standing import Standing

if TYPE_CHECKING:
    from emoclip_clinical.serving.estimates import ServedEstimators
    from emoclip_clinical.serving.isolation.reader import VideoReader
    from emoclip_clinical.serving.jobs import Jobs


@dataclass(frozen=True)
class Door:
    """One server's parts.

    Attributes
    ----------
    model : ServedModel
        The model behind its queues.
    config : ServingConfig
        Limits.
    extraction : ExtractionConfig
        How videos are read where a request says nothing else; paths are absolute.
    prompts : LoadedPrompts
        Prompt sets by name.
    reader : VideoReader
        Reads what is not trusted.
    jobs : Jobs
        Long work and its results.
    desk : Desk
        Where estimates from features are made.
    estimators : ServedEstimators or None
        Fitted estimators by target.
    metrics : Metrics
        Figures about the server.
    standing : Standing
        Whether the server takes new work.
    """

    model: ServedModel
    config: ServingConfig
    extraction: ExtractionConfig
    prompts: LoadedPrompts
    reader: VideoReader
    jobs: Jobs
    desk: Desk
    estimators: ServedEstimators | None
    metrics: Metrics
    standing: Standing = field(default_factory=Standing)


def door_of(request: Request) -> Door:
    """Return the door of the application that a request came to."""
    door: Door = request.app.state.door
    return door
