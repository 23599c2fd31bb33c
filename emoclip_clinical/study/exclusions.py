"""Segments that a person has marked to be left out, each with a reason.

They count only where the protocol names their file (``data.exclusions``): a mark is a decision of
the analysis, and belongs into what a group preregisters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError, participant_label, session_label
from emoclip_clinical.tables import Table, is_number, limit_faults, scan_table
from emoclip_clinical.tables.parquet import damage_told
from emoclip_clinical.tables.table import MISSING

EXCLUSIONS_FILE = "exclusions.csv"
"""Where marks are written while the protocol names no file."""
COLUMNS = (
    "participant_id",
    "session_id",
    "interview",
    "segment",
    "onset",
    "duration",
    "reason",
    "marked_at",
    "estimates_shown",
)
LONGEST_REASON = 200
_PLACES = ("interview", "participant_id", "session_id", "segment", "onset", "duration", "status")
_TINY_SECONDS = 1e-6


@dataclass(frozen=True)
class Exclusion:
    """A stretch of an interview that is to be left out.

    Attributes
    ----------
    interview : str
        Name of the interview.
    segment : int or None
        Number of the one segment; None where a time is given instead.
    onset, duration : float or None
        Seconds of the video's own clock: every segment counts that lies in it, wholly or in part.
    reason : str
        Why; stays out of results and reports.
    marked_at : str
        When, where that is known.
    estimates_shown : bool
        Whether the estimates of the interview were before the eyes of whoever marked it.
    further : tuple of (str, str)
        Columns of the file's own, their cells as they are written.
    """

    interview: str
    segment: int | None
    onset: float | None
    duration: float | None
    reason: str
    marked_at: str = ""
    estimates_shown: bool = False
    further: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SegmentPlaces:
    """Where the segments of a features folder lie.

    Attributes
    ----------
    by_interview : mapping of str to DataFrame
        ``participant_id, session_id, segment, onset, duration, status``, in order.
    """

    by_interview: Mapping[str, pd.DataFrame]

    def covered(self, exclusion: Exclusion) -> frozenset[int]:
        """Return the numbers of the segments that an exclusion leaves out."""
        rows = self.by_interview[exclusion.interview]
        if exclusion.onset is None or exclusion.duration is None:
            return frozenset(rows["segment"][rows["segment"] == exclusion.segment].tolist())
        starts = rows["onset"].to_numpy()
        ends = starts + rows["duration"].to_numpy()
        first, last = exclusion.onset, exclusion.onset + exclusion.duration
        inside = (starts < last - _TINY_SECONDS) & (ends > first + _TINY_SECONDS)
        return frozenset(rows["segment"][inside].tolist())

    def span(self, interview: str) -> tuple[float, float]:
        """Return where the first segment begins and the last one ends, in seconds."""
        rows = self.by_interview[interview]
        return float(rows["onset"].min()), float((rows["onset"] + rows["duration"]).max())


def segment_places(features: Path) -> SegmentPlaces:
    """Read where the segments of a features folder lie."""
    path = features / "segments.parquet"
    with damage_told(path):
        table = pd.read_parquet(path, columns=list(_PLACES))
    return SegmentPlaces({str(name): rows for name, rows in table.groupby("interview")})


def read_exclusions(
    path: Path, *, places: SegmentPlaces, encoding: str | None = None
) -> tuple[Exclusion, ...]:
    """Read and check a file of exclusions.

    Parameters
    ----------
    path : Path
        A table with ``interview``, ``reason``, and either ``onset`` and ``duration`` or
        ``segment``; ``participant_id``, ``session_id``, ``marked_at`` and ``estimates_shown``
        where they are known. A header alone is a file without exclusions.
    places : SegmentPlaces
        The segments of the study.
    encoding : str, optional
        Of the file; UTF-8 by default.

    Returns
    -------
    tuple of Exclusion
        In the order of the file.

    Raises
    ------
    InputError
        With every fault: unknown interviews, times outside them, no place or two in a row, a
        reason that is empty or can not be kept, rows that stand twice.
    """
    if _is_header_alone(path):
        return ()
    table, faults = scan_table(path, required=("interview", "reason"), text=None, encoding=encoding)
    if table is None or not {"interview", "reason"} <= set(table.frame.columns):
        raise InputError(faults)
    found: list[Exclusion] = []
    first_seen: dict[Exclusion, int] = {}
    for index in range(len(table.frame)):
        exclusion, wrong = _of_row(table, index, places)
        if exclusion is not None and not wrong:
            bare = Exclusion(
                exclusion.interview, exclusion.segment, exclusion.onset, exclusion.duration, ""
            )
            if bare in first_seen:
                wrong.append(f"the same stretch is excluded by row {first_seen[bare]}")
            first_seen.setdefault(bare, int(table.rows[index]))
            found.append(exclusion)
        faults += [f"{text} ({table.place(index)})" for text in wrong]
    if faults:
        raise InputError(limit_faults(faults))
    return tuple(found)


def reason_faults(reason: str) -> list[str]:
    """Say why a text can not be the reason of an exclusion; empty where it can."""
    if not reason.strip():
        return ["reason must say why, got nothing"]
    faults = []
    if reason.strip().casefold() in MISSING:
        faults.append(f"reason must say why: {reason.strip()!r} is read as nothing")
    if len(reason) > LONGEST_REASON:
        faults.append(f"reason must have at most {LONGEST_REASON} characters, got {len(reason)}")
    if not reason.isprintable():
        faults.append("reason must be one line of text that can be printed")
    # A wide sign counts as the plain one.
    if unicodedata.normalize("NFKC", reason).lstrip()[:1] in {"=", "+", "-", "@"}:
        faults.append("reason must not begin with =, +, - or @, which spreadsheets calculate")
    return faults


def _is_header_alone(path: Path) -> bool:
    """Say whether every mark was taken back, which is no fault of the file."""
    if path.suffix.lower() not in {".csv", ".tsv", ".txt"} or not path.is_file():
        return False
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").strip().splitlines()
    if len(lines) != 1:
        return False
    names = {name.strip(b' "') for name in re.split(rb"[,;\t]", lines[0])}
    return {b"interview", b"reason"} <= names


def _of_row(table: Table, index: int, places: SegmentPlaces) -> tuple[Exclusion | None, list[str]]:
    row = {str(name): str(value or "") for name, value in table.frame.iloc[index].items()}
    name = row["interview"]
    if not name or not row["reason"]:
        return None, []  # the table's reader has said so
    faults = reason_faults(row["reason"])
    if name not in places.by_interview:
        return None, [*faults, f"interview: no segment of {name!r} is in the features"]
    faults += _key_faults(row, places.by_interview[name])
    onset, duration = (_number(row, key, faults) for key in ("onset", "duration"))
    segment = _number(row, "segment", faults)
    if segment is not None and onset is not None:
        # A mark of the viewer names both; the time is what counts, whatever numbers mean now.
        segment = None
    if (onset is None) != (duration is None):
        faults.append("onset and duration belong together, got one of them")
    elif onset is None and segment is None and not faults:
        faults.append("a place is wanted: onset and duration, or segment")
    shown = _given(row, "estimates_shown").casefold()
    if shown not in {"", "yes", "no"}:
        faults.append(f"estimates_shown must be yes or no, got {shown!r}")
    exclusion = Exclusion(
        interview=name,
        segment=None if segment is None else int(segment),
        onset=onset,
        duration=duration,
        reason=row["reason"],
        marked_at=_given(row, "marked_at"),
        estimates_shown=shown == "yes",
        further=tuple((k, v) for k, v in row.items() if k not in COLUMNS),
    )
    if not faults:
        faults += place_faults(exclusion, places)
    return exclusion, faults


def _key_faults(row: Mapping[str, str], rows: pd.DataFrame) -> list[str]:
    faults: list[str] = []
    for column, label in (("participant_id", participant_label), ("session_id", session_label)):
        known = str(rows[column].iloc[0])
        if cell := _given(row, column):
            try:
                given = label(cell)
            except InputError as error:
                faults += error.faults
                continue
            if given != known:
                faults.append(f"{column}: {row['interview']} is of {known!r}, got {given!r}")
    return faults


def place_faults(exclusion: Exclusion, places: SegmentPlaces) -> list[str]:
    """Say why the place of an exclusion can not be; empty where it can."""
    if exclusion.onset is None or exclusion.duration is None:
        if places.covered(exclusion):
            return []
        return [f"segment: {exclusion.interview} has no segment {exclusion.segment}"]
    if exclusion.duration <= 0:
        return [f"duration must be above 0 seconds, got {exclusion.duration:g}"]
    first, last = places.span(exclusion.interview)
    end = exclusion.onset + exclusion.duration
    if exclusion.onset < first - _TINY_SECONDS or end > last + _TINY_SECONDS:
        return [
            f"{exclusion.onset:g} to {end:g} s lies outside the segments of "
            f"{exclusion.interview} ({first:g} to {last:g} s)"
        ]
    if not places.covered(exclusion):
        return [f"no segment of {exclusion.interview} lies in {exclusion.onset:g} to {end:g} s"]
    return []


def _number(row: Mapping[str, str], column: str, faults: list[str]) -> float | None:
    text = _given(row, column)
    if not text:
        return None
    value = float(text) if is_number(text) else np.nan
    if not np.isfinite(value) or (column == "segment" and value != int(value)):
        what = "a segment's number" if column == "segment" else "a number of seconds"
        faults.append(f"{column} must be {what}, got {text!r}")
        return None
    return value


def _given(row: Mapping[str, str], column: str) -> str:
    """Return a cell, empty where it stands for a missing value."""
    cell = row.get(column, "")
    return "" if cell.lower() in MISSING else cell


def covered_segments(
    exclusions: Sequence[Exclusion], *, places: SegmentPlaces
) -> dict[str, frozenset[int]]:
    """Return the numbers of the segments that are left out, by interview."""
    covered: dict[str, frozenset[int]] = {}
    for exclusion in exclusions:
        before = covered.get(exclusion.interview, frozenset())
        covered[exclusion.interview] = before | places.covered(exclusion)
    return covered
