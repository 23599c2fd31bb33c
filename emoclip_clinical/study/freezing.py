"""Freezing a study: its lock is written, and the history says so."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml.comments import CommentedMap

from emoclip_clinical.records import InputError, Progress, no_progress
from emoclip_clinical.study.history import append_entry, new_study_id, read_history
from emoclip_clinical.study.history_chain import LOCKED, HistoryMark
from emoclip_clinical.study.lock import lock_record, read_lock
from emoclip_clinical.study.locked_inputs import study_inputs, visits_of
from emoclip_clinical.study.preregistration import preregistration_text
from emoclip_clinical.study.protocol import PROTOCOL_FILE, Study, open_study
from emoclip_clinical.study.protocol_reading import (
    ProtocolText,
    override_text,
    read_protocol_text,
    with_all_settings,
    yaml_text,
)
from emoclip_clinical.study.provenance import (
    Clock,
    package_versions,
    platform_name,
    tree_sha256,
    utc_now,
)
from emoclip_clinical.study.rating_structure import read_structure
from emoclip_clinical.study.time_stamp import (
    registration_record,
    sha256_of,
    stamp_file,
    token_record,
)
from emoclip_clinical.study.whole_files import write_json, write_text

_HEADING = """\
Lock of a study, written by `emoclip-clinical protocol freeze`. Do not edit it: its SHA-256, which
the study's history holds, is what an outside time stamp is of. Interviews and rows of the ratings
stand here as salted hashes of their names.
"""


@dataclass(frozen=True)
class Frozen:
    """A lock that was written.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of its bytes.
    absent : tuple of str
        What was not there, so that the lock does not hold it.
    n_earlier_looks : int
        Looks at ratings that the history holds already.
    """

    path: Path
    sha256: str
    absent: tuple[str, ...]
    n_earlier_looks: int


def freeze(
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    protocol_file: Path | None = None,
    with_values: bool = False,
    overwrite: bool = False,
    now: Clock = utc_now,
    new_id: Callable[[], str] = new_study_id,
    progress: Progress = no_progress,
) -> Frozen:
    """Write the lock of a study, all settings resolved and every input that is there hashed.

    No rating value is used: of the ratings the lock holds columns and rows, and the hash of the
    files only where that is asked for.

    Parameters
    ----------
    folder : Path
        The study.
    overrides : sequence of str
        `section.key=value`.
    protocol_file : Path, optional
        Another file than the folder's protocol.yaml; its lock is called after it.
    with_values : bool
        Whether the ratings' values are hashed too.
    overwrite : bool
        Replace a lock that is there; the history keeps both.
    now : callable
        The clock.
    new_id : callable
        Names the study where its history has not begun.
    progress : callable
        Called after each interview.

    Raises
    ------
    InputError
        With every fault of the protocol and of the inputs; if there is a lock already, or no
        ratings whose values could be hashed.
    """
    study = open_study(folder, overrides=overrides, protocol_file=protocol_file)
    if study.lock_file.exists() and not overwrite:
        raise InputError(
            f"{study.lock_file.name} is there already: a plan is frozen once; --overwrite replaces "
            "it, and the history keeps that there were two"
        )
    text = _text(study, protocol_file, overrides)
    history = read_history(folder)
    ends = history.mark
    mark = ends if ends.length else HistoryMark(new_id(), 0, ends.head)
    content, absent = _content(
        study, text, mark=mark, with_values=with_values, now=now, progress=progress
    )
    written = yaml_text(content)
    sha256 = hashlib.sha256(written.encode()).hexdigest()
    # A lock that the history does not know of is worthless; a line about one that was never
    # finished does no harm.
    append_entry(
        folder,
        {"command": LOCKED, "lock_sha256": sha256, "study": mark.study},
        now=now(),
        new_id=new_id,
    )
    write_text(study.lock_file, written)
    stamp_file(study.lock_file).unlink(missing_ok=True)
    return Frozen(study.lock_file, sha256, absent, len(history.looks))


def add_stamp(
    lock_file: Path,
    *,
    token: bytes | None = None,
    root: bytes | None = None,
    registration: str | None = None,
    now: Clock = utc_now,
) -> Path:
    """Put an outside time stamp beside a lock, whose bytes stay as they are.

    Parameters
    ----------
    lock_file : Path
    token : bytes, optional
        An RFC 3161 response, see `token_record`.
    root : bytes, optional
        The authority's root certificate in PEM.
    registration : str, optional
        DOI or address of a registration, in place of a token.
    now : callable
        The clock.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    InputError
        If there is no lock, or the stamp is not of it.
    """
    if read_lock(lock_file) is None:
        raise InputError(f"{lock_file.name} is not there: freeze the study first")
    sha256 = sha256_of(lock_file)
    if (token is None) == (registration is None):
        raise InputError("a lock takes one stamp: a time stamp token or a registration")
    if token is not None:
        record = token_record(token, lock_sha256=sha256, root=root)
    else:
        record = registration_record(registration or "", lock_sha256=sha256, now=now())
    path = stamp_file(lock_file)
    write_json(path, record)
    return path


def lock_file_of(folder: Path, *, protocol_file: Path | None = None) -> Path:
    """Return where the lock of a study's protocol stands."""
    return open_study(folder, protocol_file=protocol_file).lock_file


def write_preregistration(folder: Path, file: Path, *, protocol_file: Path | None = None) -> None:
    """Write the preregistration text of a study that has a lock.

    Raises
    ------
    InputError
        If there is no lock, or the file can not be written.
    """
    study = open_study(folder, protocol_file=protocol_file)
    lock = read_lock(study.lock_file)
    if lock is None:
        raise InputError(f"{study.lock_file.name} is not there: freeze the study first")
    write_text(file, preregistration_text(study, lock))


def read_bytes(path: Path | None) -> bytes | None:
    """Return a file's bytes; None for no file.

    Raises
    ------
    InputError
        If it can not be read.
    """
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise InputError(f"can not read {path}: {error.strerror}") from None


def _text(study: Study, protocol_file: Path | None, overrides: Sequence[str]) -> ProtocolText:
    path = protocol_file or study.folder / PROTOCOL_FILE
    text = read_protocol_text(path) if path.is_file() else ProtocolText(CommentedMap(), {})
    return override_text(text, overrides, {})[0]


def _content(
    study: Study,
    text: ProtocolText,
    *,
    mark: HistoryMark,
    with_values: bool,
    now: Clock,
    progress: Progress,
) -> tuple[CommentedMap, tuple[str, ...]]:
    inputs = study_inputs(study, progress=progress)
    ratings_file = study.path(study.protocol.data.ratings)
    ratings = read_structure(study, ratings_file, visits=visits_of(study, inputs))
    if with_values and ratings.state != "filled":
        raise InputError("--with-values needs ratings that have values")
    absent = inputs.absent
    if ratings.state == "absent":
        (expected,) = ratings.tables
        absent += (
            "ratings: there are none yet; the lock holds the columns and the "
            f"{len(expected.rows)} visits that must come",
        )
    settings = with_all_settings(text.content, study.protocol.model_dump(mode="json"))
    content = CommentedMap(
        lock_record(
            settings=settings,
            mark=mark,
            inputs=inputs,
            ratings=ratings,
            values_sha256=tree_sha256(ratings_file) if with_values else None,
            absent=absent,
            packages={"python": platform.python_version(), **package_versions()},
            platform=platform_name(),
            now=now(),
        )
    )
    content.yaml_set_start_comment(_HEADING)
    return content, absent
