"""The pictures of a result: points from its tables, every number in words from its metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.quality import quality_of_visits
from emoclip_clinical.study.report.document import Picture, number, span
from emoclip_clinical.study.report.folder import Record, ResultFolder
from emoclip_clinical.study.report.sentences import difference_unit, unit
from emoclip_clinical.study.report.svg import ACCENT, FAINT, INK, SERIES, svg

_ROUNDING = 1e-9
"""Spread, as a share of the values, that is no spread; correlations that small are rounding."""
_WIDENED = 0.05
"""Half the width of an axis whose values are all the same."""


def pictures(result: ResultFolder) -> tuple[Picture, ...]:
    """Return the pictures that a result has the numbers for."""
    made = (
        _scatter(result),
        _null(result),
        _calibration(result),
        _agreement(result),
        _folds(result),
        _coverage(result),
    )
    return tuple(picture for picture in made if picture is not None)


def _scatter(result: ResultFolder) -> Picture:
    visits, m = result.visits, result.metrics
    band = m["prediction_band"]
    observed, low, high = (visits[c].to_numpy() for c in ("observed", "low", "high"))

    def draw(axes: Axes) -> None:
        ends = _square(axes, np.concatenate([observed, low, high]))
        axes.fill_between(
            ends,
            ends - band["half_width"],
            ends + band["half_width"],
            color=SERIES,
            alpha=0.13,
            linewidth=0,
        )
        axes.vlines(observed, low, high, color=SERIES, alpha=0.45, linewidth=1.2)
        axes.plot(observed, visits["predicted"], "o", color=SERIES, markersize=4.2)
        axes.set_xlabel(f"observed, {unit(m)}")
        axes.set_ylabel(f"predicted, {unit(m)}")

    share = f"{100 * band['level']:g} %"
    alt = (
        f"Scatter of {m['n_interviews']} visits: observed "
        f"{span(m['observed']['low'], m['observed']['high'], 1)}, mean prediction "
        f"{span(m['predicted']['low'], m['predicted']['high'], 1)} {unit(m)}; {share} of the "
        f"ratings lie within {number(band['half_width'], 1)} points of their prediction."
    )
    caption = (
        f"A point is a visit at its mean prediction, its line spans the repeats. Dashed: perfect "
        f"agreement. Band: {share} of the ratings lie within {number(band['half_width'], 1)} "
        "points of their prediction."
    )
    return Picture("Observed and predicted", svg(draw, name="scatter", alt=alt), caption, alt)


def _null(result: ResultFolder) -> Picture | None:
    found, r = result.metrics["null"], result.metrics["pearson_r"]["pooled"]
    if found is None:
        return None
    null = result.null["pearson_r"].dropna().to_numpy()

    def draw(axes: Axes) -> None:
        axes.grid(axis="x", visible=False)
        axes.hist(null, bins=30, range=_ends(null), color=SERIES, alpha=0.6)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        if r is not None:
            left = r > found["mean"]
            axes.axvline(r, color=ACCENT, linewidth=2)
            axes.annotate(
                f"observed {number(r)}",
                (r, 1.0),
                xycoords=("data", "axes fraction"),
                color=ACCENT,
                ha="right" if left else "left",
                va="top",
                xytext=(-5 if left else 5, 0),
                textcoords="offset points",
            )
        axes.set_xlabel("pooled r with permuted ratings")
        axes.set_ylabel("permutations")

    alt = (
        f"Histogram of r for {found['n_defined']} permuted rating vectors, "
        f"{span(found['low'], found['high'])}, mean {number(found['mean'])}; the observed r is "
        f"{number(r)}."
    )
    caption = (
        f"What chance gives: the mean is {number(found['mean'])}. The null of a cross-validated r "
        "is not centred on 0; these permutations show where it lies."
    )
    return Picture("Permutation test", svg(draw, name="null", alt=alt), caption, alt)


def _calibration(result: ResultFolder) -> Picture:
    visits, m = result.visits, result.metrics
    slope, intercept = m["calibration"]["slope"], m["calibration"]["intercept"]
    groups = m["calibration_groups"]
    observed, predicted = visits["observed"].to_numpy(), visits["predicted"].to_numpy()

    def draw(axes: Axes) -> None:
        _square(axes, np.concatenate([observed, predicted]))
        axes.plot(predicted, observed, "o", color=FAINT, markersize=3.4, alpha=0.8)
        if slope is not None and intercept is not None:
            ends = np.array([predicted.min(), predicted.max()])
            axes.plot(ends, intercept + slope * ends, color=ACCENT, linewidth=1.8)
        axes.plot(
            [g["predicted"] for g in groups],
            [g["observed"] for g in groups],
            "s",
            color=SERIES,
            markersize=7.5,
        )
        axes.set_xlabel(f"predicted, {unit(m)}")
        axes.set_ylabel(f"observed, {unit(m)}")

    pairs = "; ".join(
        f"{number(g['predicted'], 1)} predicted, {number(g['observed'], 1)} observed"
        for g in groups
    )
    alt = f"Calibration: slope {number(slope)} (1 is ideal). Group means: {pairs}."
    caption = (
        f"Line: observed on predicted, slope {number(slope)}. Squares: means of "
        f"{len(groups)} equal groups. Dashed: ideal."
    )
    return Picture("Calibration", svg(draw, name="calibration", alt=alt), caption, alt)


def _agreement(result: ResultFolder) -> Picture:
    visits, found = result.visits, result.metrics["bland_altman"]
    difference = visits["predicted"] - visits["observed"]

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=INK, linewidth=0.7)
        axes.plot(
            (visits["predicted"] + visits["observed"]) / 2,
            difference,
            "o",
            color=SERIES,
            markersize=4.2,
        )
        axes.axhline(found["bias"], color=ACCENT, linewidth=1.6)
        for limit in (found["low"], found["high"]):
            if limit is not None:
                axes.axhline(limit, color=ACCENT, linewidth=1.3, linestyle="--")
        axes.set_xlabel(f"mean of observed and predicted, {unit(result.metrics)}")
        axes.set_ylabel("predicted less observed")

    limits = span(found["low"], found["high"], 1)
    alt = (
        f"Bland-Altman plot: bias {number(found['bias'])}, 95 % limits of agreement {limits} "
        f"{difference_unit(result.metrics)}."
    )
    caption = (
        f"Solid: bias, {number(found['bias'])} points. Dashed: 95 % limits of agreement, {limits}. "
        "A falling cloud: high ratings are guessed too low, low ones too high."
    )
    return Picture("Bland-Altman", svg(draw, name="agreement", alt=alt), caption, alt)


def _folds(result: ResultFolder) -> Picture:
    found = result.metrics["repeats"]
    within = result.folds.dropna(subset=["r"])
    whole = [(k + 1, r) for k, r in enumerate(found["pearson_pooled"]) if r is not None]

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=INK, linewidth=0.7)
        if len(within):
            axes.plot(
                within["repeat"] + 1,
                within["r"],
                "o",
                color=FAINT,
                markersize=3.6,
                label="within one fold",
            )
        if whole:
            axes.plot(*zip(*whole, strict=True), "s", color=SERIES, markersize=5, label="all folds")
        axes.set_ylim(-1.05, 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("repeat")
        axes.set_ylabel("r")
        if len(within) or whole:
            axes.legend(loc="lower center", ncols=2, fontsize=10, handletextpad=0.2)

    low, high = found["fold_r_low"], found["fold_r_high"]
    values = [r for _, r in whole]
    over = span(min(values, default=None), max(values, default=None))
    alt = f"Correlation by repeat: within single folds {span(low, high)}; over all folds {over}."
    caption = (
        f"Within single folds r goes from {span(low, high)}, over all folds of a repeat from "
        f"{over}: no single split is to be trusted."
        if low is not None and values
        else "A square is r over all folds of a repeat; within single folds it is not defined."
    )
    return Picture(
        "Spread over folds and repeats", svg(draw, name="folds", alt=alt, left=0.17), caption, alt
    )


def _coverage(result: ResultFolder) -> Picture | None:
    recordings = result.metrics["recordings"]
    found = recordings and recordings["coverage_and_error"]
    if not found or result.quality is None:
        return None
    visits = result.visits.reset_index(drop=True)
    coverage = _coverage_of(visits, result.quality)
    if coverage is None:
        return None
    error = (visits["predicted"] - visits["observed"]).abs()

    def draw(axes: Axes) -> None:
        axes.plot(100 * coverage, error, "o", color=SERIES, markersize=4.2)
        axes.set_xlabel("frames with a face, %")
        axes.set_ylabel(f"absolute error, {difference_unit(result.metrics)}")
        axes.set_ylim(bottom=0)

    r = number(found["spearman_r"])
    alt = (
        f"Scatter of face coverage and absolute error of {found['visits']} visits; Spearman's r is "
        f"{r}."
    )
    caption = f"Does a face that is seen less cost accuracy? Spearman's r is {r}."
    return Picture("Coverage and error", svg(draw, name="coverage", alt=alt), caption, alt)


def _coverage_of(visits: pd.DataFrame, quality: pd.DataFrame) -> pd.Series | None:
    try:
        return quality_of_visits(visits[["participant_id", "session_id"]], quality).get(
            "face_coverage"
        )
    except InputError:
        return None


def coefficient_picture(record: Record) -> Picture:
    """Return the largest mean coefficients with their spread over the training sets."""
    found = record["coefficients"]
    largest = list(reversed(found["largest"]))
    place = np.arange(len(largest))

    def draw(axes: Axes) -> None:
        axes.grid(axis="y", visible=False)
        axes.axvline(0, color=INK, linewidth=0.7)
        axes.hlines(
            place,
            [c["low"] for c in largest],
            [c["high"] for c in largest],
            color=SERIES,
            alpha=0.5,
            linewidth=3,
        )
        axes.plot([c["mean"] for c in largest], place, "o", color=SERIES, markersize=5)
        axes.set_yticks(place, [_shortened(str(c["feature"])) for c in largest])
        axes.tick_params(axis="y", labelsize=9, length=0)
        axes.set_xlabel(f"{difference_unit(record)} per SD")

    first = found["largest"][0]
    alt = (
        f"The {len(largest)} largest of {found['n']} mean coefficients with their spread over "
        f"training sets; the largest is {first['feature']}, {number(first['mean'])}."
    )
    longest = max(len(_shortened(str(c["feature"]))) for c in largest)
    left = min(0.06 + 0.0152 * longest, 0.6)
    made = svg(draw, name="weights", alt=alt, height_inches=1.1 + 0.24 * len(largest), left=left)
    return Picture("", made, "Point: mean. Line: 2.5 % to 97.5 % of the training sets.", alt)


def curve_picture(record: Record) -> Picture:
    """Return the learning curve: squared error against participants."""
    found = record["learning_curve"]
    points = found["points"]
    n = [p["n_subjects"] for p in points]
    rmse = [p["rmse"] for p in points]

    def draw(axes: Axes) -> None:
        axes.plot(n, rmse, "o-", color=SERIES, markersize=6, linewidth=1.4)
        if found["limit_rmse"] is not None:
            axes.axhline(found["limit_rmse"], color=ACCENT, linewidth=1.3, linestyle="--")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("participants")
        axes.set_ylabel(f"RMSE, {difference_unit(record)}")

    alt = (
        f"Learning curve: RMSE {number(rmse[0])} with {n[0]} participants, {number(rmse[-1])} "
        f"with {n[-1]}."
    )
    end = "" if found["limit_rmse"] is None else " Dashed: what more participants would approach."
    return Picture("", svg(draw, name="curve", alt=alt, height_inches=3.0),
                   f"RMSE with some of the participants.{end}", alt)  # fmt: skip


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of the values, widened where they differ by nothing but rounding."""
    low, high = float(values.min()), float(values.max())
    if high - low > _ROUNDING * max(abs(low), abs(high), 1.0):
        return low, high
    return low - _WIDENED, high + _WIDENED


def _square(axes: Axes, values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 1.0
    ends = np.array([low - margin, high + margin])
    axes.plot(ends, ends, color=INK, linewidth=0.9, linestyle="--", zorder=1)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")
    return ends


def _shortened(name: str) -> str:
    # A dollar sign would begin matplotlib's mathematics.
    plain = name.replace("$", r"\$")
    return plain if len(name) <= 34 else f"{name[:16]}…{name[-17:]}".replace("$", r"\$")
