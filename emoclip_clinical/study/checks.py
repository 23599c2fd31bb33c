"""Looking over a study before it is run: every fault of every file, in one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from emoclip_clinical.features.column_warnings import column_warnings
from emoclip_clinical.features.interviews import Interview, find_interviews
from emoclip_clinical.features.prompt_sets import load_prompt_sets
from emoclip_clinical.features.same_recordings import same_files
from emoclip_clinical.records import InputError
from emoclip_clinical.regression.ratings import validate_ratings
from emoclip_clinical.study.clip_sources import load_study_clips
from emoclip_clinical.study.history import record_look
from emoclip_clinical.study.left_out import exclusion_faults
from emoclip_clinical.study.protocol import Study, open_study
from emoclip_clinical.study.provenance import Clock, json_sha256, utc_now
from emoclip_clinical.study.rated import study_scales, study_targets
from emoclip_clinical.study.rating_structure import read_structure


def validate_study(
    folder: Path, *, overrides: Sequence[str] = (), values: bool = True, now: Clock = utc_now
) -> str:
    """Check protocol, clips, interviews, prompts and ratings without running anything.

    Reading values of the ratings is a look at the outcome, so it is written to the study's
    history; a table whose targets have no value yet shows none.

    Parameters
    ----------
    folder : Path
        The study.
    overrides : sequence of str
        `section.key=value`.
    values : bool
        False checks of the ratings only keys and columns, which is no look.
    now : callable
        The clock.

    Returns
    -------
    str
        One line that says what the study holds, and one for each warning.

    Raises
    ------
    InputError
        Listing every fault of all files.
    """
    study = open_study(folder, overrides=overrides, needs=("interviews", "ratings"))
    data = study.protocol.data
    faults: list[str] = []
    interviews = study.path(data.interviews)
    there = not isinstance(data.clips, str) or study.path(data.clips).exists()
    n_clips = _count(lambda: load_study_clips(study, data.clips).clips, faults) if there else 0
    found: list[Interview] = []
    try:
        found += find_interviews([interviews])
    except InputError as error:
        faults += error.faults
    twice = same_files(found, patient=study.protocol.extraction.patient)
    faults += twice.of_two
    warnings = [*(column_warnings([interviews]) if found else ()), *twice.of_one]
    _count(lambda: load_prompt_sets(study.protocol.extraction.prompts, folder=folder), faults)
    faults += exclusion_faults(study)
    faults += _rating_faults(study, now) if values else _structure_faults(study)
    if faults:
        raise InputError(faults)
    line = (
        f"{study.protocol.name}: {n_clips} clips, {len(found)} interviews, ratings of "
        f"{', '.join(study.protocol.regression.targets)}; no faults"
    )
    return "\n".join([line, *(f"warning: {text}" for text in warnings)])


def _count(read: Callable[[], Sequence[object]], faults: list[str]) -> int:
    try:
        return len(read())
    except InputError as error:
        faults += error.faults
        return 0


def _structure_faults(study: Study) -> list[str]:
    try:
        read_structure(study, study.path(study.protocol.data.ratings))
    except InputError as error:
        return list(error.faults)
    return []


def _are_empty(study: Study) -> bool:
    try:
        return read_structure(study, study.path(study.protocol.data.ratings)).state == "empty"
    except InputError:
        return False


def _rating_faults(study: Study, now: Clock) -> list[str]:
    protocol = study.protocol
    if _are_empty(study):
        return []
    record_look(
        study.folder,
        command="validate",
        targets=protocol.regression.targets,
        settings_sha256=json_sha256(protocol.model_dump(mode="json")),
        now=now(),
    )
    path = study.path(protocol.data.ratings)
    try:
        registry = study_scales(study)
    except InputError as error:
        return list(error.faults)
    faults = validate_ratings(path, encoding=protocol.data.encoding, registry=registry)
    try:
        study_targets(study, path)
    except InputError as error:
        faults += [fault for fault in error.faults if fault not in faults]
    return faults
