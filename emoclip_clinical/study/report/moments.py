"""The section on moments: which seconds of an interview move its estimate most."""

from __future__ import annotations

from html import escape

import pandas as pd

from emoclip_clinical.study.report.document import Cell, Number, Picture, Section, Table, number
from emoclip_clinical.study.report.folder import ResultFolder

SHOWN = 3
"""Moments of an interview in the table."""
WIDTH, HEIGHT = 600, 14


def moments(result: ResultFolder) -> Section | None:
    """Return a timeline an interview with its strongest moments; None where none were computed."""
    table = result.moments
    if table is None or table.empty:
        return None
    end = float((table["onset"] + table["duration"]).max())
    strongest = float(table["influence"].abs().max())
    pictures, rows = [], []
    for name, part in table.groupby("interview", sort=True):
        largest = part.reindex(part["influence"].abs().sort_values(ascending=False).index)[:SHOWN]
        pictures.append(_timeline(str(name), part, largest, end, strongest))
        rows += [_row(str(name), moment) for moment in largest.to_dict("records")]
    text = (
        "By how many scale points the estimate of an interview changes when a segment is left "
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


def _row(name: str, moment: dict[str, float]) -> tuple[Cell, ...]:
    onset = float(moment["onset"])
    until = onset + float(moment["duration"])
    return name, clock(onset), clock(until), Number(float(moment["influence"]))


def clock(seconds: float) -> str:
    """Show a time of a video as minutes and seconds.

    >>> clock(0.0), clock(75.25)
    ('0:00.0', '1:15.2')
    """
    tenths = int(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def _timeline(
    name: str, part: pd.DataFrame, largest: pd.DataFrame, end: float, strongest: float
) -> Picture:
    bars = "".join(
        _bar(row["onset"], row["duration"], row["influence"], end, strongest)
        for row in part.sort_values("onset").to_dict("records")
    )
    words = "; ".join(
        f"{clock(m['onset'])} {number(m['influence'])}" for m in largest.to_dict("records")
    )
    alt = f"{name}: strongest moments at {words} scale points."
    svg = (
        f'<svg role="img" aria-label="{escape(alt, quote=True)}" class="timeline" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">'
        f'<path d="M0 {HEIGHT / 2}H{WIDTH}" stroke="var(--faint)" stroke-width="1"/>{bars}</svg>'
    )
    return Picture(name, svg, "", alt)


def _bar(onset: float, duration: float, influence: float, end: float, strongest: float) -> str:
    height = 0.0 if strongest == 0 else abs(influence) / strongest * HEIGHT / 2
    top = HEIGHT / 2 - (height if influence > 0 else 0)
    colour = "--accent" if influence > 0 else "--series"
    return (
        f'<rect x="{WIDTH * onset / end:.2f}" y="{top:.2f}" width="'
        f'{max(WIDTH * duration / end, 1):.2f}" height="{height:.2f}" fill="var({colour})"/>'
    )
