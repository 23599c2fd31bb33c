"""Sections that set the result beside others: models, confounds, quality, groups, exclusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emoclip_clinical.regression.folds import sees_ratings
from emoclip_clinical.regression.models.catalogue import CATALOGUE
from emoclip_clinical.regression.subgroups import SMALL
from emoclip_clinical.study.report.document import (
    Cell,
    Chance,
    Number,
    Section,
    Span,
    Table,
    capitalised,
    listed,
    number,
    p_phrase,
)
from emoclip_clinical.study.report.folder import Record, ResultFolder
from emoclip_clinical.study.report.sentences import difference_unit

_BASELINES = {
    "dummy": "mean rating of the training participants",
    "covariates_only": "covariates alone",
    "covariates_and_video": "covariates and {predictors}",
    "quality_only": "recording quality alone",
    "quality_and_video": "recording quality and {predictors}",
}


def _title(name: str, predictors: str) -> str:
    titles: Mapping[str, str] = {str(k): info.title for k, info in CATALOGUE.items()}
    return titles.get(name) or _BASELINES[name].format(predictors=predictors)


def models(result: ResultFolder) -> Section:
    """Return the models and baselines on the same folds."""
    record, predictors = result.metrics, result.predictors
    rows = tuple(
        (
            _title(m["name"], predictors) + (" (this result)" if m["role"] == "main" else ""),
            int(m["n_subjects"]),
            Number(m["pearson_fold_mean"]),
            Number(m["pearson_pooled"]),
            Number(m["mae"]),
            Number(m["rmse"]),
            Number(m["skill"]),
        )
        for m in record["models"]
    )
    head = ("model", "participants", "r within folds", "r pooled", "MAE", "RMSE", "skill")
    beside = [m for m in record["models"] if m["role"] == "compared"]
    text = (
        "All on the same folds; the baselines always run. A model that does not beat the mean "
        "rating has found nothing that helps new participants. Only this result's p was tested: "
        "choosing the best row afterwards would be another analysis."
    )
    tables = (Table("models", head, rows), *([_differences(beside, predictors)] if beside else []))
    return Section("models", "Models compared", (text,), tables=tables)


def _differences(beside: Sequence[Record], predictors: str) -> Table:
    rows = tuple(
        (
            _title(m["name"], predictors),
            Number(m["r_less_main"]["value"]),
            Span(m["r_less_main"]["ci_low"], m["r_less_main"]["ci_high"]),
            Number(m["mae_less_main"]["value"]),
            Span(m["mae_less_main"]["ci_low"], m["mae_less_main"]["ci_high"]),
            Chance(m["p_corrected_t"]),
        )
        for m in beside
    )
    head = ("model less this result", "r", "interval", "MAE", "interval", "p")
    caption = (
        "Intervals: participants and one repeat drawn at random. p: two-sided, of the difference "
        "in MAE over folds (Nadeau and Bengio)."
    )
    return Table("model_differences", head, rows, caption)


def confounds(result: ResultFolder) -> Section:
    """Return what covariates predict, and what video or other features add."""
    found, predictors = result.metrics["confounds"], result.predictors
    if found is None:
        text = f"No covariate was compared with the {predictors}; the warnings say why."
        return Section("confounds", "Confounds", (text,))
    text = (
        f"What {listed(found['names'])} predict alone, and the gain from the {predictors} beside "
        "them (ridge, the confounds without a penalty). The ratings are raw in every row."
    )
    table = _against("confounds", found, predictors)
    return Section("confounds", "Confounds", (text,), tables=(table,))


def quality_alone(result: ResultFolder) -> Section:
    """Return whether recording quality alone predicts the rating."""
    found = result.metrics["quality_alone"]
    title = "Does recording quality alone predict it?"
    if found is None:
        return Section("quality-alone", title, ("Not known; the warnings say why.",))
    alone, p = found["alone"], found["alone"]["p_permutation"]
    verdict = (
        "was not tested"
        if p is None
        else "is more than permuted ratings give by chance: quality goes with the ratings"
        if p <= 0.05
        else "is no more than permuted ratings may give by chance"
    )
    text = (
        f"Recording quality alone ({listed(found['names'])}) reaches "
        f"r = {number(alone['pearson_pooled'])}, which {verdict}"
        + ("." if p is None else f" ({p_phrase(p)}).")
    )
    table = _against("quality_alone", found, result.predictors)
    return Section("quality-alone", title, (text,), tables=(table,))


def _against(key: str, found: Record, predictors: str) -> Table:
    alone, gain, skill = found["alone"], found["gain_r"], found["gain_skill"]
    rows: tuple[tuple[Cell, ...], ...] = (
        (
            "alone",
            Number(alone["pearson_pooled"]),
            Span(alone["ci_low"], alone["ci_high"]),
            Chance(alone["p_permutation"]),
        ),
        (f"{predictors} alone", Number(found["video_pearson_pooled"]), "", ""),
        ("together", Number(found["combined_pearson_pooled"]), "", ""),
        (
            f"{predictors}, these removed in the fold",
            Number(found["residualised_pearson_pooled"]),
            "",
            "",
        ),
        (
            f"gain in r from {predictors}",
            Number(gain["value"]),
            Span(gain["ci_low"], gain["ci_high"]),
            Chance(found["p_gain_freedman_lane"]),
        ),
        (
            "gain in skill, not in r",
            Number(skill["value"]),
            Span(skill["ci_low"], skill["ci_high"]),
            "",
        ),
        (f"partial r of {predictors} and rating", Number(found["partial_r"]), "", ""),
    )
    caption = (
        "Alone: bootstrap interval, conditional on the fitted models, and permutation p, ratings "
        "swapped among all with the same visits, whatever their site. Gain: participants and one "
        "repeat drawn at random, where there are two repeats or more and the confounds alone do "
        "not lie below 0; Freedman-Lane p, where there are 40 participants or more for each column "
        "of confounds."
    )
    return Table(key, ("", "r pooled", "interval", "p"), rows, caption)


def subgroups(record: Record) -> Section:
    """Return errors in subgroups."""
    found = record["subgroups"]
    if not found:
        text = "No column of the ratings makes subgroups; the warnings say why."
        return Section("subgroups", "Subgroups", (text,))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (g["variable"], g["level"], _few(g), "not shown", "", "not shown", "")
        if g["n_subjects"] is None
        else (
            g["variable"],
            g["level"],
            int(g["n_subjects"]),
            Number(g["mae"]),
            Span(g["mae_interval"]["low"], g["mae_interval"]["high"]),
            Number(g["bias"]),
            Span(g["bias_interval"]["low"], g["bias_interval"]["high"]),
        )
        for g in found
    )
    head = ("variable", "group", "participants", "MAE", "interval", "bias", "interval")
    text = (
        f"{capitalised(difference_unit(record))}; bias is predicted less observed. Groups below 10 "
        "are not shown; nor is the next smallest where they would follow from the others and the "
        "whole."
    )
    return Section("subgroups", "Subgroups", (text,), tables=(Table("subgroups", head, rows),))


def _few(group: Record) -> str:
    # Results of before hid small groups alone and gave no reason.
    small = group.get("hidden_because", SMALL) == SMALL
    return "fewer than 10" if small else "not shown"


def sensitivity(record: Record) -> Section:
    """Return the result without a site or a participant."""
    scheme = record["cv"]["scheme"]
    folds = "random folds" if sees_ratings(scheme) else f"new folds of the same kind ({scheme})"
    text = (
        f"The whole pipeline again with ridge, {folds}, and without one site or one participant "
        "who moves r most."
    )
    if not record["sensitivity"]:
        none = "No site was named and no participant stands out."
        return Section("sensitivity", "Sensitivity", (text, none))
    rows = tuple(
        (
            f"{e['kind']} {e['excluded']}",
            "not shown" if e["n_subjects"] is None else int(e["n_subjects"]),
            Number(e["r"]),
            Number(e["r_change"]),
            Number(e["mae"]),
        )
        for e in record["sensitivity"]
    )
    head = ("without", "participants left", "r pooled", "change of r", "MAE")
    table = Table("sensitivity", head, rows)
    return Section("sensitivity", "Sensitivity", (text,), tables=(table,))
