"""The step `train`: where a model of a study lies, and on which descriptions it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.records import Progress, PromptSet, no_progress
from emoclip_clinical.study.cards import write_model_documents
from emoclip_clinical.study.clip_sources import load_study_clips
from emoclip_clinical.study.protocol import Study

if TYPE_CHECKING:
    from emoclip_clinical.core.training import Resume, Trained


def run_train(
    study: Study, *, device: str = "auto", resume: Resume = False, progress: Progress = no_progress
) -> Trained:
    """Train the protocol's model on the study's clips.

    Raises
    ------
    InputError
        See `load_clips` and `train`.
    """
    protocol = study.protocol
    found = load_study_clips(study, protocol.data.clips) if asks_training(study) else None
    trained = train_model(
        study,
        found.clips if found else [],
        model=protocol.model,
        training=protocol.training,
        prompts=training_prompts(study),
        device=device,
        resume=resume,
        progress=progress,
    )
    if found is None:
        return trained
    warnings = (*found.warnings, *trained.warnings)
    return replace(trained, warnings=warnings, histogram=found.histogram)


def is_trained_as_asked(study: Study) -> bool:
    """Say whether the study has just the model that `run_train` would make."""
    protocol = study.protocol
    return is_model_trained(
        study,
        load_study_clips(study, protocol.data.clips).clips if asks_training(study) else [],
        model=protocol.model,
        training=protocol.training,
        prompts=training_prompts(study),
    )


def asks_training(study: Study) -> bool:
    """Say whether the protocol trains at all; without an epoch the model is only written."""
    return study.protocol.training.frame_epochs + study.protocol.training.epochs > 0


def train_model(
    study: Study,
    clips: Sequence[Clip],
    *,
    model: ModelConfig,
    training: TrainingConfig,
    prompts: PromptSet | None,
    device: str,
    resume: Resume,
    progress: Progress,
) -> Trained:
    """Train a model of the study into ``models/<name>``.

    Raises
    ------
    InputError
        See `train`.
    """
    from emoclip_clinical.core.training import train

    folder = study.models / model.name
    trained = train(
        clips,
        model=model,
        training=training,
        folder=folder,
        state_folder=study.caches / "training" / model.name,
        seed=study.protocol.seed,
        device=device,
        resume=resume,
        prompts=prompts,
        cache_folder=study.caches / "frames",
        progress=progress,
    )
    write_model_documents(folder)
    return trained


def is_model_trained(
    study: Study,
    clips: Sequence[Clip],
    *,
    model: ModelConfig,
    training: TrainingConfig,
    prompts: PromptSet | None,
) -> bool:
    """Say whether ``models/<name>`` holds just the model that `train_model` would make."""
    from emoclip_clinical.core.training import is_trained

    return is_trained(
        study.models / model.name,
        clips=clips,
        model=model,
        training=training,
        seed=study.protocol.seed,
        prompts=prompts,
    )


def training_prompts(study: Study) -> PromptSet | None:
    """Return the class descriptions that the study's own training needs; None if it needs none.

    They are the first prompt set of the evaluation, or of the extraction where no evaluation
    names one.
    """
    from emoclip_clinical.features.prompt_sets import load_prompt_set

    protocol = study.protocol
    training = protocol.training
    by_description = training.captions == "class_descriptions"
    if not by_description and training.selection not in ("validation_uar", "test_war"):
        return None
    named = protocol.evaluation.prompts if protocol.evaluation else ()
    return load_prompt_set((named or protocol.extraction.prompts)[0], folder=study.folder)
