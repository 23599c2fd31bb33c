"""Find interviews: by their file names, or by a table that names them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emoclip_clinical.features.interview_tables import (
    FOLDER_TABLE,
    TABLE_COLUMNS,
    TABLE_ENDINGS,
    table_in,
    table_instead,
    unread_table_fault,
)
from emoclip_clinical.features.patient import patient_rule
from emoclip_clinical.records import (
    InputError,
    InterviewKey,
    participant_label,
    session_label,
)
from emoclip_clinical.tables import Table, is_file, is_number, limit_faults, scan_table

VIDEO_ENDINGS = frozenset(
    {
        ".3gp",
        ".asf",
        ".avi",
        ".dv",
        ".flv",
        ".gif",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
    }
)
AUDIO_ENDINGS = frozenset(
    {
        ".aac",
        ".aif",
        ".aiff",
        ".flac",
        ".m4a",
        ".mp3",
        ".oga",
        ".ogg",
        ".opus",
        ".wav",
        ".wma",
    }
)
_OTHER_ENDINGS = frozenset(
    {
        ".bmp",
        ".csv",
        ".doc",
        ".docx",
        ".eaf",
        ".htm",
        ".html",
        ".ini",
        ".jpeg",
        ".jpg",
        ".json",
        ".log",
        ".md",
        ".ods",
        ".odt",
        ".parquet",
        ".pdf",
        ".png",
        ".py",
        ".rtf",
        ".sha256",
        ".srt",
        ".textgrid",
        ".tif",
        ".tiff",
        ".toml",
        ".tsv",
        ".txt",
        ".vtt",
        ".xls",
        ".xlsx",
        ".xml",
        ".yaml",
        ".yml",
    }
)
_NAME_RULE = "sub-<id>[_ses-<id>][_run-<k>][_anything].<ending>"


@dataclass(frozen=True)
class Interview:
    """One recording to extract.

    Attributes
    ----------
    key : InterviewKey
        Whose, at which visit; the only thing that outputs name.
    path : Path
        The video file; stays out of outputs.
    start_seconds, stop_seconds : float or None
        The part that belongs to the interview, on the video's own clock; None: to its end.
    patient : str
        Who of several people the patient is, see `patient_rule`; empty: as the settings have it.
    """

    key: InterviewKey
    path: Path
    start_seconds: float | None = None
    stop_seconds: float | None = None
    patient: str = ""


def find_interviews(paths: Iterable[str | Path]) -> tuple[Interview, ...]:
    """List the interviews that paths name.

    Parameters
    ----------
    paths : iterable of str or Path
        Folders (searched in any depth, links followed), video files, or tables (``.csv``,
        ``.tsv``) with the columns path, participant_id[, session_id][, run][, patient]
        [, start_seconds][, stop_seconds]; a relative path in a table starts at the table's folder.
        Other columns are left alone, see `table_warnings`. A folder that holds an interviews.csv is
        read by it, and every video in the folder must be named there.

    Returns
    -------
    tuple of Interview
        Sorted by key; no key stands twice.

    Raises
    ------
    InputError
        With every fault: what does not exist, fits no name, stands twice or makes no sense.
    """
    found: list[tuple[Interview, str]] = []
    faults: list[str] = []
    seen: set[Path] = set()
    for path in map(Path, paths):
        # A path that is given twice is one request.
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        try:
            found.extend(_of_path(path))
        except InputError as error:
            faults.extend(error.faults)
    faults += _doubles(found)
    if faults:
        raise InputError(faults)
    interviews = {interview.key: interview for interview, _ in found}
    if not interviews:
        raise InputError("no interview to extract: no path was given")
    return tuple(interviews[key] for key in sorted(interviews))


def interview_key(name: str) -> InterviewKey:
    """Read the key from a file name without its ending.

    Parameters
    ----------
    name : str
        ``sub-<id>[_ses-<id>][_run-<k>][_anything]``; ``ses-`` and ``run-`` may stand anywhere
        after ``sub-``, as in BIDS.

    Returns
    -------
    InterviewKey
        The key.

    Raises
    ------
    InputError
        If the name does not follow the rule.
    """
    parts = name.split("_")
    if not parts[0].startswith("sub-"):
        raise InputError(f"the name does not begin with 'sub-' ({_NAME_RULE})")
    sessions = [part for part in parts[1:] if part.startswith("ses-")]
    runs = [part.removeprefix("run-") for part in parts[1:] if part.startswith("run-")]
    if len(sessions) > 1 or len(runs) > 1:
        raise InputError(f"the name has more than one 'ses-' or 'run-' ({_NAME_RULE})")
    return InterviewKey(
        participant_id=participant_label(parts[0]),
        session_id=session_label(sessions[0]) if sessions else "",
        run=_run(runs[0]) if runs else 0,
    )


def _of_path(path: Path) -> list[tuple[Interview, str]]:
    if not path.exists():
        raise InputError(f"no such file or folder: {path}{table_instead(path)}")
    if path.is_dir():
        return _of_folder(path)
    ending = path.suffix.lower()
    if ending in TABLE_ENDINGS:
        return _of_table(path)
    fault = _ending_fault(path.name, ending)
    if fault is None:
        try:
            return [(Interview(interview_key(path.stem), path), path.name)]
        except InputError as error:
            fault = f"{path.name}: {error}; or name it in an interviews.csv"
    raise InputError(fault)


def _of_folder(folder: Path) -> list[tuple[Interview, str]]:
    table = table_in(folder)
    return _by_name(folder) if table is None else _by_table(folder, table)


def _by_table(folder: Path, table: Path) -> list[tuple[Interview, str]]:
    faults: list[str] = []
    found: list[tuple[Interview, str]] = []
    paths, files_faults = _files(folder)
    try:
        found = _of_table(table)
    except InputError as error:
        faults.extend(error.faults)
    else:
        named = {interview.path.resolve() for interview, _ in found}
        left_out = [
            f"{path.relative_to(folder).as_posix()}: a video that {table.name}, which lies in the "
            "same folder, does not name"
            for path in paths
            if path.suffix.lower() in VIDEO_ENDINGS and path.resolve() not in named
        ]
        if left_out:
            faults += [*limit_faults(left_out), f"name them there, or pass {table} itself"]
    faults += files_faults
    if faults:
        raise InputError(faults)
    return found


def _by_name(folder: Path) -> list[tuple[Interview, str]]:
    found: list[tuple[Interview, str]] = []
    faults: list[str] = []
    paths, files_faults = _files(folder)
    for path in paths:
        shown = path.relative_to(folder).as_posix()
        ending = path.suffix.lower()
        if ending in _OTHER_ENDINGS:
            continue
        fault = _ending_fault(shown, ending)
        if fault is None:
            try:
                found.append((Interview(interview_key(path.stem), path), shown))
            except InputError as error:
                fault = f"{shown}: {error}"
        if fault is not None:
            faults.append(fault)
    if faults:
        faults = limit_faults(faults)
        faults.append(
            f"rename these files in {folder}, or name them in an {FOLDER_TABLE} and pass it"
        )
    faults += files_faults
    if faults:
        raise InputError(faults)
    if not found:
        raise InputError(
            f"no video in the folder {folder} (wanted {_NAME_RULE}){table_instead(folder)}"
        )
    if unread := unread_table_fault(folder, [interview.path for interview, _ in found]):
        raise InputError(unread)
    return found


def _files(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the files of a folder in any depth, and what could not be looked into."""
    found: list[Path] = []
    faults: list[str] = []

    def fault(error: OSError) -> None:
        where = Path(os.fsdecode(error.filename))
        shown = where.relative_to(folder) if where != folder else where
        faults.append(f"{shown.as_posix()}: a folder that can not be read ({error.strerror})")

    # A link that leads back to a folder above it would never end.
    seen: set[Path] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=fault):
        real = Path(parent).resolve()
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(
            Path(parent) / name
            for name in sorted(names)
            if not name.startswith(".") and name != "Thumbs.db"
        )
    return found, faults


def _ending_fault(shown: str, ending: str) -> str | None:
    if ending in VIDEO_ENDINGS:
        return None
    if ending in AUDIO_ENDINGS:
        return f"{shown}: a sound file; an interview needs a video"
    return f"{shown}: the ending {ending!r} is no video's ({', '.join(sorted(VIDEO_ENDINGS))})"


def _of_table(path: Path) -> list[tuple[Interview, str]]:
    required = ("path", "participant_id")
    table, scan_faults = scan_table(
        path,
        required=required,
        text=("path", "participant_id", "session_id", "run", "patient"),
    )
    if table is None or any(name not in table.frame.columns for name in required):
        raise InputError(scan_faults)
    found: list[tuple[Interview, str]] = []
    faults: list[str] = []
    columns = [name for name in TABLE_COLUMNS if name in table.frame.columns]
    rows = table.frame[columns].to_dict("records")
    for index, row in enumerate(rows):
        cells = {str(name): value for name, value in row.items()}
        interview = _of_row(cells, table=table, index=index, folder=path.parent, faults=faults)
        if interview is not None:
            found.append((interview, table.place(index)))
    if scan_faults or faults:
        raise InputError([*scan_faults, *limit_faults(faults)])
    return found


def _of_row(
    row: Mapping[str, object], *, table: Table, index: int, folder: Path, faults: list[str]
) -> Interview | None:
    before = len(faults)

    def fault(text: str) -> None:
        faults.append(f"{text} ({table.place(index)})")

    key = InterviewKey("sub-unread")
    # What is empty was found when the table was read.
    complete = bool(_cell(row, "path")) and bool(_cell(row, "participant_id"))
    try:
        key = InterviewKey(
            participant_id=participant_label(_cell(row, "participant_id") or "unread"),
            session_id=session_label(_cell(row, "session_id")),
            run=_run(_cell(row, "run").removeprefix("run-")) if _cell(row, "run") else 0,
        )
    except InputError as error:
        for text in error.faults:
            fault(text)
    path = folder / _cell(row, "path")
    if _cell(row, "path") and not is_file(path):
        fault(f"path: no such file: {_cell(row, 'path')}")
    patient = _cell(row, "patient")
    try:
        patient = patient_rule(patient).text if patient else ""
    except InputError as error:
        fault(str(error))
    start = _clock(row, "start_seconds", fault=fault)
    stop = _clock(row, "stop_seconds", fault=fault)
    if start is not None and stop is not None and start >= stop:
        fault(f"start_seconds must be before stop_seconds, got {start:g} and {stop:g}")
    if not complete or len(faults) > before:
        return None
    return Interview(key, path, start, stop, patient)


def _cell(row: Mapping[str, object], column: str) -> str:
    value = row.get(column)
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value).strip()


def _clock(row: Mapping[str, object], column: str, *, fault: Callable[[str], None]) -> float | None:
    text = _cell(row, column)
    if not text:
        return None
    # Python also reads 1_30, and the digits of other scripts.
    if is_number(text) and math.isfinite(seconds := float(text)):
        return seconds
    fault(f"{column} must be a number of seconds, got {text!r}")
    return None


def _run(text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}", text):
        raise InputError(f"run must be a whole number from 1, got {text!r}")
    return int(text)


def _doubles(found: Sequence[tuple[Interview, str]]) -> list[str]:
    places: dict[str, list[str]] = {}
    for interview, place in found:
        # Some file systems do not tell capitals apart, and a part's folder has this name.
        places.setdefault(interview.key.name.casefold(), []).append(place)
    return [
        f"{name} stands more than once: {', '.join(where)}"
        for name, where in places.items()
        if len(where) > 1
    ]
