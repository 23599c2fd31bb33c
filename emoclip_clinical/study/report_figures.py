"""The pictures of a report: SVG that stands inside the page and follows its light or dark colours.

Every function returns a complete ``<svg>`` element with a text for those who do not see it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from emoclip_clinical.regression.analysis import Estimate
from emoclip_clinical.regression.metrics import fold_correlations, pearson_r

INK, SERIES, ACCENT, FAINT = "#010203", "#010204", "#010205", "#010206"
"""Stand-ins that are replaced by the page's own colours after drawing."""
PAGE_COLOURS = {
    INK: "currentColor",
    SERIES: "var(--series)",
    ACCENT: "var(--accent)",
    FAINT: "var(--faint)",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
}
COEFFICIENTS_SHOWN = 15
CALIBRATION_GROUPS = 4


def scatter(estimate: Estimate) -> str:
    """Draw observed against predicted ratings, a point a visit, a line for its repeats."""
    cv = estimate.cross_validation
    mean = cv.predicted.mean(axis=0)
    low, high = cv.predicted.min(axis=0), cv.predicted.max(axis=0)

    def draw(axes: Axes) -> None:
        axes.vlines(cv.observed, low, high, color=SERIES, alpha=0.35, linewidth=1.5)
        axes.plot(cv.observed, mean, "o", color=SERIES, markersize=4.5)
        _identity(axes, np.concatenate([cv.observed, low, high]))
        axes.set_xlabel("observed, scale points")
        axes.set_ylabel("predicted, scale points")

    alt = (
        f"Scatter of {len(mean)} visits: observed {_span(cv.observed)}, mean prediction "
        f"{_span(mean)} scale points; the dashed line is perfect agreement."
    )
    return _svg(draw, name="scatter", alt=alt)


def null_distribution(estimate: Estimate) -> str:
    """Draw the correlations under permuted ratings and the observed one."""
    null = estimate.null[np.isfinite(estimate.null)]
    r = estimate.metrics.pearson_pooled

    def draw(axes: Axes) -> None:
        axes.hist(null, bins=30, color=SERIES, alpha=0.55)
        if r is not None:
            axes.axvline(r, color=ACCENT, linewidth=2)
            axes.annotate(
                f"observed {r:.2f}",
                (r, 0.97),
                xycoords=("data", "axes fraction"),
                color=ACCENT,
                ha="right" if r > null.mean() else "left",
                va="top",
                xytext=(-4 if r > null.mean() else 4, 0),
                textcoords="offset points",
            )
        axes.set_xlabel("pooled r with permuted ratings")
        axes.set_ylabel("permutations")

    observed = "not defined" if r is None else f"{r:.2f}"
    alt = (
        f"Histogram of r for {len(null)} permuted rating vectors, {_span(null)}, mean "
        f"{null.mean():.2f}; the observed r is {observed}."
    )
    return _svg(draw, name="null", alt=alt)


def calibration(estimate: Estimate) -> str:
    """Draw observed ratings over predictions: the fitted line, and means of equal groups."""
    cv, m = estimate.cross_validation, estimate.metrics
    mean = cv.predicted.mean(axis=0)
    groups = np.array_split(np.argsort(mean, kind="stable"), min(CALIBRATION_GROUPS, len(mean)))
    at = [np.average(mean[g], weights=cv.weight[g]) for g in groups]
    seen = [np.average(cv.observed[g], weights=cv.weight[g]) for g in groups]

    def draw(axes: Axes) -> None:
        axes.plot(mean, cv.observed, "o", color=FAINT, markersize=3.5)
        if m.calibration_slope is not None and m.calibration_intercept is not None:
            ends = np.array([mean.min(), mean.max()])
            axes.plot(ends, m.calibration_intercept + m.calibration_slope * ends, color=ACCENT)
        axes.plot(at, seen, "s", color=SERIES, markersize=7)
        _identity(axes, np.concatenate([cv.observed, mean]))
        axes.set_xlabel("predicted, scale points")
        axes.set_ylabel("observed, scale points")

    slope = "not defined" if m.calibration_slope is None else f"{m.calibration_slope:.2f}"
    pairs = "; ".join(f"{a:.1f} predicted, {s:.1f} observed" for a, s in zip(at, seen, strict=True))
    alt = f"Calibration: slope {slope} (1 is ideal). Group means: {pairs}."
    return _svg(draw, name="calibration", alt=alt)


def bland_altman(estimate: Estimate) -> str:
    """Draw predicted minus observed over their mean, with bias and limits of agreement."""
    cv, m = estimate.cross_validation, estimate.metrics
    mean = cv.predicted.mean(axis=0)

    def draw(axes: Axes) -> None:
        axes.plot((mean + cv.observed) / 2, mean - cv.observed, "o", color=SERIES, markersize=4.5)
        axes.axhline(0, color=FAINT, linewidth=1)
        axes.axhline(m.bias, color=ACCENT, linewidth=1.5)
        for limit in (m.limit_low, m.limit_high):
            if limit is not None:
                axes.axhline(limit, color=ACCENT, linewidth=1.2, linestyle="--")
        axes.set_xlabel("mean of observed and predicted, scale points")
        axes.set_ylabel("predicted - observed")

    limits = ""
    if m.limit_low is not None and m.limit_high is not None:
        limits = f", 95 % limits of agreement {m.limit_low:.1f} to {m.limit_high:.1f}"
    alt = f"Bland-Altman plot: bias {m.bias:.2f}{limits} scale points."
    return _svg(draw, name="agreement", alt=alt)


def fold_spread(estimate: Estimate) -> str:
    """Draw the correlation within each fold and over each whole repeat."""
    cv = estimate.cross_validation
    within = [
        (repeat + 1, r)
        for repeat, row in enumerate(fold_correlations(cv))
        for r in row
        if r is not None
    ]
    pooled = [pearson_r(cv.observed, p, cv.weight) for p in cv.predicted]
    whole = [(repeat + 1, r) for repeat, r in enumerate(pooled) if r is not None]

    def draw(axes: Axes) -> None:
        if within:
            axes.plot(
                *zip(*within, strict=True), "o", color=FAINT, markersize=3.5, label="one fold"
            )
        if whole:
            axes.plot(*zip(*whole, strict=True), "s", color=SERIES, markersize=5, label="all folds")
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.set_ylim(-1.05, 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("repeat")
        axes.set_ylabel("r")
        if within or whole:
            axes.legend(loc="lower right", ncols=2, fontsize=9)

    inside = _span(np.array([r for _, r in within])) if within else "not defined"
    over = _span(np.array([r for _, r in whole])) if whole else "not defined"
    alt = f"Correlation by repeat: within single folds {inside}; over all folds of a repeat {over}."
    return _svg(draw, name="folds", alt=alt)


def coefficient_spread(estimate: Estimate) -> str:
    """Draw the largest mean coefficients with their 95 % spread over the training sets."""
    table = estimate.coefficients.head(COEFFICIENTS_SHOWN).iloc[::-1]
    place = np.arange(len(table))

    def draw(axes: Axes) -> None:
        axes.hlines(place, table["low"], table["high"], color=SERIES, alpha=0.45, linewidth=3)
        axes.plot(table["mean"], place, "o", color=SERIES, markersize=5)
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_yticks(place, [_shortened(str(name)) for name in table["feature"]])
        axes.set_xlabel("scale points a standard deviation")

    top = estimate.coefficients.iloc[0]
    alt = (
        f"The {len(table)} largest of {len(estimate.coefficients)} mean coefficients with their "
        f"spread over training sets; the largest is {top['feature']}, {top['mean']:.2f}."
    )
    return _svg(draw, name="coefficients", alt=alt, height_inches=1.2 + 0.26 * len(table))


def _identity(axes: Axes, values: np.ndarray) -> None:
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 1.0
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=INK, linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_aspect("equal")


def _span(values: np.ndarray) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def _shortened(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:16]}…{name[-17:]}"


def _svg(draw: Callable[[Axes], None], *, name: str, alt: str, height_inches: float = 3.6) -> str:
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(4.8, height_inches), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # The page holds several pictures, whose ids must not meet.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    for drawn, shown in PAGE_COLOURS.items():
        text = text.replace(drawn, shown)
    # Without a size of its own the picture takes the width of its column.
    text = re.sub(r"\A<svg[^>]*>", lambda m: re.sub(r' (width|height)="[^"]*"', "", m[0]), text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(alt, quote=True)}"', 1)
