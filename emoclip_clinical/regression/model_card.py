"""The model card of an estimator: what it is for, how good it was, where it must not be used."""

from __future__ import annotations

from collections.abc import Mapping

from emoclip_clinical.regression.change import difference_unit, unit_of
from emoclip_clinical.regression.estimator import FinalEstimator
from emoclip_clinical.regression.estimator_files import NOTICE


def model_card(estimator: FinalEstimator, metrics: Mapping[str, object]) -> str:
    """Describe an estimator in Markdown.

    Parameters
    ----------
    estimator : FinalEstimator
    metrics : mapping
        Content of ``metrics.json``: how well the same model did on subjects it had not seen.

    Returns
    -------
    str
    """
    lines = [
        f"# Estimator of {estimator.target}",
        "",
        f"**{NOTICE}**",
        "",
        *_what(estimator),
        *_performance(metrics, unit=unit_of(estimator.target)),
        *_intervals(estimator),
        *_limits(estimator, metrics),
    ]
    return "\n".join(lines) + "\n"


def _what(estimator: FinalEstimator) -> list[str]:
    low, high = estimator.minimum, estimator.maximum
    ends = (
        None if low is None else f"at least {low:g}",
        None if high is None else f"at most {high:g}",
    )
    known = [end for end in ends if end]
    return [
        "## What it estimates",
        "",
        f"- Target: {estimator.target} (items: {', '.join(estimator.items)})",
        f"- Unit of the target: {unit_of(estimator.target)}",
        f"- Range of the target: {', '.join(known) or 'not known'}",
        f"- Model: {estimator.kind}, {_settings(estimator)}",
        f"- Features: {len(estimator.feature_names)} columns; missing values: "
        + ("filled in with training medians" if estimator.impute == "median" else "not accepted"),
        f"- Fitted to: {estimator.n_subjects} subjects, {estimator.n_visits} rows",
        *_origin(estimator.source),
        "",
    ]


def _settings(estimator: FinalEstimator) -> str:
    settings = getattr(estimator.model, "settings", ())
    return ", ".join(f"{name} = {value:g}" for name, value in settings) or "no hyper-parameters"


def _origin(source: Mapping[str, object]) -> list[str]:
    if not source:
        return ["- Origin of the features: a table that does not say what made it"]
    model, prompts = source.get("model"), source.get("prompts")
    lines = []
    if isinstance(model, Mapping):
        lines.append(f"- Model of the features: {model.get('hash')}")
    if isinstance(prompts, list):
        named = [f"{p.get('name')} ({p.get('hash')})" for p in prompts if isinstance(p, Mapping)]
        lines.append(f"- Prompt sets: {', '.join(named) or 'none'}")
    return [*lines, f"- Settings of the features: {source.get('settings_hash')}"]


def _performance(metrics: Mapping[str, object], *, unit: str) -> list[str]:
    r, cv, base = (_section(metrics, name) for name in ("pearson_r", "cv", "baseline"))
    rows = [
        ("Pearson r within folds", _number(r.get("fold_mean"))),
        ("Pearson r, pooled over folds", _number(r.get("pooled"))),
        (
            "interval of the r " + ("within folds" if r.get("ci_of") == "fold_mean" else "pooled"),
            f"{_number(r.get('ci_low'))} to {_number(r.get('ci_high'))}",
        ),
        ("permutation p of the pooled r (one-sided)", _number(r.get("p_permutation"))),
        (f"mean absolute error, {difference_unit(unit)}", _number(metrics.get("mae"))),
        ("the same for the training mean alone", _number(base.get("mae"))),
        ("skill over the training mean", _number(metrics.get("skill"))),
        ("concordance correlation (CCC)", _number(metrics.get("ccc"))),
    ]
    return [
        "## How good it was on subjects it had not seen",
        "",
        f"Cross-validation: {cv.get('scheme')}, {cv.get('folds')} folds, {cv.get('repeats')} "
        f"repeats, grouped by {cv.get('groups')}; {metrics.get('n_subjects')} subjects.",
        "",
        "| measure | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "These figures belong to the cross-validated models; this estimator was fitted once more, "
        "to all subjects, and has not been tested on others.",
        "",
    ]


def _intervals(estimator: FinalEstimator) -> list[str]:
    return [
        "## Intervals and reach",
        "",
        "- Each estimate has an interval that is to hold the rating of "
        f"{100 * estimator.level:g} % of new subjects (CV+ with "
        f"{len(estimator.fold_models)} models, calibrated by subject). It holds "
        "for new subjects who are like those of the study and are rated alike, on average over "
        "them; not for every kind of subject.",
        "- A visit whose features lie farther from the training subjects' than "
        f"{estimator.distance_limit:.2f} (shrunk Mahalanobis distance over the root of the number "
        "of features) is flagged as out of range.",
        "",
    ]


def _limits(estimator: FinalEstimator, metrics: Mapping[str, object]) -> list[str]:
    warnings = metrics.get("warnings")
    listed = [f"- {w}" for w in warnings] if isinstance(warnings, list) else []
    return [
        "## Limits",
        "",
        "- Not for diagnosis, for decisions about treatment, or for judging single persons.",
        "- Not for other raters, languages, cameras, populations or scales than those of the study "
        "without being tested there first.",
        "- Subjects to whom it was fitted are known again by their features only; their estimates "
        "are too good.",
        "- To be filled in by the authors: population, setting, recording, raters, consent.",
        "",
        *(["## Warnings of the analysis", "", *listed] if listed else []),
    ]


def _section(metrics: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = metrics.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "not defined"
