"""The lock of a study: a plan and the hashes of what it is carried out on, in one readable file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.scalarstring import LiteralScalarString

from emoclip_clinical.records import InputError
from emoclip_clinical.study.history_chain import HistoryMark
from emoclip_clinical.study.locked_inputs import Inputs, Parts, Recordings
from emoclip_clinical.study.protocol import Protocol
from emoclip_clinical.study.protocol_reading import plain, read_yaml
from emoclip_clinical.study.provenance import json_sha256
from emoclip_clinical.study.rating_structure import RatingStructure

LOCK_FORMAT = 1
_HASH_CHARACTERS = 32


@dataclass(frozen=True)
class LockedTable:
    """The structure of one table of ratings, its rows as hashes.

    Attributes
    ----------
    columns : tuple of str
    rows : tuple of str
        Sorted.
    """

    columns: tuple[str, ...]
    rows: tuple[str, ...]


@dataclass(frozen=True)
class LockedRatings:
    """What a lock holds of the ratings.

    Attributes
    ----------
    state : str
        `absent`, `empty` or `filled`, see `RatingStructure`.
    values_sha256 : str or None
        Of the files; None where values were left out, as they are unless asked for.
    tables : tuple of LockedTable
    """

    state: str
    values_sha256: str | None
    tables: tuple[LockedTable, ...]


@dataclass(frozen=True)
class Lock:
    """A lock, as it was read from its file.

    Attributes
    ----------
    sha256 : str
        Of the file's bytes: what an outside time stamp is of.
    written : str
        When, in ISO form.
    mark : HistoryMark
        The end of the history before the lock.
    settings : mapping
        Every setting, as JSON has it.
    interviews : mapping or None
        As `Inputs.interviews`, by hashed key.
    files : mapping
        As `Inputs.files`.
    ratings : LockedRatings
    absent : tuple of str
        What was not there to be hashed.
    packages : mapping of str to str or None
        Versions, Python's among them.
    """

    sha256: str
    written: str
    mark: HistoryMark
    settings: Mapping[str, Any]
    interviews: Recordings | None
    files: Mapping[str, Parts]
    ratings: LockedRatings
    absent: tuple[str, ...]
    packages: Mapping[str, str | None]

    @property
    def settings_sha256(self) -> str:
        """Hash of the settings, as the history has it."""
        return json_sha256(self.settings)

    def hashed(self, name: str) -> str:
        """Return the form in which the lock holds a name."""
        return hashed_name(name, salt=self.mark.study)


def hashed_name(name: str, *, salt: str) -> str:
    """Return a name's salted hash.

    A lock is made to be published, and to outlast a withdrawal of consent, so it names nobody.
    Names are few, and who guesses one can check it: the hash is no anonymisation.
    """
    return hashlib.sha256(f"{salt}:{name}".encode()).hexdigest()[:_HASH_CHARACTERS]


def lock_record(
    *,
    settings: Mapping[str, object],
    mark: HistoryMark,
    inputs: Inputs,
    ratings: RatingStructure,
    values_sha256: str | None,
    absent: tuple[str, ...],
    packages: Mapping[str, str | None],
    platform: str,
    now: datetime,
) -> dict[str, object]:
    """Return the content of a lock file, ready for YAML."""

    def name(text: str) -> str:
        return hashed_name(text, salt=mark.study)

    interviews = None
    if inputs.interviews is not None:
        named = {name(k): json.dumps(dict(v)) for k, v in inputs.interviews.items()}
        interviews = _block(f"{k} {v}" for k, v in sorted(named.items()))
    return {
        "format": LOCK_FORMAT,
        "written": now.isoformat(timespec="seconds"),
        "study": mark.study,
        "history": mark.as_record(),
        "protocol": settings,
        "interviews": interviews,
        "files": {role: dict(parts) for role, parts in inputs.files.items()},
        "ratings": {
            "state": ratings.state,
            "values_sha256": values_sha256,
            "tables": [
                {
                    "columns": list(table.columns),
                    "rows": _block(sorted(name(row_name(row)) for row in table.rows)),
                }
                for table in ratings.tables
            ],
        },
        "absent": list(absent),
        "packages": dict(packages),
        "platform": platform,
    }


def row_name(row: tuple[str, str]) -> str:
    """Return the one text that stands for a row of the ratings."""
    return f"{row[0]}\n{row[1]}" if row[1] else row[0]


def read_lock(path: Path) -> Lock | None:
    """Read a lock.

    Returns
    -------
    Lock or None
        None where there is no such file.

    Raises
    ------
    InputError
        If it is no lock, or was made for settings that this version does not know.
    """
    if not path.is_file():
        return None
    content = plain(read_yaml(path))
    try:
        if content["format"] != LOCK_FORMAT:
            raise InputError(f"{path.name} is of format {content['format']}, wanted {LOCK_FORMAT}")
        mark = HistoryMark.from_record(content["history"])
        if mark is None:
            raise KeyError("history")
        protocol = Protocol.model_validate(content["protocol"])
        return Lock(
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            written=str(content["written"]),
            mark=mark,
            # Keys that are newer than the lock have their defaults.
            settings=protocol.model_dump(mode="json"),
            interviews=_recordings(content["interviews"]),
            files=content["files"],
            ratings=_ratings(content["ratings"]),
            absent=tuple(content["absent"]),
            packages=content["packages"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError | ValidationError):
            raise _of_settings(path, error) from None
        raise InputError(f"{path.name} is no lock, or was damaged: {error}") from None


def _of_settings(path: Path, error: InputError | ValidationError) -> InputError:
    if isinstance(error, InputError):
        return error
    count = error.error_count()
    return InputError(
        f"{path.name}: its settings are not of this version ({count} fault"
        f"{'' if count == 1 else 's'}, the first: {error.errors()[0]['msg']})"
    )


def _block(lines: Iterable[str]) -> str:
    """Return lines as one piece of text: thousands of YAML nodes would take seconds to read."""
    text: str = LiteralScalarString("".join(f"{line}\n" for line in lines))
    return text


def _recordings(text: str | None) -> Recordings | None:
    if text is None:
        return None
    pairs = (line.split(" ", 1) for line in text.splitlines())
    return {name: json.loads(fields) for name, fields in pairs}


def _ratings(record: Mapping[str, Any]) -> LockedRatings:
    tables = [LockedTable(tuple(t["columns"]), tuple(t["rows"].split())) for t in record["tables"]]
    return LockedRatings(str(record["state"]), record["values_sha256"], tuple(tables))
