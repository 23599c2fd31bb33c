"""The first words of a report: the result in one plain sentence, and what it does not mean."""

from __future__ import annotations

from emoclip_clinical.regression import change
from emoclip_clinical.regression.config import SITE
from emoclip_clinical.regression.scales import Scale, scales
from emoclip_clinical.study.report.document import number, p_phrase, span
from emoclip_clinical.study.report.folder import Record

NOTICE = "Research use only. Not a medical device. Not for diagnosis or treatment decisions."


def title_of(record: Record) -> str:
    """Return the target as a clinician knows it, or its own name."""
    scale = _scale(record)
    if scale is None:
        return str(record["target"])
    name = str(record["target"]).partition(".")[2]
    of_sum = next((s.title for s in scale.sums if s.name == name), None)
    if of_sum:
        return f"{scale.title}: {of_sum}"
    if len(record["items"]) == 1:
        item = scale.item(record["items"][0])
        return f"{scale.title}: {item.code} {item.name}"
    return f"{scale.title}: {name}"


def headline_r(record: Record) -> float | None:
    """Return the r that the interval belongs to."""
    r = record["pearson_r"]
    found = r["fold_mean"] if within_folds(record) else r["pooled"]
    return None if found is None else float(found)


def within_folds(record: Record) -> bool:
    """Say whether the interval is of the mean r within folds."""
    return bool(record["pearson_r"]["ci_of"] == "fold_mean")


def site_column(cv: Record) -> str | None:
    """Return the column of sites within which ratings were permuted; None where there is none."""
    return cv["site"] or (SITE if cv["scheme"] == "leave_one_site_out" else None)


def repetitions(count: int) -> str:
    """Say how often folds were drawn.

    >>> repetitions(1), repetitions(10)
    ('1 repetition', '10 repetitions')
    """
    return "1 repetition" if count == 1 else f"{count} repetitions"


def percent(confidence: float) -> str:
    """Show a level."""
    return f"{100 * confidence:g} %"


def result_sentence(record: Record) -> str:
    """Return the result in one sentence."""
    r, target = record["pearson_r"], record["target"]
    who = f"In {record['n_subjects']} participants with {record['n_interviews']} visits"
    if r["pooled"] is None:
        return f"{who}, the predictions of {target} do not vary, so r is not defined."
    where = " within folds" if within_folds(record) else ""
    shown = f"r = {number(headline_r(record))}"
    if r["ci_low"] is not None:
        level = percent(record["settings"]["confidence"])
        shown += f" ({level} interval {span(r['ci_low'], r['ci_high'])})"
    text = (
        f"{who}, estimates for people whom the model had not seen correlate with their ratings of "
        f"{target} at {shown}{where}"
    )
    if where:
        text += f", and at r = {number(r['pooled'])} over all folds together"
    p = r["p_permutation"]
    if p is None:
        return f"{text}; whether that is more than chance was not tested."
    verdict = (
        "more than permuted ratings give by chance"
        if p <= 1 - record["settings"]["confidence"]
        else "no more than permuted ratings may give by chance"
    )
    tested = "; the latter is " if where else ": "
    return f"{text}{tested}{verdict} (permutation {p_phrase(p)})."


def unit(record: Record) -> str:
    """Return the unit of the ratings and their estimates."""
    return str(record["settings"].get("unit") or change.unit_of(str(record["target"])))


def difference_unit(record: Record) -> str:
    """Return the unit of errors and differences."""
    return change.difference_unit(unit(record))


def change_sentence(record: Record) -> str:
    """Return how a change in per cent is counted; empty for other targets."""
    if unit(record) != change.PER_CENT:
        return ""
    return (
        f"{record['target']} is 100 (first - now) / (first - k) per cent: the score of a "
        "participant's first visit less that of this one, over what the first lies above k, the "
        "score of someone without symptoms. Above 0 is an improvement, 100 means that no symptom "
        "is left, below 0 is a worsening."
    )


def limit_sentences(record: Record) -> tuple[str, ...]:
    """Return how far an estimate misses, and what the result does not mean."""
    return (
        f"An estimate misses the rating by {number(record['mae'], 1)} {difference_unit(record)} on "
        "average; "
        f"giving everyone the mean rating misses by {number(record['baseline']['mae'], 1)}.",
        "This describes these participants and recordings only. It does not show that the result "
        "holds elsewhere, that the face is the reason for it, or that a single person's estimate "
        "can be relied on.",
    )


def scale_sentence(record: Record) -> str:
    """Return what is rated, and what of it a face can show; empty for an unknown scale.

    Of a change in per cent, how it is counted.
    """
    scale, settings = _scale(record), record["settings"]
    if scale is None:
        return change_sentence(record)
    items = [scale.item(code) for code in record["items"]]
    visible = [
        f"{i.code} {i.name}" + (" (partly)" if i.face == "partly" else "")
        for i in items
        if i.face != "not_visible"
    ]
    what = f"{scale.title}: {' + '.join(record['items'])}" if len(items) <= 8 else scale.title
    points = f"{number(settings['minimum'], 0)} to {number(settings['maximum'], 0)} points"
    return f"{what}; {points}. A face can show of it: {', '.join(visible) or 'nothing'}."


def scale_source(record: Record) -> str | None:
    """Return the publication of the target's scale, where it is a known one."""
    scale = _scale(record)
    return None if scale is None else scale.source


def _scale(record: Record) -> Scale | None:
    scale = scales().get(str(record["target"]).partition(".")[0])
    if scale is None or not record["items"] or not set(record["items"]) <= set(scale.codes):
        return None
    return scale
