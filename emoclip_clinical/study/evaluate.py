"""Judging a study's model on labelled clips, as its protocol says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emoclip_clinical.core.checkpoint import read_card
from emoclip_clinical.core.evaluation.config import (
    EvaluationConfig,
    trains_its_own,
    trains_on_judged_source,
)
from emoclip_clinical.core.evaluation.predictions import pool
from emoclip_clinical.core.evaluation.result import Evaluation, Variant
from emoclip_clinical.core.evaluation.writing import write_evaluation
from emoclip_clinical.core.training import clips_digest
from emoclip_clinical.core.training_data import clip_sha256, short_hashes
from emoclip_clinical.features.prompt_sets import load_prompt_sets, prompt_set_hash
from emoclip_clinical.people import known_people
from emoclip_clinical.records import InputError, Progress, PromptSet, no_progress
from emoclip_clinical.study.cards import study_evaluations, write_model_documents
from emoclip_clinical.study.clip_sources import clip_source, load_study_clips, study_folds
from emoclip_clinical.study.evaluation_models import OWN_MODEL, JudgedModels
from emoclip_clinical.study.evaluation_tasks import TASKS, Bench, Fold, Found
from emoclip_clinical.study.leak_guard import CARD_PART
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import Clock, git_commit, provenance, utc_now
from emoclip_clinical.study.train import training_prompts

PROVENANCE_FILE = "provenance.json"
OUTPUT_FOLDER = "evaluation"
PEOPLE_NAMED = 5
"""People whom a warning names; of more it gives the number."""
SETTINGS_THAT_COUNT = ("seed", "data", "model", "training", "extraction", "evaluation")


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, written to its folder.

    Attributes
    ----------
    folder : Path
        ``evaluation/<task>``, or ``evaluation/<protocol>/<task>`` of another protocol than the
        study's own.
    evaluation : Evaluation
        What was found.
    """

    folder: Path
    evaluation: Evaluation


def run_evaluate(
    study: Study,
    *,
    model_folder: Path | None = None,
    prompts: Sequence[str] = (),
    output: Path | None = None,
    device: str = "auto",
    now: Clock = utc_now,
    progress: Progress = no_progress,
) -> Evaluated:
    """Run the task of the protocol's evaluation section, or zero-shot where it has none.

    Parameters
    ----------
    study : Study
        Its evaluation settings, model and seed hold.
    model_folder : Path, optional
        Another model than the protocol's, for tasks that do not train.
    prompts : sequence of str
        Names or files of prompt sets, instead of the protocol's; files from the present folder.
    output : Path, optional
        Another folder than the study's ``evaluation`` (``evaluation/<protocol>`` of another
        protocol than its own); the task's own lies in it.
    device : str
        `auto`, `cpu` or `cuda[:k]`.
    now : callable
        The clock.
    progress : callable
        Called with (task, units done, units in all) of trainings and of embedding clips.

    Returns
    -------
    Evaluated

    Raises
    ------
    InputError
        If clips, prompts or the model can not be used.
    """
    started = now()
    config = study.protocol.evaluation or EvaluationConfig()
    if model_folder is not None and trains_its_own(config):
        raise InputError(f"task {config.task} trains models of its own here: it takes no --model")
    prompt_sets = evaluation_prompts(study, config, prompts)
    models = JudgedModels(
        study, model_folder=model_folder, views=config.views, device=device, progress=progress
    )
    folds = load_folds(study, config)
    labels = sorted({clip.label for fold in folds for clip in fold.data.clips})
    bench = Bench(study.protocol, config, models, training_prompts(study), tuple(labels), progress)
    found = Found()
    for fold in folds:
        found.warnings += fold.data.warnings
        for prompt_set in prompt_sets:
            TASKS[config.task](bench, fold, prompt_set, found)
    found.warnings += _clip_warnings(models, folds) + _people_warnings(models, folds)
    evaluation = _evaluation(study, config, found, models, prompt_sets)
    folder = (output or _results(study)) / config.task
    # Without it nobody takes half of these results for whole ones.
    (folder / PROVENANCE_FILE).unlink(missing_ok=True)
    write_evaluation(evaluation, folder)
    origin = provenance(
        command="evaluate",
        protocol=study.protocol,
        inputs=evaluation_inputs(folds, prompt_sets),
        started=started,
        ended=now(),
    )
    origin |= {"weights": models.weights, "git_commit": git_commit(study.folder)}
    text = json.dumps(origin, indent=2, ensure_ascii=False) + "\n"
    (folder / PROVENANCE_FILE).write_text(text, encoding="utf-8")
    if models.own_card is not None and model_folder is None:
        evaluations = study_evaluations(study.folder)
        write_model_documents(study.model_folder, evaluations=evaluations)
    return Evaluated(folder, evaluation)


def is_evaluated(study: Study) -> bool:
    """Say whether the task's folder holds a result of the present inputs, settings and model."""
    protocol = study.protocol
    config = protocol.evaluation or EvaluationConfig()
    folder = evaluation_folder(study)
    try:
        found = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    settings = found.get("protocol", {})
    wanted = protocol.model_dump(mode="json")
    if any(settings.get(key) != wanted[key] for key in SETTINGS_THAT_COUNT):
        return False
    if not trains_its_own(config):
        try:
            weights = read_card(study.model_folder)["weights_sha256"]
        except InputError:
            return False
        if found.get("weights") != {OWN_MODEL: weights}:
            return False
    prompt_sets = evaluation_prompts(study, config)
    inputs = evaluation_inputs(load_folds(study, config), prompt_sets)
    return bool(found.get("inputs") == inputs)


def evaluation_folder(study: Study) -> Path:
    """Return the folder of the results of the protocol's task."""
    return _results(study) / (study.protocol.evaluation or EvaluationConfig()).task


def _results(study: Study) -> Path:
    """Return the folder of the protocol's results: no protocol overwrites those of another."""
    return study.folder / OUTPUT_FOLDER / study.variant


def load_folds(study: Study, config: EvaluationConfig) -> list[Fold]:
    """Read the folds of the labelled clips, and of the clips to train on where they differ.

    Raises
    ------
    InputError
        With the faults of all folds; or if folds are asked for that the source does not have.
    """
    source = config.data or study.protocol.data.clips
    there = study_folds(study, source)
    if faults := [
        f"evaluation.folds must be of {', '.join(map(str, there)) or 'a source with folds'}, "
        f"got {fold}"
        for fold in config.folds or ()
        if fold not in there
    ]:
        raise InputError(faults)
    # A source that names its own fold is that fold alone.
    named = clip_source(source).fold
    wanted = config.folds or ((named,) if named else there)
    apart = config.train_each_fold and not trains_on_judged_source(config)
    folds: list[Fold] = []
    faults = []
    for number in wanted or (None,):
        try:
            data = load_study_clips(study, source, fold=number)
            training = (
                load_study_clips(study, study.protocol.data.clips, fold=number) if apart else None
            )
        except InputError as error:
            faults += [fault for fault in error.faults if fault not in faults]
        else:
            fold = Fold("" if number is None else str(number), data, training)
            faults += _overlap(fold)
            folds.append(fold)
    if faults:
        raise InputError(faults)
    return folds


def _overlap(fold: Fold) -> list[str]:
    """Return a message where clips to train on are among those to judge."""
    if fold.training is None:
        return []
    judged = {c.path.resolve() for c in fold.data.clips if c.split == "test"}
    twice = [
        c.where for c in fold.training.clips if c.split != "test" and c.path.resolve() in judged
    ]
    where = f"fold {fold.name}: " if fold.name else ""
    return (
        [
            f"{where}{len(twice)} test clips of evaluation.data are among the training clips of "
            f"data.clips (the first at {twice[0]})"
        ]
        if twice
        else []
    )


def evaluation_inputs(
    folds: Sequence[Fold], prompt_sets: Sequence[PromptSet]
) -> dict[str, str | None]:
    """Return the hashes of what an evaluation reads: clips with their labels, prompt sets."""
    inputs: dict[str, str | None] = {}
    for fold in folds:
        suffix = f", fold {fold.name}" if fold.name else ""
        inputs[f"clips{suffix}"] = clips_digest(fold.data.clips)
        if fold.training is not None:
            inputs[f"training clips{suffix}"] = clips_digest(fold.training.clips)
    return inputs | {f"prompts {p.name}": prompt_set_hash(p) for p in prompt_sets}


def _clip_warnings(models: JudgedModels, folds: Sequence[Fold]) -> list[str]:
    """Say how many of the test clips the study's own model was trained on, by their content."""
    known = frozenset((models.own_card or {}).get("training_clips", ()))
    if not known:
        return []
    test = {c.path for fold in folds for c in fold.data.clips if c.split == "test"}
    seen = sum(content in known for p in test for content in short_hashes([clip_sha256(p)]))
    if not seen:
        return []
    return [
        f"{seen} of {len(test)} test clips are among those that the model was trained on, byte for "
        "byte: these figures are too good"
    ]


def _people_warnings(models: JudgedModels, folds: Sequence[Fold]) -> list[str]:
    """Say which people of the test clips the study's own model was trained on."""
    if models.own_card is None:
        return []
    people = {c.group for fold in folds for c in fold.data.clips if c.split == "test" and c.group}
    seen = known_people(people, models.own_card.get(CARD_PART)).participants
    if not seen:
        return []
    named = ", ".join(seen[:PEOPLE_NAMED]) + (", ..." if len(seen) > PEOPLE_NAMED else "")
    return [
        f"{len(seen)} of {len(people)} people of the test clips are among those of the model's "
        f"training clips ({named}): these figures are not of new people"
    ]


def evaluation_prompts(
    study: Study, config: EvaluationConfig, prompts: Sequence[str] = ()
) -> tuple[PromptSet, ...]:
    """Load the prompt sets that are judged: those named, the section's, or the extraction's.

    Raises
    ------
    InputError
        If one can not be read, or two have the same name.
    """
    if prompts:
        found = load_prompt_sets(tuple(prompts))
    else:
        named = config.prompts or study.protocol.extraction.prompts
        found = load_prompt_sets(named, folder=study.folder)
    names = [p.name for p in found]
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise InputError(f"two prompt sets are called {n!r}" for n in repeated)
    # A linear probe reads no text, so that one pass is all there is.
    probes = config.task == "supervised" and config.method == "linear_probe"
    return found[:1] if probes else found


def _evaluation(
    study: Study,
    config: EvaluationConfig,
    found: Found,
    models: JudgedModels,
    prompt_sets: Sequence[PromptSet],
) -> Evaluation:
    return Evaluation(
        task=config.task,
        variants=tuple(
            Variant(name, pool(parts), found.details.get(name, {}))
            for name, parts in found.predictions.items()
        ),
        bootstrap=config.bootstrap,
        seed=study.protocol.seed,
        published=config.published,
        faithful=config.faithful,
        source={
            "model_hashes": models.hashes,
            "prompt_sets": {p.name: prompt_set_hash(p) for p in prompt_sets},
        },
        warnings=tuple(dict.fromkeys(found.warnings)),
    )
