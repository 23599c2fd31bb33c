"""A preregistration in plain Markdown: hypotheses to be filled in, every choice spelled out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.config import SITE, RegressionConfig
from emoclip_clinical.regression.models.catalogue import CATALOGUE
from emoclip_clinical.regression.targets import resolve_target
from emoclip_clinical.study.lock import Lock
from emoclip_clinical.study.locked_inputs import MODEL_IDENTITY, model_identity, read_model_card
from emoclip_clinical.study.protocol import Protocol, Study
from emoclip_clinical.study.rated import study_scales

FILL_IN = "**[to be filled in]**"
_SCHEMES = {
    "repeated_kfold": "{folds} folds of subjects, {drawn}",
    "balanced_kfold": "{folds} folds of subjects with alike distributions of the rating, {drawn}",
    "leave_one_subject_out": "each subject held out once",
    "rebalanced_leave_one_subject_out": "each subject held out once, and another left out of "
    "training with it so that the mean rating of the training subjects stays the same",
    "leave_one_site_out": "each site held out once",
}


def preregistration_text(study: Study, lock: Lock) -> str:
    """Return the text of a preregistration for a locked study.

    Parameters
    ----------
    study : Study
        Its scales say what targets are, and its model, where it is the locked one, what scores.
    lock : Lock
        Its settings, not the study's present ones, are what is registered.
    """
    protocol = Protocol.model_validate(lock.settings)
    sections = {
        "Hypotheses": _hypotheses(study, protocol),
        "Who is studied": _sample(lock),
        "What is estimated": _targets(study, protocol.regression),
        "What it is estimated from": _features(study, lock, protocol),
        "Analysis": _analysis(protocol.regression, protocol.seed),
        "Who and what is left out": _left_out(protocol),
        "What will count as exploratory": _exploratory(),
        "Lock": _lock(lock),
    }
    lines = [f"# Preregistration: {protocol.name}", ""]
    for title, text in sections.items():
        lines += [f"## {title}", "", *text, ""]
    lines += ["## All settings", "", "| setting | value | what it is |", "|---|---|---|"]
    lines += [_row(*setting) for setting in _settings(protocol)]
    return "\n".join(lines) + "\n"


def _hypotheses(study: Study, protocol: Protocol) -> Iterator[str]:
    yield "Write down, for each target, what you expect and why, before any rating is looked at."
    yield ""
    for number, name in enumerate(protocol.regression.targets, start=1):
        yield f"{number}. `{name}`: {FILL_IN} (direction, smallest r that would matter, reason)"
    yield ""
    yield (
        "The statistical test of each is one-sided: the correlation of estimated and observed "
        "ratings over held-out subjects is greater than under permuted ratings."
    )


def _sample(lock: Lock) -> Iterator[str]:
    yield f"Recruitment, inclusion and exclusion criteria, sites, raters and training: {FILL_IN}"
    yield ""
    recordings = "none yet" if lock.interviews is None else str(len(lock.interviews))
    yield f"Recordings when the plan was locked: {recordings}."
    n_rows = sum(len(table.rows) for table in lock.ratings.tables)
    yield {
        "absent": f"Ratings did not exist; those of {n_rows} visits are to come.",
        "empty": f"The table of ratings had {n_rows} rows and no value.",
        "filled": f"The table of ratings had {n_rows} rows with values already.",
    }[lock.ratings.state]
    yield f"Reason for this number of subjects (see `emoclip-clinical power`): {FILL_IN}"


def _targets(study: Study, config: RegressionConfig) -> Iterator[str]:
    registry = study_scales(study)
    codes = [code for scale in registry.values() for code in scale.codes]
    for name in config.targets:
        try:
            target = resolve_target(name, codes, registry=registry)
        except InputError:
            yield f"- `{name}`: the column of that name in the ratings"
            continue
        how = "mean" if target.score == "mean" else "sum"
        items = target.items[0] if len(target.items) == 1 else f"{how} of {', '.join(target.items)}"
        scale = f" of {target.scale.title} ({target.scale.source})" if target.scale else ""
        bounds = "" if target.minimum is None else f", {target.minimum:g} to {target.maximum:g}"
        yield f"- `{name}`: {items}{scale}{bounds}"
    yield ""
    yield {
        "mean": "Several raters of a visit: the mean of their ratings.",
        "first": "Several raters of a visit: the first in the table.",
        "repeated": "Several raters of a visit: each is a row of its own.",
    }[config.raters]
    yield {
        "complete": "A score counts only where all of its items are rated.",
        "prorate": "A score with missing items is prorated from the scale's least share of them.",
    }[config.missing_items]
    if config.where:
        chosen = ", ".join(f"{k} = {v}" for k, v in config.where.items())
        yield f"Only visits with {chosen} count."


def _features(study: Study, lock: Lock, protocol: Protocol) -> Iterator[str]:
    extraction, config = protocol.extraction, protocol.regression
    yield (
        f"Videos are cut into segments and scored by {_model(study, lock, protocol)} against the "
        f"prompt sets {', '.join(extraction.prompts)}. Face: {extraction.face}"
        + (
            f", found by {extraction.detector}; the patient is `{extraction.patient}`."
            if extraction.face == "detect"
            else "."
        )
    )
    yield (
        f"Segments of an interview are pooled to: {', '.join(extraction.pooling)} "
        f"(weights: {extraction.pooling_weights})."
    )
    columns = ", ".join(config.feature_columns) or "all"
    yield f"Feature columns that are used: {columns}."
    yield "Where other tools' features are named under data.features, they take this one's place."


def _model(study: Study, lock: Lock, protocol: Protocol) -> str:
    locked = lock.files.get("model", {})
    if not locked:
        return (
            f"a model that did not exist when the plan was locked: `{protocol.model.name}`, tower "
            f"{protocol.model.tower.name} where it is trained with the settings below,"
        )
    card = read_model_card(study)
    is_locked = card is not None and model_identity(card) == locked.get(MODEL_IDENTITY)
    # The protocol may name a model that was made with other settings than its own.
    made = card["architecture"] if card is not None and is_locked else {}
    tower = made.get("tower", {}).get("name", FILL_IN)
    return f"the model `{made.get('name', protocol.model.name)}` (tower {tower})"


def _analysis(config: RegressionConfig, seed: int) -> Iterator[str]:
    model = CATALOGUE[config.model]
    yield f"- Model: {model.title} ({model.description})."
    yield f"- Tuning: {config.inner_folds} inner folds of the training subjects."
    drawn = "drawn once" if config.repeats == 1 else f"drawn anew {config.repeats} times"
    scheme = _SCHEMES[config.cv].format(folds=config.folds, drawn=drawn)
    yield f"- Cross-validation: {scheme}. All visits of a subject are held out together."
    yield "- Everything that learns from data is fitted inside the training folds."
    # As the analysis does: the scheme takes this column where none is named.
    site = config.site or (SITE if config.cv == "leave_one_site_out" else None)
    yield (
        f"- Test: {config.permutations} permutations of the ratings over subjects"
        + (f", within the sites of `{site}`" if site else "")
        + "; statistic: r of estimated and observed ratings over held-out subjects; one-sided."
        if config.permutations
        else "- Test: none (permutations: 0)."
    )
    yield (
        f"- Several targets ({len(config.targets)} here): p values adjusted by Benjamini and "
        "Hochberg over all of them."
    )
    interval = (
        "of the mean r within folds (corrected t over Fisher's z)"
        if config.interval == "folds"
        else f"of the pooled r (bootstrap over subjects, {config.bootstrap} resamples)"
    )
    yield f"- Interval: {100 * config.confidence:g} %, {interval}."
    yield "- Also reported: MAE and RMSE beside those of the training mean, CCC, calibration."
    confounds = ", ".join(config.confounds) or "none named"
    removed = (
        "removed from the features inside each fold" if config.remove_confounds else "compared"
    )
    yield f"- Confounds: {confounds}" + (f"; {removed}." if config.confounds else ".")
    yield f"- Models run beside it, without a test: {', '.join(config.compare) or 'none'}."
    yield f"- Subgroups: {', '.join(config.subgroups) or 'sex, gender, age and site where rated'}."
    yield f"- Seed of everything random: {seed}."


def _left_out(protocol: Protocol) -> Iterator[str]:
    quality = protocol.extraction.quality.model_dump()
    limits = [f"{name} {value:g}" for name, value in quality.items() if value is not None]
    yield f"- Segments that do not reach: {', '.join(limits)}."
    named = protocol.data.exclusions is not None
    yield "- Segments marked by hand: " + (
        "those of the table of exclusions that the lock holds." if named else "none."
    )
    yield {
        "none": "- Visits with a missing feature.",
        "median": "- No visit for a missing feature: it is replaced by the training folds' median.",
    }[protocol.regression.impute]
    yield "- Visits without a rating, ratings without a recording: the report's flow lists them."
    yield f"- Other reasons to leave out a participant: {FILL_IN}"


def _exploratory() -> Iterator[str]:
    yield (
        "Any result for which a setting, an input, a column or a row of the ratings differs from "
        "the lock, and any that was made after a recorded look at the ratings with other settings "
        "or other data. The software says so in the report. Deviations and their reasons will be "
        "told with the result."
    )


def _lock(lock: Lock) -> Iterator[str]:
    yield f"- SHA-256 of the lock file: `{lock.sha256}`"
    yield f"- Written: {lock.written}"
    yield f"- Lines in the history of looks at ratings before it: {lock.mark.length}"
    for text in lock.absent:
        yield f"- Not there to be locked: {text}"
    for name, version in lock.packages.items():
        yield f"- {name} {version or 'not installed'}"


def _settings(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, field.description or ""


def _row(key: str, value: object, description: str) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    if isinstance(value, Mapping):
        plain = dict(value)
    text = json.dumps(plain, ensure_ascii=False, default=str)
    cells = (f"`{key}`", f"`{text}`", description)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
