"""The step `regress`: every target of a study, estimated, tested and written to its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from emoclip_clinical.records import Progress, no_progress
from emoclip_clinical.regression.analysis import Estimate, adjust_family, estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import join
from emoclip_clinical.regression.family import for_each_target
from emoclip_clinical.regression.joint import learnt_together
from emoclip_clinical.regression.models.final import not_saved_reason
from emoclip_clinical.regression.preparation import prepare
from emoclip_clinical.regression.quality import QUALITY_COLUMNS
from emoclip_clinical.regression.results import write_results
from emoclip_clinical.regression.supplement import Supplement, supplement
from emoclip_clinical.study.estimators import write_estimator
from emoclip_clinical.study.history import record_look
from emoclip_clinical.study.kept_results import refuse_to_lose
from emoclip_clinical.study.leak_guard import check_people, people_warnings, without_hashes
from emoclip_clinical.study.left_out import exclusion_hashes
from emoclip_clinical.study.moments import study_moments, write_moments
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import (
    Clock,
    git_commit,
    json_sha256,
    provenance,
    tree_sha256,
    utc_now,
)
from emoclip_clinical.study.rated import (
    result_folders,
    scale_hashes,
    study_features,
    study_targets,
)
from emoclip_clinical.study.recordings import check_recordings
from emoclip_clinical.study.report import check_formats, write_index, write_report
from emoclip_clinical.study.segment_inputs import reads_segments, segment_inputs
from emoclip_clinical.study.standing import Standing, standings
from emoclip_clinical.study.withdrawal_record import refuse_withdrawn

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
    standing : Standing
        Whether a plan was kept.
    """

    name: str
    folder: Path
    estimate: Estimate
    supplement: Supplement
    standing: Standing


def run_regress(
    study: Study,
    *,
    features: Path | None = None,
    ratings: Path | None = None,
    output: Path | None = None,
    overwrite: bool = False,
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
    overwrite : bool
        Let an exploratory result replace one that kept to its lock.
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
        With the faults of every target at once; naming participants whom the model was trained
        on; and naming results that would be lost, see `refuse_to_lose`.
    """
    protocol = study.protocol
    config, data = protocol.regression, protocol.data
    check_formats(protocol.report.formats)
    started = now()
    features = features or study.path(data.features)
    ratings = ratings or study.path(data.ratings)
    table = study_features(study, features)
    same = check_recordings(features)
    hashes = regress_inputs(study, features=features, ratings=ratings)
    standing = standings(study, features=features, ratings=ratings, inputs=hashes, now=started)
    root = output or study.path(data.results)
    folders = list(result_folders(study, root).values())
    if not overwrite:
        # Before the look is recorded: none was taken.
        refuse_to_lose(zip((f / PROVENANCE_FILE for f in folders), standing, strict=True))
    mark = record_look(
        study.folder,
        command=command,
        targets=config.targets,
        settings_sha256=json_sha256(protocol.model_dump(mode="json")),
        now=started,
        inputs=hashes,
    )
    designs = for_each_target(study_targets(study, ratings), lambda rated: join(table, rated))
    everyone = {p for d in designs for part in (d.keys, d.excluded) for p in part["participant_id"]}
    refuse_withdrawn(study.folder, everyone, where="features or ratings")
    people = check_people(designs, features=table)
    # A fault of the last target is told before the first one's long work.
    for_each_target(designs, lambda design: prepare(design, config=config, seed=protocol.seed))
    warned = (*people_warnings(people), *same)
    designs = [replace(design, warnings=(*design.warnings, *warned)) for design in designs]
    if protocol.segment_models.joint and reads_segments(config):
        designs = learnt_together(designs)
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
        inputs=hashes,
        started=started,
        ended=now(),
    )
    origin["features"] = without_hashes(table.source, people)
    origin["git_commit"] = git_commit(study.folder)
    origin["history"] = mark.as_record()
    origin["variant"] = study.variant
    results = []
    for name, folder, made, stands in zip(
        config.targets, folders, estimates, standing, strict=True
    ):
        origin["standing"] = stands.as_record()
        moments = study_moments(study, made, features=features, progress=progress)
        made = replace(made, warnings=(*made.warnings, *moments.warnings))
        more = supplement(made, quality=quality, progress=progress)
        # Without it nobody takes half of these results for whole ones.
        (folder / PROVENANCE_FILE).unlink(missing_ok=True)
        write_results(made, folder, more=more, quality=quality)
        write_moments(moments, folder)
        write_estimator(made, folder)
        _write(folder / PROVENANCE_FILE, json.dumps(origin, indent=2, ensure_ascii=False) + "\n")
        write_report(folder)
        results.append(TargetResult(name, folder, made, more, stands))
    write_index(root)
    return tuple(results)


def is_estimated(study: Study) -> bool:
    """Say whether every target has a result of the present inputs, settings and code."""
    protocol = study.protocol
    data = protocol.data
    wanted = regress_inputs(
        study, features=study.path(data.features), ratings=study.path(data.ratings)
    )
    for folder in result_folders(study).values():
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


def regress_inputs(study: Study, *, features: Path, ratings: Path) -> dict[str, str | None]:
    """Return the hash of everything that regress reads, by its role."""
    return {
        "features": _features_sha256(features, study.protocol.regression),
        "ratings": tree_sha256(ratings),
        **scale_hashes(study),
        **exclusion_hashes(study, features),
    }


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
