"""TRIPOD+AI and PROBAST+AI: what a run can answer, and what is left to the author.

Collins et al. 2024, BMJ 385, e078378; Moons et al. 2025, BMJ 388, e082505. The items are
paraphrased; the published checklists hold.
"""

from __future__ import annotations

from emoclip_clinical.regression.audit import CHOSEN_BY_NAME, CHOSEN_ELSEWHERE
from emoclip_clinical.study.report.document import (
    Cell,
    Links,
    Section,
    Table,
    capitalised,
    number,
)
from emoclip_clinical.study.report.folder import Record, ResultFolder
from emoclip_clinical.study.report.methods import sample_words
from emoclip_clinical.study.report.sentences import repetitions, unit

FOR_THE_AUTHOR = "for the author"
Row = tuple[str, str, str, tuple[str, ...]]


def tripod(result: ResultFolder, titles: dict[str, str]) -> Section:
    """Return the 27 items, each with an answer and the sections that show it.

    Parameters
    ----------
    result : ResultFolder
    titles : dict of str to str
        Title of every section of the page by its key; links to others are left out.
    """
    rows = (*_front(), *_data(result), *_analysis(result), *_openness(result), *_results(result))
    made: tuple[tuple[Cell, ...], ...] = tuple(
        (item, topic, answer, Links(tuple((titles[k], k) for k in keys if k in titles)))
        for item, topic, answer, keys in rows
    )
    text = (
        "The reporting guideline for prediction models (TRIPOD+AI, 2024), in our own words; the "
        "published checklist holds. What a run can not know is left to the author."
    )
    head = ("item", "what is to be reported", "this run", "where")
    return Section("tripod", "TRIPOD+AI", (text,), tables=(Table("tripod", head, made),))


def _front() -> tuple[Row, ...]:
    return (
        ("1", "Title: a prediction model, the people, the outcome", FOR_THE_AUTHOR, ()),
        ("2", "Abstract with the items of TRIPOD+AI for abstracts", FOR_THE_AUTHOR, ()),
        ("3", "Background: need, intended use and users, known inequalities", FOR_THE_AUTHOR, ()),
        (
            "4",
            "Objectives: development, evaluation or both",
            "development with internal evaluation by cross-validation; nothing external",
            ("methods",),
        ),
    )


def _data(result: ResultFolder) -> tuple[Row, ...]:
    record, regression = result.metrics, _regression(result)
    raters = record["human_ceiling"]
    rated = (
        f"{record['target']}; {raters['n_raters']} raters"
        if raters
        else f"{record['target']}; who rated, and whether blind to the {result.predictors}: "
        f"{FOR_THE_AUTHOR}"
    )
    unknown = _unknown_choice(result)
    selected = "selected by the protocol's `where`; " if regression.get("where") else ""
    imputed = {
        "none": "visits with a missing feature left out",
        "median": "missing features filled in inside the folds",
    }.get(str(regression.get("impute")), "see the settings")
    return (
        (
            "5",
            "Data: source and design of the study, dates",
            f"analysed {str(result.provenance['started'])[:10]}; the rest {FOR_THE_AUTHOR}",
            ("provenance",),
        ),
        (
            "6",
            "Participants: setting, eligibility, treatments",
            f"{selected}setting, criteria and treatments: {FOR_THE_AUTHOR}",
            ("participants",),
        ),
        (
            "7",
            "Data preparation and quality checks, alike in all groups",
            "the same steps for every visit; quality by interview"
            if result.is_from_extract
            else CHOSEN_ELSEWHERE,
            ("recordings", "methods"),
        ),
        ("8", "Outcome: definition, assessors, blinding", rated, ("methods", "ceiling")),
        (
            "9",
            "Predictors: choice, definition, when and how measured",
            f"{record['settings']['n_features']} features; how they were chosen is {unknown}"
            if unknown
            else f"{record['settings']['n_features']} features, fixed before any rating was read",
            ("methods", "audit"),
        ),
        (
            "10",
            "Sample size and how it was arrived at",
            f"{sample_words(record)}; the plan: {FOR_THE_AUTHOR}",
            ("curve", "participants"),
        ),
        (
            "11",
            "Missing data",
            f"{imputed}; {record['n_excluded']} visits not analysed",
            ("participants", "methods"),
        ),
    )


def _analysis(result: ResultFolder) -> tuple[Row, ...]:
    record = result.metrics
    cv = record["cv"]
    grouped = len({g["variable"] for g in record["subgroups"]})
    return (
        (
            "12",
            "Analysis: splits, model, tuning, measures of performance, heterogeneity",
            f"{cv['folds']} folds by participant, {repetitions(cv['repeats'])}, nested tuning",
            ("methods", "audit", "sensitivity"),
        ),
        ("13", "Class imbalance", "none: the outcome is a score", ("result",)),
        (
            "14",
            "Fairness: approaches and reasons",
            f"errors by {grouped} variables; reasons: {FOR_THE_AUTHOR}"
            if grouped
            else f"no column that makes groups; {FOR_THE_AUTHOR}",
            ("subgroups",),
        ),
        ("15", "Output of the model", f"an estimate in {unit(record)}, no class", ("result",)),
        (
            "16",
            "Differences between training and evaluation data",
            "the same participants, held out in turn",
            ("audit",),
        ),
    )


def _openness(result: ResultFolder) -> tuple[Row, ...]:
    standing = result.provenance.get("standing")
    kind = standing.get("kind") if isinstance(standing, dict) else None
    plan = f"standing of the analysis: {kind}" if kind else "no lock is recorded"
    return (
        ("17", "Ethical approval and consent", FOR_THE_AUTHOR, ()),
        (
            "18",
            "Funding, interests, protocol, registration, data, code",
            f"{plan}; code and settings by version and hash; the rest {FOR_THE_AUTHOR}",
            ("standing", "provenance"),
        ),
        ("19", "Involvement of patients and the public", FOR_THE_AUTHOR, ()),
    )


def _results(result: ResultFolder) -> tuple[Row, ...]:
    record = result.metrics
    return (
        (
            "20",
            "Participants: flow, characteristics, differences from training data",
            f"{record['n_subjects']} participants, {record['n_interviews']} visits; "
            f"characteristics: {FOR_THE_AUTHOR}",
            ("participants", "subgroups"),
        ),
        (
            "21",
            "Participants and outcomes in each analysis",
            "by model, subgroup and exclusion",
            ("models", "subgroups", "sensitivity"),
        ),
        (
            "22",
            "The whole model, so that others can use it",
            "coefficients; the fitted estimator lies beside this report where it could be saved",
            ("coefficients", "importance"),
        ),
        (
            "23",
            "Performance with intervals, in groups, and its spread",
            "measures with intervals",
            ("result", "figures", "subgroups", "sensitivity"),
        ),
        ("24", "Results of updating a model", "none was updated", ()),
        (
            "25",
            "Interpretation, fairness included, beside other studies",
            FOR_THE_AUTHOR,
            ("published", "ceiling"),
        ),
        ("26", "Limitations", f"warnings of the run; the rest {FOR_THE_AUTHOR}", ("warnings",)),
        (
            "27",
            "Use in care: input of poor quality, skills needed, next steps",
            f"research use only; the rest {FOR_THE_AUTHOR}",
            ("recordings",),
        ),
    )


def probast(result: ResultFolder, titles: dict[str, str]) -> Section:
    """Return hints for judging the risk of bias; the judgement is the reader's."""
    record = result.metrics
    shared = record["audit"]["shared_subjects"] + record["audit"]["shared_subjects_inner"]
    slope = record["calibration"]["slope"]
    known = record["n_interviews"] + record["n_excluded"]
    rows: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        (
            "participants and data",
            f"{record['n_excluded']} of {known} selected visits are not analysed. Do those who are "
            "missing differ?",
            ("participants",),
        ),
        (
            "predictors",
            f"{_predictors(result)} Does recording quality go with them?",
            ("quality-alone", "recordings"),
        ),
        ("outcome", _outcome(result), ("ceiling",)),
        (
            "analysis: leaks",
            f"{shared} participants on both sides of a split. {_leaks(result, shared)}",
            ("audit",),
        ),
        ("analysis: size", f"{capitalised(sample_words(record))}.", ("curve", "figures")),
        (
            "analysis: calibration",
            f"Slope {number(slope)}; below 1 means that estimates are too extreme.",
            ("figures", "result"),
        ),
        (
            "applicability",
            "Nobody outside these sites was seen: expect less elsewhere until it is shown.",
            ("sensitivity", "subgroups"),
        ),
    )
    made = tuple(
        (domain, hint, Links(tuple((titles[k], k) for k in keys if k in titles)))
        for domain, hint, keys in rows
    )
    text = "Questions for judging risk of bias and applicability; the judgement is the reader's."
    table = Table("probast", ("domain", "hint", "where"), made)
    return Section("probast", "PROBAST+AI hints", (text,), tables=(table,))


def _outcome(result: ResultFolder) -> str:
    if not result.is_from_extract:
        return "Did raters know the features when they rated?"
    return "Did raters know the video features, or only the interview?"


def _predictors(result: ResultFolder) -> str:
    if not result.is_from_extract:
        return f"How they were made and chosen is {CHOSEN_ELSEWHERE}."
    unknown = _unknown_choice(result)
    chosen = "" if unknown is None else f" How they were chosen is {unknown}."
    return f"Made without the ratings, alike for all visits.{chosen}"


def _leaks(result: ResultFolder, shared: int) -> str:
    if shared:
        return "Something is broken."
    if _unknown_choice(result) is None:
        return "No sign of a leak."
    return "None in the splits; how the columns were chosen is not known."


def _unknown_choice(result: ResultFolder) -> str | None:
    """Say why it is not known how the feature columns were chosen; None where it is."""
    if not result.is_from_extract:
        return CHOSEN_ELSEWHERE
    return CHOSEN_BY_NAME if _regression(result).get("feature_columns") else None


def _regression(result: ResultFolder) -> Record:
    protocol = result.provenance["protocol"]
    found = protocol.get("regression") if isinstance(protocol, dict) else None
    return found if isinstance(found, dict) else {}
