"""The steps of a study: train, extract, regress; alone, or all that a protocol names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from emoclip_clinical.records import Progress, no_progress
from emoclip_clinical.regression.analysis import Estimate, adjust_family, estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import join
from emoclip_clinical.regression.models.final import not_saved_reason
from emoclip_clinical.regression.quality import QUALITY_COLUMNS
from emoclip_clinical.regression.results import write_results
from emoclip_clinical.regression.supplement import Supplement, supplement
from emoclip_clinical.study.clip_sources import load_study_clips
from emoclip_clinical.study.estimators import write_estimator
from emoclip_clinical.study.history import record_look
from emoclip_clinical.study.leak_guard import check_people, people_warnings, without_hashes
from emoclip_clinical.study.model_training import is_model_trained, train_model, training_prompts
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import (
    Clock,
    git_commit,
    json_sha256,
    provenance,
    tree_sha256,
    utc_now,
)
from emoclip_clinical.study.rated import scale_hashes, study_features, study_targets
from emoclip_clinical.study.report import render_report
from emoclip_clinical.study.segment_inputs import reads_segments, segment_inputs

if TYPE_CHECKING:
    from emoclip_clinical.core.training import Trained
    from emoclip_clinical.features.extract import ExtractionResult
    from emoclip_clinical.features.scale_out import ScaleOut
    from emoclip_clinical.study.evaluate import Evaluated

PROVENANCE_FILE = "provenance.json"
REPORT_FILE = "report.html"


@dataclass(frozen=True)
class TargetResult:
    """The result of one target, written to its folder.

    Attributes
    ----------
    name : str
        As it was asked for.
    folder : Path
        Where it was written.
    estimate : Estimate
        What was found.
    supplement : Supplement
        What stands beside it.
    """

    name: str
    folder: Path
    estimate: Estimate
    supplement: Supplement


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


def run_train(
    study: Study, *, device: str = "auto", resume: bool = False, progress: Progress = no_progress
) -> Trained:
    """Train the protocol's model on the study's clips.

    Raises
    ------
    InputError
        See `load_clips` and `train`.
    """
    protocol = study.protocol
    found = load_study_clips(study, protocol.data.clips) if _asks_training(study) else None
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


def run_extract(
    study: Study,
    paths: Sequence[Path],
    *,
    model_folder: Path | None = None,
    output: Path | None = None,
    prompts: Sequence[str] = (),
    device: str = "auto",
    overwrite: bool = False,
    scale: ScaleOut | None = None,
    progress: Progress = no_progress,
) -> ExtractionResult:
    """Extract interviews with a model of the study.

    Parameters
    ----------
    study : Study
        Its extraction settings hold.
    paths : sequence of Path
        Folders, videos or interview tables.
    model_folder : Path, optional
        Another model than the protocol's.
    output : Path, optional
        Another features folder than the protocol's.
    prompts : sequence of str
        Names or files of prompt sets, instead of the protocol's; files from the present folder.
    device : str
        `auto`, `cpu` or `cuda[:k]`.
    overwrite : bool
        Make finished interviews again.
    scale : ScaleOut, optional
        How the work is shared; `auto` takes all GPUs of this machine.
    progress : callable
        Called after each interview, and within long ones.

    Raises
    ------
    InputError
        See `load_model`, `load_prompt_sets` and `extract`.
    """
    from emoclip_clinical.core.embedder import load_model
    from emoclip_clinical.core.model import further_devices
    from emoclip_clinical.features.extract import extract
    from emoclip_clinical.features.interviews import find_interviews
    from emoclip_clinical.features.prompt_sets import load_prompt_sets
    from emoclip_clinical.features.scale_out import ScaleOut

    config = study.protocol.extraction.located(study.folder)
    find_interviews(paths)  # before a model is loaded, which takes longer
    if prompts:
        prompt_sets = load_prompt_sets(tuple(prompts))
    else:
        prompt_sets = load_prompt_sets(config.prompts, folder=study.folder)
    load = partial(load_model, model_folder or study.model_folder)
    return extract(
        paths,
        embedder=load(device=device),
        config=config,
        prompt_sets=prompt_sets,
        output=output or study.path(study.protocol.data.features),
        overwrite=overwrite,
        scale=replace(
            scale or ScaleOut(),
            load=load,
            devices=further_devices() if device == "auto" else (),
        ),
        progress=progress,
    )


def run_regress(
    study: Study,
    *,
    features: Path | None = None,
    ratings: Path | None = None,
    output: Path | None = None,
    command: str = "regress",
    now: Clock = utc_now,
    progress: Progress = no_progress,
) -> tuple[TargetResult, ...]:
    """Estimate every target of the protocol and write its folder.

    Parameters
    ----------
    study : Study
        Its regression settings, targets and seed hold.
    features, ratings : Path, optional
        Other tables than the protocol's.
    output : Path, optional
        Another results folder than the protocol's.
    command : str
        What the history and the provenance call this look at the ratings.
    now : callable
        The clock.
    progress : callable
        Called after each repeat of the cross-validation.

    Returns
    -------
    tuple of TargetResult
        In the protocol's order, p values adjusted over all of them.

    Raises
    ------
    InputError
        With the faults of every target at once; and naming participants whom the model was
        trained on.
    """
    protocol = study.protocol
    config, data = protocol.regression, protocol.data
    started = now()
    features = features or study.path(data.features)
    ratings = ratings or study.path(data.ratings)
    table = study_features(study, features)
    record_look(
        study.folder,
        command=command,
        targets=config.targets,
        settings_sha256=json_sha256(protocol.model_dump(mode="json")),
        now=started,
    )
    designs = [join(table, rated) for rated in study_targets(study, ratings)]
    people = check_people(designs, features=table)
    warned = people_warnings(people)
    designs = [replace(design, warnings=(*design.warnings, *warned)) for design in designs]
    inputs = [segment_inputs(study, features, design) for design in designs]
    estimates = adjust_family(
        [
            estimate(
                design,
                config=config,
                seed=protocol.seed,
                bags=bags,
                segment_models=models,
                progress=progress,
            )
            for design, (bags, models) in zip(designs, inputs, strict=True)
        ]
    )
    unsaved = not_saved_reason(config)
    estimates = tuple(
        e if unsaved is None else replace(e, warnings=(*e.warnings, unsaved)) for e in estimates
    )
    quality = _quality(features)
    origin = provenance(
        command=command,
        protocol=protocol,
        inputs={
            "features": _features_sha256(features, config),
            "ratings": tree_sha256(ratings),
            **scale_hashes(study),
        },
        started=started,
        ended=now(),
    )
    origin["features"] = without_hashes(table.source, people)
    origin["git_commit"] = git_commit(study.folder)
    root = output or study.path(data.results)
    results = []
    for name, made in zip(config.targets, estimates, strict=True):
        folder = root / target_folder(name)
        more = supplement(made, quality=quality, progress=progress)
        write_results(made, folder, more=more)
        write_estimator(made, folder)
        _write(folder / PROVENANCE_FILE, json.dumps(origin, indent=2, ensure_ascii=False) + "\n")
        page = render_report(made, provenance=origin, quality=quality, more=more)
        _write(folder / REPORT_FILE, page)
        results.append(TargetResult(name, folder, made, more))
    return tuple(results)


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
    if needs_own_model(study) and not _is_trained(study):
        trained = run_train(study, device=device, progress=progress)
    if study.protocol.evaluation is not None:
        evaluated = _evaluate_if_changed(study, device=device, now=now, progress=progress)
    if has_interviews(study):
        extracted = run_extract(
            study, [study.path(study.protocol.data.interviews)], device=device, progress=progress
        )
        if not _is_estimated(study):
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
    reads_clips = evaluation is None or evaluation.data is None or _asks_training(study)
    return (*(("clips",) if reads_clips else ()), *of_interviews)


def target_folder(name: str) -> str:
    """Return a target's name as a folder's: `N1+N3` stays, a slash does not."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name)


def _asks_training(study: Study) -> bool:
    return study.protocol.training.frame_epochs + study.protocol.training.epochs > 0


def _is_trained(study: Study) -> bool:
    protocol = study.protocol
    return is_model_trained(
        study,
        load_study_clips(study, protocol.data.clips).clips if _asks_training(study) else [],
        model=protocol.model,
        training=protocol.training,
        prompts=training_prompts(study),
    )


def _evaluate_if_changed(
    study: Study, *, device: str, now: Clock, progress: Progress
) -> Evaluated | None:
    from emoclip_clinical.study.evaluate import is_evaluated, run_evaluate

    if is_evaluated(study):
        return None
    return run_evaluate(study, device=device, now=now, progress=progress)


def _is_estimated(study: Study) -> bool:
    """Say whether every target has a result of the present inputs, settings and code."""
    protocol = study.protocol
    wanted = {
        "features": _features_sha256(study.path(protocol.data.features), protocol.regression),
        "ratings": tree_sha256(study.path(protocol.data.ratings)),
        **scale_hashes(study),
    }
    for name in protocol.regression.targets:
        folder = study.path(protocol.data.results) / target_folder(name)
        try:
            found = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        same = (
            found.get("inputs") == wanted
            and found.get("seed") == protocol.seed
            and found.get("protocol", {}).get("regression")
            == protocol.regression.model_dump(mode="json")
            and found.get("protocol", {}).get("segment_models")
            == protocol.segment_models.model_dump(mode="json")
            and (folder / REPORT_FILE).is_file()
        )
        if not same:
            return False
    return True


def _features_sha256(path: Path, config: RegressionConfig) -> str | None:
    """Return the hash of what regress reads of features: tables and the settings of extract."""
    if not path.is_dir():
        return tree_sha256(path)
    names = ["interviews.parquet", "features.json"]
    names += ["embeddings.parquet"] if reads_segments(config) else []
    return json_sha256([tree_sha256(path / n) for n in names])


def _quality(features: Path) -> pd.DataFrame | None:
    """Return what extract says of each recording; None for a table of other tools' features."""
    if not features.is_dir():
        return None
    table = pd.read_parquet(features / "interviews.parquet")
    wanted = ("participant_id", "session_id", "status", *QUALITY_COLUMNS)
    return table[[c for c in wanted if c in table]]


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
