"""The section on moments: which seconds of an interview move its estimate most."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from emoclip_clinical.study.report.document import Cell, Number, Picture, Section, Table, number
from emoclip_clinical.study.report.folder import ResultFolder
from emoclip_clinical.study.report.sentences import difference_unit

SHOWN = 3
"""Moments of an interview in the table."""
WIDTH, HEIGHT = 600, 14


@dataclass(frozen=True)
class Moment:
    """A segment and what it does to the estimate of its interview.

    Attributes
    ----------
    onset, duration : float
        Seconds of the video.
    influence : float
        In the unit of the target's differences.
    """

    onset: float
    duration: float
    influence: float


def moments(result: ResultFolder) -> Section | None:
    """Return a timeline an interview with its strongest moments; None where none were computed."""
    table = result.moments
    if table is None or table.empty:
        return None
    # Plain values: a cohort has tens of thousands of segments.
    found: dict[str, list[Moment]] = {}
    columns = (table[c].tolist() for c in ("interview", "onset", "duration", "influence"))
    for name, *values in zip(*columns, strict=True):
        found.setdefault(str(name), []).append(Moment(*values))
    every = [moment for part in found.values() for moment in part]
    end = max(m.onset + m.duration for m in every)
    strongest = max(abs(m.influence) for m in every)
    points = difference_unit(result.metrics)
    pictures, rows = [], []
    for name in sorted(found):
        largest = sorted(found[name], key=lambda m: (-abs(m.influence), m.onset))[:SHOWN]
        pictures.append(_timeline(name, found[name], largest, end, strongest, points))
        rows += [_row(name, moment) for moment in largest]
    text = (
        f"By how many {points} the estimate of an interview changes when a segment is left "
        "out. Time stamps only, from models that had not seen the participant. It says what the "
        "model answers to, not why a person looks so. Above the line: the segment raises the "
        "estimate; below: it lowers it; lines are as high as the effect is large.",
    )
    head = ("interview", "from", "to", "moves the estimate by")
    return Section(
        "moments",
        "Moments",
        text,
        tuple(pictures),
        (Table("moments", head, tuple(rows), "The strongest segments of each interview"),),
    )


def _row(name: str, moment: Moment) -> tuple[Cell, ...]:
    until = moment.onset + moment.duration
    return name, clock(moment.onset), clock(until), Number(moment.influence)


def clock(seconds: float) -> str:
    """Show a time of a video as minutes and seconds.

    >>> clock(0.0), clock(75.25)
    ('0:00.0', '1:15.2')
    """
    tenths = int(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def _timeline(
    name: str,
    part: list[Moment],
    largest: list[Moment],
    end: float,
    strongest: float,
    points: str,
) -> Picture:
    bars = "".join(_bar(m, end, strongest) for m in sorted(part, key=lambda m: m.onset))
    words = "; ".join(f"{clock(m.onset)} {number(m.influence)}" for m in largest)
    alt = f"{name}: strongest moments at {words} {points}."
    svg = (
        f'<svg role="img" aria-label="{escape(alt, quote=True)}" class="timeline" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">'
        f'<path d="M0 {HEIGHT / 2}H{WIDTH}" fill="none" stroke="var(--faint)"/>{bars}</svg>'
    )
    return Picture(name, svg, "", alt)


def _bar(moment: Moment, end: float, strongest: float) -> str:
    height = 0.0 if strongest == 0 else abs(moment.influence) / strongest * HEIGHT / 2
    top = HEIGHT / 2 - (height if moment.influence > 0 else 0)
    colour = "--accent" if moment.influence > 0 else "--series"
    return (
        f'<rect x="{WIDTH * moment.onset / end:.2f}" y="{top:.2f}" width="'
        f'{max(WIDTH * moment.duration / end, 1):.2f}" height="{height:.2f}" fill="var({colour})"/>'
    )
