"""Writing marks of segments to a file, and taking them back; whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from emoclip_clinical.records import InputError
from emoclip_clinical.study.exclusions import (
    COLUMNS,
    Exclusion,
    SegmentPlaces,
    place_faults,
    read_exclusions,
    reason_faults,
)
from emoclip_clinical.tables import scan_table


def present_exclusions(
    path: Path, *, places: SegmentPlaces, encoding: str | None = None
) -> tuple[Exclusion, ...]:
    """Return what a file excludes; nothing where there is no file yet.

    Raises
    ------
    InputError
        With every fault of the file.
    """
    if not path.exists():
        return ()
    return read_exclusions(path, places=places, encoding=encoding)


def add_exclusion(
    path: Path, new: Exclusion, *, places: SegmentPlaces, encoding: str | None = None
) -> None:
    """Write one more mark.

    Raises
    ------
    InputError
        If the file has faults, or the mark has: then the file stays as it is.
    """
    with _alone(_target(path)):
        present = present_exclusions(path, places=places, encoding=encoding)
        faults = reason_faults(new.reason)
        if new.interview not in places.by_interview:
            faults.append("there is no such interview")
        elif not places.covered(new):
            faults.append("no segment lies there")
        else:
            faults += place_faults(new, places)
        if mark_id(new) in {mark_id(e) for e in present}:
            faults.append("the same stretch is excluded already")
        if faults:
            raise InputError(faults)
        _write(path, [*present, new], places, encoding)


def take_back_exclusion(
    path: Path, mark: str, *, places: SegmentPlaces, encoding: str | None = None
) -> None:
    """Remove one mark, named by its `mark_id`.

    Raises
    ------
    InputError
        If the file has faults, or no such mark.
    """
    with _alone(_target(path)):
        present = present_exclusions(path, places=places, encoding=encoding)
        kept = [e for e in present if mark_id(e) != mark]
        if len(kept) == len(present):
            raise InputError("there is no such mark; it may have been taken back already")
        _write(path, kept, places, encoding)


def mark_id(exclusion: Exclusion) -> str:
    """Return a short name of a mark: the same for the same stretch of the same interview."""
    place = (exclusion.interview, exclusion.segment, exclusion.onset, exclusion.duration)
    return hashlib.sha256(repr(place).encode()).hexdigest()[:16]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let no other process change the file between reading and writing it.

    The folder is locked, since the file itself is replaced.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{path.name} can not be written: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(
    path: Path, exclusions: Sequence[Exclusion], places: SegmentPlaces, encoding: str | None
) -> None:
    if path.suffix.lower() not in {".csv", ".tsv", ".txt"}:
        raise InputError(f"{path.name}: marks are written to a .csv; this one is for reading only")
    own = [*_own_columns(path, encoding), *(name for e in exclusions for name, _ in e.further)]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, *dict.fromkeys(own)], restval="", lineterminator="\n")
    writer.writeheader()
    for exclusion in exclusions:
        writer.writerow(_row(exclusion, places))
    target = _target(path)
    part = target.with_name(f".{path.stem}.part{path.suffix}")
    try:
        with part.open("w", encoding=encoding or "utf-8", newline="") as file:
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        # A file that can not be read again would stop the viewer and every analysis.
        again = present_exclusions(part, places=places, encoding=encoding)
        if [_told(e) for e in again] != [_told(e) for e in exclusions]:
            raise InputError("the mark would not be read as it was written")
        part.replace(target)
    except InputError:
        part.unlink(missing_ok=True)
        raise
    except (OSError, UnicodeEncodeError) as error:
        part.unlink(missing_ok=True)
        raise InputError(f"the mark could not be written to {path.name}: {error}") from None


def _own_columns(path: Path, encoding: str | None) -> list[str]:
    """Return the columns of the file's own, which no mark names where there is none."""
    if not path.exists():
        return []
    table, _ = scan_table(path, required=(), text=None, encoding=encoding)
    return [] if table is None else [c for c in table.frame.columns if c not in COLUMNS]


def _target(path: Path) -> Path:
    """Return the file itself where the path is a link to it: a link stays one."""
    return Path(os.path.realpath(path))


def _told(exclusion: Exclusion) -> tuple[str, str, dict[str, str]]:
    # A mark that is new has none of the file's own columns, and is read with empty cells there.
    further = {name: cell for name, cell in exclusion.further if cell}
    return mark_id(exclusion), exclusion.reason.strip(), further


def _row(exclusion: Exclusion, places: SegmentPlaces) -> dict[str, str]:
    rows = places.by_interview[exclusion.interview]
    covered = sorted(places.covered(exclusion))
    # A single segment is named for whoever reads the file; a stretch has only its times.
    segment = str(covered[0]) if len(covered) == 1 else ""
    return {
        "participant_id": str(rows["participant_id"].iloc[0]),
        "session_id": str(rows["session_id"].iloc[0]),
        "interview": exclusion.interview,
        "segment": segment,
        "onset": "" if exclusion.onset is None else repr(float(exclusion.onset)),
        "duration": "" if exclusion.duration is None else repr(float(exclusion.duration)),
        "reason": exclusion.reason,
        "marked_at": exclusion.marked_at,
        "estimates_shown": "yes" if exclusion.estimates_shown else "no",
        **dict(exclusion.further),
    }
