"""All steps that a protocol names, in order, leaving out what is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emoclip_clinical.records import Progress, no_progress
from emoclip_clinical.study.extract import run_extract
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import Clock, utc_now
from emoclip_clinical.study.regress import TargetResult, is_estimated, run_regress
from emoclip_clinical.study.train import asks_training, is_trained_as_asked, run_train

if TYPE_CHECKING:
    from emoclip_clinical.core.training import Trained
    from emoclip_clinical.features.extract import ExtractionResult
    from emoclip_clinical.study.evaluate import Evaluated


@dataclass(frozen=True)
class StudyRun:
    """What `run_study` did; None for a step already done with the same inputs, or not asked for.

    Attributes
    ----------
    trained : Trained or None
    evaluated : Evaluated or None
    extracted : ExtractionResult or None
        Extraction skips by itself, interview by interview; None where the study has none.
    results : tuple of TargetResult or None
    """

    trained: Trained | None
    evaluated: Evaluated | None
    extracted: ExtractionResult | None
    results: tuple[TargetResult, ...] | None


def run_study(
    study: Study, *, device: str = "auto", now: Clock = utc_now, progress: Progress = no_progress
) -> StudyRun:
    """Run all steps in order, leaving out what is done with the same inputs and settings.

    A model is judged when the protocol has an evaluation section. Interviews are left alone when
    it has one and the study has neither interviews nor ratings.

    Raises
    ------
    InputError
        From the step that can not go on; the results of the steps before it stay.
    """
    trained = evaluated = extracted = results = None
    if needs_own_model(study) and not is_trained_as_asked(study):
        trained = run_train(study, device=device, progress=progress)
    if study.protocol.evaluation is not None:
        evaluated = _evaluate_if_changed(study, device=device, now=now, progress=progress)
    if has_interviews(study):
        extracted = run_extract(
            study, [study.path(study.protocol.data.interviews)], device=device, progress=progress
        )
        if not is_estimated(study):
            results = run_regress(study, command="run", now=now, progress=progress)
    return StudyRun(trained, evaluated, extracted, results)


def has_interviews(study: Study) -> bool:
    """Say whether a study is about interviews, not only about judging a model."""
    data = study.protocol.data
    there = any(study.path(path).exists() for path in (data.interviews, data.ratings))
    return there or study.protocol.evaluation is None


def needs_own_model(study: Study) -> bool:
    """Say whether the study's own model is used: by extraction, or by what it is judged on."""
    from emoclip_clinical.core.evaluation.config import trains_its_own

    evaluation = study.protocol.evaluation
    return has_interviews(study) or evaluation is None or not trains_its_own(evaluation)


def needed_files(study: Study) -> tuple[str, ...]:
    """Return the keys of `data` whose files `run_study` needs from the start."""
    evaluation = study.protocol.evaluation
    of_interviews = ("interviews", "ratings") if has_interviews(study) else ()
    reads_clips = evaluation is None or evaluation.data is None or asks_training(study)
    return (*(("clips",) if reads_clips else ()), *of_interviews)


def _evaluate_if_changed(
    study: Study, *, device: str, now: Clock, progress: Progress
) -> Evaluated | None:
    from emoclip_clinical.study.evaluate import is_evaluated, run_evaluate

    if is_evaluated(study):
        return None
    return run_evaluate(study, device=device, now=now, progress=progress)
