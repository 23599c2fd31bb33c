"""Looking over a study before it is run: every fault of every file, in one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emoclip_clinical.features.interview_tables import table_warnings
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
from emoclip_clinical.study.rated import study_features, study_scales, study_targets
from emoclip_clinical.study.rating_structure import read_structure
from emoclip_clinical.study.visit_checks import Matches, Visit, match_visits, segment_faults


def validate_study(
    folder: Path, *, overrides: Sequence[str] = (), values: bool = True, now: Clock = utc_now
) -> str:
    """Check protocol, clips, interviews, prompts and ratings without running anything.

    Reading values of the ratings is a look at the outcome, so it is written to the study's
    history; a table whose targets have no value yet shows none. Keys and columns are no values:
    that the ratings have what the protocol names, and rows of who was recorded, is always checked.

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
    there = not isinstance(data.clips, str) or study.path(data.clips).exists()
    n_clips = _count(lambda: load_study_clips(study, data.clips).clips, faults) if there else 0
    recorded = _recorded(study, faults)
    interviews = study.path(data.interviews)
    twice = same_files(recorded.interviews, patient=study.protocol.extraction.patient)
    faults += twice.of_two
    warnings = [
        *(table_warnings([interviews]) if recorded.interviews else ()),
        *twice.of_one,
    ]
    _count(lambda: load_prompt_sets(study.protocol.extraction.prompts, folder=folder), faults)
    faults += exclusion_faults(study)
    faults += segment_faults(study)
    matched = _matches(study, recorded, faults)
    if values:
        faults += [fault for fault in _rating_faults(study, now) if fault not in faults]
    if faults:
        raise InputError(faults)
    rows = f"{matched.n_matched} of {matched.n_recorded} visits have a row in the ratings"
    line = (
        f"{study.protocol.name}: {n_clips} clips, {len(recorded.interviews)} interviews, ratings "
        f"of {', '.join(study.protocol.regression.targets)} ({rows}); no faults"
    )
    return "\n".join([line, *(f"warning: {text}" for text in warnings)])


@dataclass(frozen=True)
class _Recorded:
    interviews: tuple[Interview, ...]
    visits: frozenset[Visit]
    what: str


def _recorded(study: Study, faults: list[str]) -> _Recorded:
    """Return whose features an analysis would read: those of a table, or of the interviews."""
    data = study.protocol.data
    found: tuple[Interview, ...] = ()
    try:
        found = tuple(find_interviews([study.path(data.interviews)]))
    except InputError as error:
        faults += error.faults
    visits = frozenset((i.key.participant_id, i.key.session_id) for i in found)
    table = study.path(data.features)
    if not table.is_file():
        return _Recorded(found, visits, "interviews")
    try:
        keys = study_features(study, table).keys
        visits = frozenset((str(p), str(s)) for p, s in keys.itertuples(index=False))
    except InputError as error:
        faults += error.faults
        visits = frozenset()
    return _Recorded(found, visits, "features")


def _matches(study: Study, recorded: _Recorded, faults: list[str]) -> Matches:
    """Check keys and columns of the ratings, and count who stands in them."""
    found = Matches(0, 0)
    try:
        read_structure(study, study.path(study.protocol.data.ratings))
    except InputError as error:
        faults += error.faults
    try:
        found = match_visits(study, recorded.visits, what=recorded.what)
    except InputError as error:
        faults += [fault for fault in error.faults if fault not in faults]
    faults += found.faults
    return found


def _count(read: Callable[[], Sequence[object]], faults: list[str]) -> int:
    try:
        return len(read())
    except InputError as error:
        faults += error.faults
        return 0


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
