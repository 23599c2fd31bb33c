"""Drawing with matplotlib into SVG that stands inside a page and takes its colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, SERIES, ACCENT, FAINT, LINE = "#010203", "#010204", "#010205", "#010206", "#010207"
"""Stand-ins that are replaced by the page's own colours after drawing."""
_PAGE_COLOURS = {
    INK: "currentColor",
    SERIES: "var(--series)",
    ACCENT: "var(--accent)",
    FAINT: "var(--faint)",
    LINE: "var(--line)",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
}


def svg(
    draw: Callable[[Axes], None],
    *,
    name: str,
    alt: str,
    height_inches: float = 3.7,
    left: float = 0.14,
) -> str:
    """Return a drawing as a complete ``<svg>`` element; the same drawing gives the same text.

    Parameters
    ----------
    draw : callable
        Draws into the axes it is given.
    name : str
        Begins every id inside, so that those of two pictures never meet.
    alt : str
        For those who do not see it.
    height_inches : float
        Of a picture 4.8 inches wide; the page scales it.
    left : float
        Share of the width for the labels of the vertical axis.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(4.8, height_inches))
        # Margins are given, since a layout that finds them draws everything twice.
        figure.subplots_adjust(
            left=left, right=0.98, bottom=0.5 / height_inches, top=1 - 0.12 / height_inches
        )
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    for drawn, shown in _PAGE_COLOURS.items():
        text = text.replace(drawn, shown)
    # Without a size of its own the picture takes the width of its column.
    text = re.sub(r"\A<svg[^>]*>", lambda m: re.sub(r' (width|height)="[^"]*"', "", m[0]), text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(alt, quote=True)}"', 1)
