"""The report of one result: a single HTML page that opens without a network.

It names participants by their identifiers at most, and no source file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from emoclip_clinical.regression.analysis import Estimate
from emoclip_clinical.regression.models.catalogue import CATALOGUE
from emoclip_clinical.regression.results import metrics_record
from emoclip_clinical.regression.scales import scales
from emoclip_clinical.regression.supplement import Supplement
from emoclip_clinical.study import report_figures as figures
from emoclip_clinical.study.report_sections import number, sections

NOTICE = "Research use only. Not a medical device. Not for diagnosis or treatment decisions."
LEFT_OUT = "(a file's name, left out)"
_FILE = re.compile(r"[\\/]|\.[A-Za-z][A-Za-z0-9]{1,9}$")
_SCHEMES = {
    "repeated_kfold": "repeated grouped k-fold",
    "balanced_kfold": "repeated grouped k-fold balanced on the ratings",
    "leave_one_subject_out": "leave one subject out",
    "rebalanced_leave_one_subject_out": "rebalanced leave one subject out",
    "leave_one_site_out": "leave one site out",
}
_FLOW_TEXT = {
    "not selected": "not selected",
    "rating": "without a complete rating",
    "no rating": "with features, without a rating",
    "features": "without usable features",
    "no features": "with a rating, without features",
    "confound": "without a confound that is removed",
}


def render_report(
    estimate: Estimate,
    *,
    provenance: Mapping[str, object],
    quality: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    more: Supplement | None = None,
) -> str:
    """Render the report of one target as a self-contained HTML page.

    Parameters
    ----------
    estimate : Estimate
        The result.
    provenance : mapping
        Ready for JSON. Shown without the protocol's ``data`` section, and without any text that
        looks like a file's name or path.
    quality : DataFrame, optional
        Recording quality, one row an interview; numeric columns are summarised, and ``status`` is
        counted.
    notes : sequence of str
        Sentences of the study's own, shown below the result.
    more : Supplement, optional
        What stands beside the result, in sections of its own.

    Returns
    -------
    str
        HTML; the same arguments give the same text.
    """
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            target=estimate.design.target,
            scale=_scale_line(estimate),
            summary=_summary(estimate),
            limits=_limits(estimate),
            notes=list(notes),
            notice=NOTICE,
            main=_main_table(estimate),
            method=_method(estimate),
            pictures=_pictures(estimate),
            flow=estimate.design.flow.to_dict("records"),
            losses=_losses(estimate.design.excluded),
            quality=[] if quality is None else _quality(quality),
            coefficients=_coefficients(estimate),
            warnings=[*estimate.warnings, *(more.warnings if more else ())],
            sections=sections(metrics_record(estimate, more)) if more else (),
            provenance=_flat(
                _without_files({k: v for k, v in provenance.items() if k != "protocol"})
            ),
            protocol=_protocol(provenance.get("protocol")),
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("emoclip_clinical.study"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _interval(low: float | None, high: float | None, digits: int = 2) -> str:
    if low is None or high is None:
        return "not defined"
    return f"{number(low, digits)} to {number(high, digits)}"


def _percent(confidence: float) -> str:
    return f"{100 * confidence:g} %"


def _summary(estimate: Estimate) -> str:
    design, m, p = estimate.design, estimate.metrics, estimate.p_permutation
    who = f"In {design.n_subjects} participants with {len(design.y)} visits"
    if m.pearson_pooled is None:
        return f"{who}, the predictions of {design.target} do not vary, so r is not defined."
    r = f"r = {number(estimate.headline_r)}"
    where = " within folds" if estimate.interval_of == "fold_mean" else ""
    if estimate.interval.low is not None:
        level = _percent(estimate.config.confidence)
        r += f" ({level} interval {_interval(estimate.interval.low, estimate.interval.high)})"
    text = (
        f"{who}, ratings of {design.target} and their cross-validated predictions correlate at "
        f"{r}{where}"
    )
    if where:
        text += f", and at r = {number(m.pearson_pooled)} over all folds together"
    if p is None:
        return f"{text}; whether that is more than chance was not tested."
    verdict = (
        "more than permuted ratings give by chance"
        if p <= 1 - estimate.config.confidence
        else "no more than permuted ratings may give by chance"
    )
    tested = "; the latter is " if where else ": "
    return f"{text}{tested}{verdict} (permutation p = {number(p, 3)})."


def _limits(estimate: Estimate) -> str:
    m = estimate.metrics
    return (
        f"A prediction misses by {number(m.mae, 1)} scale points on average; giving everyone the "
        f"mean rating misses by {number(m.baseline_mae, 1)}. This describes these participants "
        "and recordings only: it does not show that the result holds elsewhere, that the face is "
        "the reason for it, or that a single person's prediction can be relied on."
    )


def _scale_line(estimate: Estimate) -> str:
    design = estimate.design
    scale = scales().get(design.target.partition(".")[0])
    if scale is None or not set(design.items) <= set(scale.codes):
        return ""
    items = [scale.item(code) for code in design.items]
    shown = [
        f"{i.code} {i.name}" + (" (partly)" if i.face == "partly" else "")
        for i in items
        if i.face != "not_visible"
    ]
    what = f"{scale.title}: {' + '.join(design.items)}" if len(items) <= 8 else scale.title
    points = f"{number(design.minimum, 0)} to {number(design.maximum, 0)} points"
    return f"{what}; {points}. A face can show of it: {', '.join(shown) or 'nothing'}."


def _main_table(estimate: Estimate) -> list[tuple[str, str, str]]:
    m, p, adjusted = estimate.metrics, estimate.p_permutation, estimate.p_adjusted
    tested = (
        f"{len(estimate.null)} permutations of {estimate.n_exchangeable} participants' ratings, "
        "the whole pipeline rerun"
        if len(estimate.null)
        else "not computed; the warnings say why"
    )
    shrunk = "1 - squared error / squared error of the training mean"
    return [
        (
            "Pearson r within folds",
            number(m.pearson_fold_mean),
            "mean of Fisher's z over folds and repeats: what a newly trained model may reach",
        ),
        *([] if estimate.interval_of == "pooled" else [_interval_row(estimate)]),
        (
            "Pearson r, pooled",
            number(m.pearson_pooled),
            "over all folds together, mean over repeats; lies lower, and is what p tests",
        ),
        *([_interval_row(estimate)] if estimate.interval_of == "pooled" else []),
        ("p, one-sided", number(p, 3), f"of the pooled r: {tested}"),
        ("p, adjusted", number(adjusted, 3), "Benjamini-Hochberg over the protocol's targets"),
        ("Spearman r", number(m.spearman), ""),
        ("MAE", number(m.mae), f"scale points; training mean: {number(m.baseline_mae)}"),
        ("RMSE", number(m.rmse), f"scale points; training mean: {number(m.baseline_rmse)}"),
        ("Skill", number(m.skill), shrunk),
        ("CCC", number(m.ccc), "Lin's concordance correlation"),
        ("ICC(A,1)", number(m.icc_a1), "absolute agreement, single rating"),
        ("Calibration slope", number(m.calibration_slope), "1 is ideal"),
        ("Calibration intercept", number(m.calibration_intercept), "scale points; 0 is ideal"),
        ("Bias", number(m.bias), "mean of predicted - observed, scale points"),
        ("Limits of agreement", _interval(m.limit_low, m.limit_high), "bias ± 1.96 SD"),
    ]


def _interval_row(estimate: Estimate) -> tuple[str, str, str]:
    interval = estimate.interval
    how = (
        "of the r above, for other participants and training sets of this size (corrected t)"
        if estimate.interval_of == "fold_mean"
        else f"of the r above, {interval.method}; participants resampled, fitted models kept: too "
        "narrow"
    )
    level = _percent(estimate.config.confidence)
    return (f"{level} interval", _interval(interval.low, interval.high), how)


def _method(estimate: Estimate) -> str:
    config, fold = estimate.config, estimate.cross_validation.fold
    info = CATALOGUE[config.model]
    what = (
        "segment embeddings"
        if info.needs_segments
        else f"{len(estimate.design.feature_names)} standardised features"
    )
    removed = f", {', '.join(config.confounds)} removed" if config.remove_confounds else ""
    return (
        f"{info.title[0].upper()}{info.title[1:]} on {what}{removed} ({info.description}); "
        f"{_SCHEMES[config.cv]}, {int(fold.max()) + 1} folds, repeated {len(fold)} times, no "
        f"participant on both sides of a split; {config.inner_folds} inner folds for what is "
        "tuned, everything fitted inside the training folds. Each participant counts once, however "
        "many visits."
    )


def _pictures(estimate: Estimate) -> list[dict[str, str]]:
    made = [
        (
            "Observed and predicted",
            figures.scatter(estimate),
            "Each point is a visit, at its mean prediction; its line spans the repeats.",
        ),
        (
            "Calibration",
            figures.calibration(estimate),
            "Line: observed on predicted. Squares: means of equal groups. Dashed: ideal.",
        ),
        (
            "Bland-Altman",
            figures.bland_altman(estimate),
            "Solid: bias. Dashed: 95 % limits of agreement.",
        ),
        (
            "Spread over folds and repeats",
            figures.fold_spread(estimate),
            "Correlations within small folds scatter widely; no single split is to be trusted.",
        ),
    ]
    if np.isfinite(estimate.null).any():
        null = (
            "Permutation test",
            figures.null_distribution(estimate),
            "The null of a cross-validated r is not centred on 0; these permutations show it.",
        )
        made.insert(1, null)
    return [{"title": t, "svg": svg, "caption": c} for t, svg, c in made]


def _losses(excluded: pd.DataFrame) -> list[tuple[str, str, int]]:
    counted = Counter(zip(excluded["stage"].tolist(), excluded["reason"].tolist(), strict=True))
    return [(_FLOW_TEXT[stage], reason, n) for (stage, reason), n in sorted(counted.items())]


def _quality(quality: pd.DataFrame) -> list[tuple[str, str]]:
    rows = []
    if "status" in quality:
        counts = quality["status"].value_counts().sort_index()
        rows.append(("status", ", ".join(f"{n} {name}" for name, n in counts.items())))
    for column in quality.select_dtypes("number").columns:
        values = quality[column].dropna()
        if len(values):
            low, middle, high = values.quantile([0, 0.5, 1])
            rows.append((str(column), f"median {middle:.4g}, {low:.4g} to {high:.4g}"))
    return rows


def _coefficients(estimate: Estimate) -> dict[str, object] | None:
    if estimate.coefficients.empty:
        return None
    table = estimate.coefficients.head(figures.COEFFICIENTS_SHOWN)
    rows = [
        (
            str(row["feature"]),
            number(float(row["mean"])),
            _interval(float(row["low"]), float(row["high"])),
            f"{100 * float(row['share_positive']):.0f} %",
        )
        for row in table.to_dict("records")
    ]
    return {
        "svg": figures.coefficient_spread(estimate),
        "rows": rows,
        "total": len(estimate.coefficients),
    }


def _without_files(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(k): _without_files(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_files(v) for v in value]
    if isinstance(value, str) and _FILE.search(value):
        return LEFT_OUT
    return value


def _protocol(protocol: object) -> str:
    if not isinstance(protocol, Mapping):
        return ""
    shown = _without_files({k: v for k, v in protocol.items() if k != "data"})
    return json.dumps(shown, indent=2, ensure_ascii=False)


def _flat(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested mappings to rows; long lists are counted."""
    if isinstance(value, Mapping):
        return [
            row
            for key, inner in value.items()
            for row in _flat(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list):
        plain = all(not isinstance(v, (Mapping, list)) for v in value) and len(value) <= 12
        return [(prefix, ", ".join(map(str, value)) if plain else f"{len(value)} entries")]
    return [(prefix, "none" if value is None else str(value))]
