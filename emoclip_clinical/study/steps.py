"""The steps of a study: what each reads and writes, and when its results are still good."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import emoclip_clinical
from emoclip_clinical.core.training_config import WITHOUT_INFLUENCE
from emoclip_clinical.file_hashes import FileHashes
from emoclip_clinical.records import InputError, Progress, no_progress
from emoclip_clinical.study.clip_sources import load_study_clips
from emoclip_clinical.study.extract import run_extract
from emoclip_clinical.study.graph import Basis, Step, flat
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import Clock, json_sha256, tree_sha256, utc_now
from emoclip_clinical.study.train import (
    asks_training,
    is_trained_as_asked,
    run_train,
    training_prompts,
)

if TYPE_CHECKING:
    from emoclip_clinical.core.clips import Clip
    from emoclip_clinical.core.training import Trained
    from emoclip_clinical.features.extract import ExtractionResult
    from emoclip_clinical.records import PromptSet
    from emoclip_clinical.study.evaluate import Evaluated
    from emoclip_clinical.study.regress import TargetResult

MODEL_FILES = ("model.json", "model.safetensors")
FEATURE_FILES = ("segments.parquet", "embeddings.parquet", "interviews.parquet", "features.json")
EVALUATION_FILES = ("metrics.json", "predictions.csv", "confusion.csv", "provenance.json")
TARGET_FILES = ("metrics.json", "predictions.csv", "folds.csv", "provenance.json")
PACKAGE = "emoclip-clinical"


@dataclass
class Made:
    """What the steps of one run returned; None for a step that did not run."""

    trained: Trained | None = None
    evaluated: Evaluated | None = None
    extracted: ExtractionResult | None = None
    results: tuple[TargetResult, ...] | None = None


@dataclass(frozen=True)
class Setting:
    """What all steps of a run share.

    Attributes
    ----------
    study : Study
    hashes : FileHashes
    device : str
    now : callable
    progress : callable
    made : Made
        Filled while steps run.
    """

    study: Study
    hashes: FileHashes
    device: str = "auto"
    now: Clock = utc_now
    progress: Progress = no_progress
    made: Made = field(default_factory=Made)


def study_steps(setting: Setting) -> tuple[Step, ...]:
    """Return the steps that a protocol asks for, each after those that it reads."""
    study = setting.study
    steps = []
    if trains(study):
        steps.append(_train(setting))
    if study.protocol.evaluation is not None:
        steps.append(_evaluate(setting))
    if extracts(study):
        steps.append(_extract(setting))
    if has_interviews(study):
        steps += [_regress(setting), _report(setting)]
    return tuple(steps)


def has_interviews(study: Study) -> bool:
    """Say whether a study is about interviews, not only about judging a model."""
    data = study.protocol.data
    there = any(study.path(path).exists() for path in (data.interviews, data.ratings))
    return there or study.protocol.evaluation is None


def extracts(study: Study) -> bool:
    """Say whether features come from the study's interviews, not from a table of other tools."""
    return has_interviews(study) and not _features_are_a_table(study)


def needs_own_model(study: Study) -> bool:
    """Say whether the study's own model is used: by extraction, or by what it is judged on."""
    from emoclip_clinical.core.evaluation.config import trains_its_own

    evaluation = study.protocol.evaluation
    return extracts(study) or (evaluation is not None and not trains_its_own(evaluation))


def trains(study: Study) -> bool:
    """Say whether the study makes its own model: not where one is there and no clips are."""
    return needs_own_model(study) and not _model_was_given(study)


def step_files(study: Study, step: str) -> tuple[str, ...]:
    """Return the keys of `data` whose files a step needs, apart from what other steps write."""
    evaluation = study.protocol.evaluation
    if step == "train":
        return ("clips",) if asks_training(study) else ()
    if step == "evaluate":
        reads_clips = evaluation is not None and evaluation.data is None
        return ("clips",) if reads_clips else ()
    if step == "extract":
        return ("interviews",)
    if step == "report":
        return ()
    return ("ratings",) if extracts(study) else ("features", "ratings")


def _features_are_a_table(study: Study) -> bool:
    return Path(study.protocol.data.features).suffix != ""


def _model_was_given(study: Study) -> bool:
    """Say whether there is a model and nothing to train one on: it was imported, or handed over."""
    clips = study.protocol.data.clips
    if not isinstance(clips, str) or study.path(clips).exists() or not asks_training(study):
        return False
    try:
        return bool(study.model_folder)
    except InputError:
        return False


def _train(setting: Setting) -> Step:
    study = setting.study
    folder = study.models / study.protocol.model.name

    def run() -> bool:
        setting.made.trained = run_train(
            study, device=setting.device, resume="if_it_fits", progress=setting.progress
        )
        return True

    def basis() -> Basis:
        protocol = study.protocol
        clips = load_study_clips(study, protocol.data.clips).clips if asks_training(study) else []
        inputs: dict[str, str | None] = {"clips": _clips_sha256(clips, setting.hashes)}
        inputs |= _prompts_sha256([p for p in (training_prompts(study),) if p])
        weights = Path(protocol.model.tower.pretrained)
        if weights.is_file():
            inputs["pretrained weights"] = setting.hashes.file(weights)
        binding = {
            key: value
            for key, value in protocol.training.model_dump(mode="json").items()
            if key not in WITHOUT_INFLUENCE
        }
        return _basis(study, inputs, model=protocol.model.model_dump(mode="json"), training=binding)

    def vouches() -> bool:
        found = _json(folder / MODEL_FILES[0])
        whole = found.get("weights_sha256") == tree_sha256(folder / MODEL_FILES[1], setting.hashes)
        return whole and found.get("made_by") == _code() and is_trained_as_asked(study)

    return Step("train", (), basis, _files(folder, MODEL_FILES), vouches, run)


def _evaluate(setting: Setting) -> Step:
    from emoclip_clinical.core.evaluation.config import EvaluationConfig, trains_its_own
    from emoclip_clinical.study.evaluate import (
        evaluation_folder,
        evaluation_prompts,
        is_evaluated,
        load_folds,
        run_evaluate,
    )

    study = setting.study
    config = study.protocol.evaluation or EvaluationConfig()
    folder = evaluation_folder(study)

    def run() -> bool:
        setting.made.evaluated = run_evaluate(
            study, device=setting.device, now=setting.now, progress=setting.progress
        )
        return True

    def basis() -> Basis:
        protocol = study.protocol
        inputs: dict[str, str | None] = {}
        for fold in load_folds(study, config):
            suffix = f", fold {fold.name}" if fold.name else ""
            inputs[f"clips{suffix}"] = _clips_sha256(fold.data.clips, setting.hashes)
            if fold.training is not None:
                training = _clips_sha256(fold.training.clips, setting.hashes)
                inputs[f"training clips{suffix}"] = training
        inputs |= _prompts_sha256(evaluation_prompts(study, config))
        sections = {"evaluation": config.model_dump(mode="json")}
        if trains_its_own(config):
            sections["model"] = protocol.model.model_dump(mode="json")
            sections["training"] = protocol.training.model_dump(mode="json")
        else:
            inputs["model"] = _model_sha256(study)
        return _basis(study, inputs, **sections)

    def vouches() -> bool:
        return _made_by_this(_json(folder / "provenance.json")) and is_evaluated(study)

    return Step("evaluate", ("train",), basis, _files(folder, EVALUATION_FILES), vouches, run)


def _extract(setting: Setting) -> Step:
    study = setting.study
    data, config = study.protocol.data, study.protocol.extraction

    def run() -> bool:
        found = run_extract(
            study, [study.path(data.interviews)], device=setting.device, progress=setting.progress
        )
        setting.made.extracted = found
        return found.n_failed == 0

    def basis() -> Basis:
        from emoclip_clinical.features.prompt_sets import load_prompt_sets

        inputs = _interviews(study, setting.hashes)
        inputs["model"] = _model_sha256(study)
        inputs |= _prompts_sha256(load_prompt_sets(config.prompts, folder=study.folder))
        settings = config.model_dump(mode="json", exclude={"prompts", "stall_seconds"})
        for name in ("yunet_weights", "reference_folder", "boxes_folder"):
            path = settings.pop(name)
            if path is not None:
                inputs[name.replace("_", " ")] = tree_sha256(study.path(path), setting.hashes)
        return _basis(study, inputs, extraction=settings)

    # Extraction knows its finished interviews by itself, so that running it again costs little.
    return Step(
        "extract",
        ("train",),
        basis,
        _files(study.path(data.features), FEATURE_FILES),
        lambda: False,
        run,
    )


def _regress(setting: Setting) -> Step:
    from emoclip_clinical.study.rated import result_folders
    from emoclip_clinical.study.regress import is_estimated, regress_inputs, run_regress

    study = setting.study
    protocol = study.protocol
    folders = result_folders(study)
    outputs = {
        f"{file} of {name}": folder / file
        for name, folder in folders.items()
        for file in TARGET_FILES
    }

    def run() -> bool:
        setting.made.results = run_regress(
            study, command="run", now=setting.now, progress=setting.progress
        )
        return True

    def basis() -> Basis:
        data = protocol.data
        inputs = regress_inputs(
            study, features=study.path(data.features), ratings=study.path(data.ratings)
        )
        return _basis(
            study,
            inputs,
            regression=protocol.regression.model_dump(mode="json"),
            segment_models=protocol.segment_models.model_dump(mode="json"),
            report={"notes": list(protocol.report.notes)},
        )

    def vouches() -> bool:
        origins = [_json(folder / "provenance.json") for folder in folders.values()]
        return all(map(made_as_now, origins)) and is_estimated(study)

    def made_as_now(origin: Mapping[str, object]) -> bool:
        settings = origin.get("protocol")
        report = settings.get("report") if isinstance(settings, dict) else None
        notes = report.get("notes") if isinstance(report, dict) else None
        return notes == list(protocol.report.notes) and _made_by_this(origin)

    return Step("regress", ("extract",), basis, outputs, vouches, run)


def _report(setting: Setting) -> Step:
    from emoclip_clinical.study.rated import result_folders
    from emoclip_clinical.study.report import check_formats, write_index, write_report

    study, report = setting.study, setting.study.protocol.report
    root = study.path(study.protocol.data.results)
    folders = result_folders(study)
    forms = tuple(dict.fromkeys(("html", *report.formats)))

    def run() -> bool:
        check_formats(forms)
        for folder in folders.values():
            write_report(folder, formats=forms)
        write_index(root)
        return True

    def basis() -> Basis:
        inputs = {
            f"{file} of {name}": tree_sha256(folder / file, setting.hashes)
            for name, folder in folders.items()
            for file in TARGET_FILES
        }
        return _basis(study, inputs, report={"formats": list(forms)})

    outputs = {
        f"report.{form} of {name}": folder / f"report.{form}"
        for name, folder in folders.items()
        for form in forms
    }
    # Regress writes the reports itself, so that they are never older than the result.
    return Step(
        "report", ("regress",), basis, outputs, lambda: setting.made.results is not None, run
    )


def _basis(study: Study, inputs: Mapping[str, str | None], **sections: object) -> Basis:
    """Return a basis of whole sections of the protocol; every step's numbers follow the seed."""
    return Basis(inputs, {**_flat(sections), "seed": study.protocol.seed}, _code())


def _flat(sections: Mapping[str, object]) -> dict[str, object]:
    return {key.removeprefix("."): value for key, value in flat(sections, "").items()}


def _code() -> str:
    return emoclip_clinical.__version__


def _files(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    return {name: folder / name for name in names}


def _json(path: Path) -> Mapping[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _made_by_this(origin: Mapping[str, object]) -> bool:
    packages = origin.get("packages")
    return isinstance(packages, dict) and packages.get(PACKAGE) == _code()


def _clips_sha256(clips: Sequence[Clip], hashes: FileHashes) -> str:
    rows = [
        [
            c.caption,
            c.label,
            c.group,
            c.split,
            c.folder_fps,
            tree_sha256(c.path, hashes),
        ]
        for c in clips
    ]
    return json_sha256(rows)


def _prompts_sha256(sets: Sequence[PromptSet]) -> dict[str, str | None]:
    from emoclip_clinical.features.prompt_sets import prompt_set_hash

    return {f"prompts {p.name}": prompt_set_hash(p) for p in sets}


def _model_sha256(study: Study) -> str:
    from emoclip_clinical.core.checkpoint import read_card

    card = read_card(study.model_folder)
    parts = ("architecture", "preprocessing", "weights_sha256", "training_people")
    return json_sha256({name: card.get(name) for name in parts})


def _interviews(study: Study, hashes: FileHashes) -> dict[str, str | None]:
    from emoclip_clinical.features.interviews import find_interviews

    found = find_interviews([study.path(study.protocol.data.interviews)])
    return {
        f"interview {i.key.name}": json_sha256(
            [tree_sha256(i.path, hashes), i.start_seconds, i.stop_seconds, i.patient]
        )
        for i in found
    }
