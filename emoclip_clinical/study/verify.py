"""Verifying a result: are its settings and inputs those of the lock, and does it come out again."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from emoclip_clinical.records import InputError, Progress, no_progress
from emoclip_clinical.study.history import read_history
from emoclip_clinical.study.history_chain import LOCKED, HistoryMark
from emoclip_clinical.study.lock import Lock, read_lock
from emoclip_clinical.study.lock_differences import (
    file_differences,
    interview_differences,
    rating_differences,
    recording_differences,
    setting_differences,
)
from emoclip_clinical.study.locked_inputs import (
    Inputs,
    extracted_from,
    feature_visits,
    study_inputs,
)
from emoclip_clinical.study.protocol import PROTOCOL_FILE, Protocol, Study, open_study
from emoclip_clinical.study.provenance import (
    Clock,
    package_versions,
    platform_name,
    tree_sha256,
    utc_now,
)
from emoclip_clinical.study.rated import result_folders
from emoclip_clinical.study.rating_structure import read_structure
from emoclip_clinical.study.regress import PROVENANCE_FILE, regress_inputs, run_regress
from emoclip_clinical.study.result_comparison import number_differences
from emoclip_clinical.study.standing import OF_A_LOCK
from emoclip_clinical.study.witnesses import lost_marks


@dataclass(frozen=True)
class Verification:
    """What became of a result since it was made.

    Attributes
    ----------
    changes : tuple of str
        What differs in settings, inputs and history, one a change.
    numbers : tuple of str or None
        Numbers that came out otherwise; None where the analysis was not run again.
    exact : bool
        Whether numbers had to agree to the last digit: same platform, same versions.
    notes : tuple of str
        What is no difference and worth knowing: versions, what was not checked.
    """

    changes: tuple[str, ...]
    numbers: tuple[str, ...] | None
    exact: bool
    notes: tuple[str, ...]

    @property
    def same(self) -> bool:
        """True where nothing differs."""
        return not self.changes and not self.numbers


def verify_result(
    folder: Path,
    result: Path,
    *,
    features: Path | None = None,
    ratings: Path | None = None,
    rerun: bool = True,
    now: Clock = utc_now,
    progress: Progress = no_progress,
) -> Verification:
    """Check a result against the lock and against what it was made from, and make it again.

    It is made again only where its inputs are as they were: of others, other numbers are no
    surprise. That reads rating values and the history says so; as a repetition of an analysis that
    is recorded already, it does not make a later result exploratory.

    Parameters
    ----------
    folder : Path
        The study.
    result : Path
        ``results/<target>``.
    features, ratings : Path, optional
        What the result was made from, where its command was given other tables than the protocol's.
    rerun : bool
        False checks settings and hashes only, and reads no rating value.
    now : callable
        The clock.
    progress : callable
        Called after each interview that is hashed, and while the analysis runs.

    Raises
    ------
    InputError
        If there is no result, or the study's files can not be read.
    """
    record = _provenance(result)
    study = _study_of(folder, record)
    features = features or study.path(study.protocol.data.features)
    ratings = ratings or study.path(study.protocol.data.ratings)
    inputs = study_inputs(study, features=features, progress=progress)
    changes = [*_setting_changes(study, record), *_history_changes(study, record)]
    changes += _changes_since_lock(study, inputs, record, features=features, ratings=ratings)
    changes += [c for c in _interviews_and_features(inputs, features) if c not in changes]
    now_hashed = regress_inputs(study, features=features, ratings=ratings)
    since = _changes_since_result(record, now_hashed)
    changes += since
    exact, notes = _versions(record)
    numbers = None
    if not rerun:
        notes.append("the analysis was not run again")
    elif since:
        notes.append("the analysis was not run again, since its inputs are others now")
    else:
        numbers = _made_again(
            study,
            result,
            features=features,
            ratings=ratings,
            exact=exact,
            now=now,
            progress=progress,
        )
    return Verification(tuple(changes), numbers, exact, tuple(notes))


def _provenance(result: Path) -> Mapping[str, Any]:
    path = result / PROVENANCE_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = {"protocol", "inputs"} - set(record)
    except OSError:
        raise InputError(f"{result} is no result: it has no {PROVENANCE_FILE}") from None
    except (ValueError, TypeError):
        raise InputError(f"{path} is damaged: it is not JSON") from None
    if missing:
        raise InputError(f"{path} is damaged: it has no {', '.join(sorted(missing))}")
    return dict(record)


def _study_of(folder: Path, record: Mapping[str, Any]) -> Study:
    try:
        protocol = Protocol.model_validate(record["protocol"])
    except ValidationError as error:
        raise InputError(
            f"the settings in {PROVENANCE_FILE} are not of this version, or were damaged: "
            f"{error.errors()[0]['msg']}"
        ) from None
    return Study(folder, protocol, str(record.get("variant") or ""))


def _setting_changes(study: Study, record: Mapping[str, Any]) -> Iterator[str]:
    made_with = study.protocol.model_dump(mode="json")
    try:
        lock = read_lock(study.lock_file)
    except InputError as error:
        yield from error.faults
        lock = None
    if lock is not None:
        for text in setting_differences(lock.settings, made_with):
            yield f"settings of the result, from the lock's: {text}"
    path = study.folder / (f"{study.variant}.yaml" if study.variant else PROTOCOL_FILE)
    if not path.is_file():
        return
    try:
        present = open_study(study.folder, protocol_file=path).protocol.model_dump(mode="json")
    except InputError as error:
        yield from error.faults
        return
    base, whose = (made_with, "the result's") if lock is None else (lock.settings, "the lock's")
    for text in setting_differences(base, present):
        yield f"settings in {path.name} now, from {whose}: {text}"


def _history_changes(study: Study, record: Mapping[str, Any]) -> Iterator[str]:
    history = read_history(study.folder)
    mark = HistoryMark.from_record(record.get("history"))
    if not history.sound:
        yield "history: a line was changed, removed or is of another study"
    if mark is not None and not history.holds(mark):
        yield (
            f"history: it does not hold line {mark.length}, which it had when the result was made"
        )
    elif lost := lost_marks(study.folder, history):
        yield f"history: cut, deleted or replaced; {' and '.join(lost)} here remember another"


def _changes_since_lock(
    study: Study, inputs: Inputs, record: Mapping[str, Any], *, features: Path, ratings: Path
) -> Iterator[str]:
    try:
        lock = read_lock(study.lock_file)
    except InputError:
        return
    if lock is None:
        if record.get("standing", {}).get("kind") in OF_A_LOCK:
            yield f"lock: {study.lock_file.name} is gone"
        return
    known_to_history = any(
        e.get("command") == LOCKED and e.get("lock_sha256") == lock.sha256
        for e in read_history(study.folder).entries
    )
    if not known_to_history:
        yield f"lock: {study.lock_file.name} is not as `protocol freeze` wrote it in this folder"
    yield from _input_changes(study, lock, inputs, features=features, ratings=ratings)


def _input_changes(
    study: Study, lock: Lock, inputs: Inputs, *, features: Path, ratings: Path
) -> Iterator[str]:
    made_of, _ = extracted_from(features)
    structure = read_structure(study, ratings)
    rated = [row[0] for table in structure.tables for row in table.rows]
    known = [*made_of, *_readable_visits(study, features), *rated]
    yield from file_differences(lock.files, inputs.files)
    yield from interview_differences(lock, inputs.interviews or {}, known=known)
    yield from rating_differences(lock, structure, values_sha256=tree_sha256(ratings), known=known)


def _readable_visits(study: Study, features: Path) -> tuple[str, ...]:
    """Return the visits of features; none where they were damaged, which their hashes show."""
    try:
        return feature_visits(study, features)
    except InputError:
        return ()


def _interviews_and_features(inputs: Inputs, features: Path) -> Iterator[str]:
    """Compare the interviews with those that the features were made of."""
    made_of, _ = extracted_from(features)
    if made_of and inputs.interviews is not None:
        for text in recording_differences(made_of, inputs.interviews):
            yield f"{text} (since extract)"


def _changes_since_result(
    record: Mapping[str, Any], now_hashed: Mapping[str, str | None]
) -> list[str]:
    made_from = {role: {"content": sha} for role, sha in record["inputs"].items() if sha}
    present = {role: {"content": sha} for role, sha in now_hashed.items() if sha}
    return [
        f"{text} (since the result)"
        for text in file_differences({**{r: {} for r in present}, **made_from}, present)
    ]


def _versions(record: Mapping[str, Any]) -> tuple[bool, list[str]]:
    made = {
        "platform": record.get("platform"),
        "python": record.get("python"),
        **record.get("packages", {}),
    }
    present = {
        "platform": platform_name(),
        "python": platform.python_version(),
        **package_versions(),
    }
    notes = [
        f"version: {name}: {made.get(name)} → {present.get(name)}"
        for name in present
        if made.get(name) != present.get(name)
    ]
    return not notes, notes


def _made_again(
    study: Study,
    result: Path,
    *,
    features: Path,
    ratings: Path,
    exact: bool,
    now: Clock,
    progress: Progress,
) -> tuple[str, ...]:
    named = {folder.name for folder in result_folders(study).values()}
    if result.resolve().name not in named:
        raise InputError(
            f"{result} is not called after a target of its settings ({', '.join(sorted(named))}): "
            "give the folder as regress wrote it"
        )
    with tempfile.TemporaryDirectory() as place:
        run_regress(
            study,
            features=features,
            ratings=ratings,
            output=Path(place),
            command="verify",
            now=now,
            progress=progress,
        )
        return number_differences(result, Path(place) / result.resolve().name, exact=exact)
