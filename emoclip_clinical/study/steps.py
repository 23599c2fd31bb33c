"""The steps of a study: train, extract, regress; alone, or all that a protocol names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from emoclip_clinical.records import Progress, no_progress
from emoclip_clinical.regression.analysis import Estimate, adjust_family, estimate
from emoclip_clinical.regression.design import join
from emoclip_clinical.regression.results import write_results
from emoclip_clinical.study.history import record_look
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import (
    Clock,
    git_commit,
    json_sha256,
    provenance,
    tree_sha256,
    utc_now,
)
from emoclip_clinical.study.rated import study_features, study_targets
from emoclip_clinical.study.report import render_report

if TYPE_CHECKING:
    from emoclip_clinical.core.training import Trained
    from emoclip_clinical.features.extract import ExtractionResult

EVERYTHING_AHEAD = ("clips", "interviews", "ratings")
QUALITY_COLUMNS = ("seconds", "n_segments", "n_ok", "face_coverage", "n_faces", "status")
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
    """

    name: str
    folder: Path
    estimate: Estimate


@dataclass(frozen=True)
class StudyRun:
    """What `run_study` did; None for a step that was already done with the same inputs.

    Attributes
    ----------
    trained : Trained or None
    extracted : ExtractionResult
        Extraction skips by itself, interview by interview.
    results : tuple of TargetResult or None
    """

    trained: Trained | None
    extracted: ExtractionResult
    results: tuple[TargetResult, ...] | None


def run_train(
    study: Study, *, device: str = "auto", resume: bool = False, progress: Progress = no_progress
) -> Trained:
    """Train the protocol's model on the study's clips.

    Raises
    ------
    InputError
        See `read_clips` and `train`.
    """
    from emoclip_clinical.core.clips import read_clips
    from emoclip_clinical.core.training import train

    protocol = study.protocol
    asked = protocol.training.frame_epochs + protocol.training.epochs
    return train(
        read_clips(study.path(protocol.data.clips)) if asked else [],
        model=protocol.model,
        training=protocol.training,
        folder=study.models / protocol.model.name,
        state_folder=study.folder / ".emoclip" / "training" / protocol.model.name,
        seed=protocol.seed,
        device=device,
        resume=resume,
        progress=progress,
    )


def run_extract(
    study: Study,
    paths: Sequence[Path],
    *,
    model_folder: Path | None = None,
    output: Path | None = None,
    prompts: Sequence[str] = (),
    device: str = "auto",
    overwrite: bool = False,
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
    progress : callable
        Called after each interview.

    Raises
    ------
    InputError
        See `load_model`, `load_prompt_sets` and `extract`.
    """
    from emoclip_clinical.core.embedder import load_model
    from emoclip_clinical.features.extract import extract
    from emoclip_clinical.features.interviews import find_interviews
    from emoclip_clinical.features.prompt_sets import load_prompt_sets

    config = study.protocol.extraction
    find_interviews(paths)  # before a model is loaded, which takes longer
    if prompts:
        prompt_sets = load_prompt_sets(tuple(prompts))
    else:
        prompt_sets = load_prompt_sets(config.prompts, folder=study.folder)
    return extract(
        paths,
        embedder=load_model(model_folder or study.model_folder, device=device),
        config=config,
        prompt_sets=prompt_sets,
        output=output or study.path(study.protocol.data.features),
        overwrite=overwrite,
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
        With the faults of every target at once.
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
    estimates = adjust_family(
        [estimate(d, config=config, seed=protocol.seed, progress=progress) for d in designs]
    )
    origin = provenance(
        command=command,
        protocol=protocol,
        inputs={"features": _features_sha256(features), "ratings": tree_sha256(ratings)},
        started=started,
        ended=now(),
    )
    origin["features"] = dict(table.source)
    origin["git_commit"] = git_commit(study.folder)
    root = output or study.path(data.results)
    results = []
    for name, made in zip(config.targets, estimates, strict=True):
        folder = root / target_folder(name)
        write_results(made, folder)
        _write(folder / PROVENANCE_FILE, json.dumps(origin, indent=2, ensure_ascii=False) + "\n")
        page = render_report(made, provenance=origin, quality=_quality(features))
        _write(folder / REPORT_FILE, page)
        results.append(TargetResult(name, folder, made))
    return tuple(results)


def run_study(
    study: Study, *, device: str = "auto", now: Clock = utc_now, progress: Progress = no_progress
) -> StudyRun:
    """Run all steps in order, leaving out what is done with the same inputs and settings.

    Raises
    ------
    InputError
        From the step that can not go on; the results of the steps before it stay.
    """
    trained = None
    if not _is_trained(study):
        trained = run_train(study, device=device, progress=progress)
    extracted = run_extract(
        study, [study.path(study.protocol.data.interviews)], device=device, progress=progress
    )
    results = None
    if not _is_estimated(study):
        results = run_regress(study, command="run", now=now, progress=progress)
    return StudyRun(trained, extracted, results)


def target_folder(name: str) -> str:
    """Return a target's name as a folder's: `N1+N3` stays, a slash does not."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name)


def _is_trained(study: Study) -> bool:
    from emoclip_clinical.core.clips import read_clips
    from emoclip_clinical.core.training import is_trained

    protocol = study.protocol
    return is_trained(
        study.models / protocol.model.name,
        clips=read_clips(study.path(protocol.data.clips)),
        model=protocol.model,
        training=protocol.training,
        seed=protocol.seed,
    )


def _is_estimated(study: Study) -> bool:
    """Say whether every target has a result of the present inputs, settings and code."""
    protocol = study.protocol
    wanted = {
        "features": _features_sha256(study.path(protocol.data.features)),
        "ratings": tree_sha256(study.path(protocol.data.ratings)),
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
            and (folder / REPORT_FILE).is_file()
        )
        if not same:
            return False
    return True


def _features_sha256(path: Path) -> str | None:
    """Return the hash of what regress reads of features: the pooled table and its settings."""
    if not path.is_dir():
        return tree_sha256(path)
    return json_sha256([tree_sha256(path / n) for n in ("interviews.parquet", "features.json")])


def _quality(features: Path) -> pd.DataFrame | None:
    """Return what extract says of each recording; None for a table of other tools' features."""
    if not features.is_dir():
        return None
    return pd.read_parquet(features / "interviews.parquet", columns=list(QUALITY_COLUMNS))


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
