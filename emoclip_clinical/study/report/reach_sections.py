"""Sections on how far a result reaches: visits, raters, sample size, splits, other studies."""

from __future__ import annotations

from collections.abc import Sequence

from emoclip_clinical.study.report.document import (
    Cell,
    Chance,
    Number,
    Section,
    Span,
    Table,
    number,
    span,
)
from emoclip_clinical.study.report.figures import curve_picture
from emoclip_clinical.study.report.folder import Record
from emoclip_clinical.study.report.sentences import difference_unit


def visits(record: Record) -> Section | None:
    """Return what repeated visits tell; None without them."""
    found = record["repeated_visits"]
    if found is None:
        return None
    rows: list[tuple[Cell, ...]] = []
    for key, title in (
        ("between", "between participants, r"),
        ("within", "within participants, r"),
        ("within_adjusted", "within participants, less the means of visits, r"),
    ):
        part = found[key]
        if part is not None:
            interval = Span(part["low"], part["high"])
            rows.append((title, Number(part["r"]), interval, Chance(part["p"])))
    model, change = found["mixed_model"], found["change"]
    if model is not None:
        interval = Span(model["slope_low"], model["slope_high"])
        row = ("mixed model, slope", Number(model["slope"]), interval, Chance(model["p"]))
        rows.append(row)
    if change is not None:
        ends = change["r_interval"]
        interval = Span(ends["low"], ends["high"])
        rows.append(("change, first to last visit, r", Number(change["r"]), interval, ""))
        rows.append((f"change, MAE in {difference_unit(record)}", Number(change["mae"]), "", ""))
    text = (
        f"{found['n_repeated']} of {found['n_subjects']} participants have several visits. Where "
        "all improve, whatever else changes from visit to visit goes with it: the means of visits "
        "are taken out before a p within participants, and the mixed model has an effect of each "
        "visit beside the prediction and a random intercept. Two-sided p; the interval of change "
        "resamples participants, keeps the fitted models and is too narrow."
    )
    tables = (Table("visits", ("", "value", "interval", "p"), tuple(rows)),) if rows else ()
    return Section("visits", "Repeated visits", (text,), tables=tables)


def ceiling(record: Record) -> Section | None:
    """Return how well raters agree, beside the model; None without two raters."""
    found = record["human_ceiling"]
    if found is None:
        return None
    rows = tuple(
        (
            title,
            Number(found[f"rater_{key}"]["value"]),
            Span(found[f"rater_{key}"]["low"], found[f"rater_{key}"]["high"]),
            Number(found[f"model_{key}"]),
        )
        for key, title in (("absolute", "ICC(A,1)"), ("consistency", "ICC(C,1)"))
    )
    interval = found["corrected_interval"]
    text = (
        f"{found['n_raters']} raters of {found['n_subjects']} participants. A model can not be "
        "asked to agree with a rater more than another rater does.",
        f"Attenuation-corrected r = {number(found['corrected_r'])} (interval "
        f"{span(interval['low'], interval['high'])}): r over the root of the rating's reliability, "
        f"{number(found['reliability'])}. It estimates the correlation with what raters would "
        "agree on and is no performance of the model. The interval resamples participants, keeps "
        "the fitted models and is too narrow.",
    )
    head = ("", "rater and rater", "interval", "model and rater")
    return Section("ceiling", "Human ceiling", text, tables=(Table("ceiling", head, rows),))


def curve(record: Record) -> Section | None:
    """Return the learning curve; None where the participants are too few for one."""
    found = record["learning_curve"]
    if not found["points"]:
        return None
    rows = tuple(
        (
            int(p["n_subjects"]),
            Number(p["r"]),
            Number(p["r_sd"]),
            Number(p["rmse"]),
            Number(p["skill"]),
        )
        for p in found["points"]
    )
    text = f"Ridge on random parts of the participants, in random folds. {_suggestion(record)}"
    head = ("participants", "r pooled", "its spread", "RMSE", "skill")
    tables = (Table("learning_curve", head, rows),)
    return Section("curve", "Learning curve", (text,), (curve_picture(record),), tables)


def _suggestion(record: Record) -> str:
    found = record["learning_curve"]
    suggested = found["suggested_subjects"]
    if suggested is None:
        return "It suggests no sample size; the warnings say why."
    limit = f"within 5 % of its limit, {number(found['limit_rmse'])} {difference_unit(record)}"
    if found.get("suggested_is_upper_bound"):
        return (
            f"It suggests no more than {suggested} participants, the fewest it was measured with: "
            f"with these the RMSE would already lie {limit}."
        )
    return f"It suggests about {suggested} participants: then the RMSE would lie {limit}."


def audit(record: Record) -> Section:
    """Return what was counted in the splits, and what was fitted where."""
    found = record["audit"]
    counted: list[tuple[Cell, ...]] = [
        ("outer splits looked at", int(found["n_outer"])),
        ("participants on both sides of one", int(found["shared_subjects"])),
        ("inner splits looked at", int(found["n_inner"])),
        ("participants on both sides of one (inner)", int(found["shared_subjects_inner"])),
        (
            "every visit held out once in each repeat",
            "yes" if found["rows_predicted_once"] else "no",
        ),
        ("fewest participants in a training set", int(found["smallest_training"])),
        ("most participants in a training set", int(found["largest_training"])),
    ]
    if found["dropped"]:
        counted.append(("left out to balance a training set", int(found["dropped"])))
    fitted = tuple((str(k), str(v)) for k, v in found["fitted"].items())
    return Section(
        "audit",
        "Audit of the splits",
        ("Counted again from the record of the folds.",),
        tables=(
            Table("audit", ("", "count"), tuple(counted)),
            Table("fitted", ("fitted", "to what"), fitted),
        ),
    )


def published(record: Record, settings: Record) -> Section | None:
    """Return published figures beside this result; None where the protocol names none."""
    given: Sequence[Record] = settings.get("published") or ()
    here = (None, record["target"], record["target"].partition(".")[2])
    rows = tuple(_published_row(one, record) for one in given if one["target"] in here)
    if not rows:
        return None
    text = (
        "From other participants, recordings and ways of testing: set beside this result, not "
        "compared with it."
    )
    head = ("measure", "published", "here", "source")
    return Section("published", "Published figures", (text,), tables=(
        Table("published", head, rows),))  # fmt: skip


def _published_row(one: Record, record: Record) -> tuple[Cell, ...]:
    ours = {
        "pearson_r": ("Pearson r, pooled", record["pearson_r"]["pooled"]),
        "mae": ("MAE", record["mae"]),
        "rmse": ("RMSE", record["rmse"]),
        "ccc": ("CCC", record["ccc"]),
    }
    title, here = ours[one["measure"]]
    what = " (the best of several targets)" if one["at_most"] else ""
    return f"{title}{what}", Number(one["value"]), Number(here), str(one["source"])
