"""The further sections of a report: tables made of ``metrics.json`` and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emoclip_clinical.regression.models.catalogue import CATALOGUE

MINUS = "\N{MINUS SIGN}"
IMPORTANCE_SHOWN = 15
Record = Mapping[str, Any]
_BASELINES = {
    "dummy": "mean rating of the training participants",
    "covariates_only": "covariates alone",
    "covariates_and_video": "covariates and video",
    "quality_only": "recording quality alone",
    "quality_and_video": "recording quality and video",
}


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes
    ----------
    head : tuple of str
    rows : tuple of tuple of str
        The first cell of a row is its name.
    n_text : int
        Columns from the left that are words, not numbers.
    caption : str
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_text: int = 1
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes
    ----------
    key : str
        Its id in the page.
    title : str
    text : tuple of str
        Sentences before the tables.
    tables : tuple of Table
    """

    key: str
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...] = ()


def sections(record: Record) -> tuple[Section, ...]:
    """Return the sections that a result has, from the content of its ``metrics.json``.

    Parameters
    ----------
    record : mapping
        With a supplement; see `metrics_record`.
    """
    made = (
        _models(record),
        _confounds(record),
        _quality(record),
        _agreement(record),
        _subgroups(record),
        _sensitivity(record),
        _visits(record),
        _ceiling(record),
        _curve(record),
        _importance(record),
        _audit(record),
    )
    return tuple(section for section in made if section is not None)


def number(value: float | None, digits: int = 2) -> str:
    """Show a number, or say that it is not defined."""
    if value is None:
        return "not defined"
    # Adding 0 turns a rounded -0 into 0.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)


def span(low: float | None, high: float | None, digits: int = 2) -> str:
    """Show an interval, or say that there is none."""
    if low is None or high is None:
        return "none"
    return f"{number(low, digits)} to {number(high, digits)}"


def _models(record: Record) -> Section:
    rows = []
    for model in record["models"]:
        name = str(model["name"])
        title = CATALOGUE[name].title if name in CATALOGUE else _BASELINES[name]  # type: ignore[index]
        rows.append(
            (
                f"{title} (this result)" if model["role"] == "main" else title,
                str(model["n_subjects"]),
                number(model["pearson_fold_mean"]),
                number(model["pearson_pooled"]),
                number(model["mae"]),
                number(model["rmse"]),
                number(model["skill"]),
            )
        )
    head = ("model", "participants", "r within folds", "r pooled", "MAE", "RMSE", "skill")
    beside = [m for m in record["models"] if m["role"] == "compared"]
    tables = [Table(head, tuple(rows))]
    if beside:
        tables.append(_differences(beside))
    return Section(
        "models",
        "Models compared",
        (
            "All on the same folds; the baselines always run. A model that does not beat the mean "
            "rating has found nothing that helps new participants. Only this result's p was "
            "tested: choosing the best row afterwards would be another analysis.",
        ),
        tuple(tables),
    )


def _differences(beside: Sequence[Record]) -> Table:
    rows = tuple(
        (
            CATALOGUE[m["name"]].title,
            number(m["r_less_main"]["value"]),
            span(m["r_less_main"]["ci_low"], m["r_less_main"]["ci_high"]),
            number(m["mae_less_main"]["value"]),
            span(m["mae_less_main"]["ci_low"], m["mae_less_main"]["ci_high"]),
            number(m["p_corrected_t"], 3),
        )
        for m in beside
    )
    head = ("model less this result", "r", "interval", "MAE", "interval", "p")
    caption = (
        "Intervals: participants and one repeat drawn at random. p: two-sided, of the difference "
        "in MAE over folds (Nadeau and Bengio)."
    )
    return Table(head, rows, caption=caption)


def _confounds(record: Record) -> Section | None:
    found = record["confounds"]
    if found is None:
        return None
    names = ", ".join(found["names"])
    return Section(
        "confounds",
        "Confounds",
        (
            f"What {names} predict alone, and what the video adds to them (ridge, the confounds "
            "without a penalty). The ratings are raw in every row.",
        ),
        (_against(found),),
    )


def _quality(record: Record) -> Section:
    found = record["quality_alone"]
    title = "Does recording quality alone predict it?"
    if found is None:
        return Section("quality-alone", title, ("Not known; the warnings say why.",))
    alone = found["alone"]
    p = alone["p_permutation"]
    verdict = (
        "was not tested"
        if p is None
        else "is more than permuted ratings give by chance: quality goes with the ratings"
        if p <= 0.05
        else "is no more than permuted ratings may give by chance"
    )
    text = (
        f"{', '.join(found['names'])} alone reach r = {number(alone['pearson_pooled'])}, which "
        f"{verdict}" + ("." if p is None else f" (p = {number(p, 3)}).")
    )
    return Section("quality-alone", title, (text,), (_against(found),))


def _against(found: Record) -> Table:
    alone, gain = found["alone"], found["gain_r"]
    rows = (
        (
            "alone",
            number(alone["pearson_pooled"]),
            span(alone["ci_low"], alone["ci_high"]),
            number(alone["p_permutation"], 3),
        ),
        ("video alone", number(found["video_pearson_pooled"]), "", ""),
        ("together", number(found["combined_pearson_pooled"]), "", ""),
        ("video, these removed in the fold", number(found["residualised_pearson_pooled"]), "", ""),
        (
            "gain from video",
            number(gain["value"]),
            span(gain["ci_low"], gain["ci_high"]),
            number(found["p_gain_freedman_lane"], 3),
        ),
        ("partial r of video and rating", number(found["partial_r"]), "", ""),
    )
    caption = (
        "Alone: bootstrap interval, conditional on the fitted models, and permutation p. Gain: "
        "participants and one repeat drawn at random; Freedman-Lane p."
    )
    return Table(("", "r pooled", "interval", "p"), rows, caption=caption)


def _agreement(record: Record) -> Section | None:
    intervals = record["intervals"]
    if intervals is None:
        return None
    names = (
        ("ccc", "CCC", record["ccc"]),
        ("icc_a1", "ICC(A,1)", record["icc_a1"]),
        ("mae", "MAE", record["mae"]),
        ("rmse", "RMSE", record["rmse"]),
        ("skill", "Skill", record["skill"]),
        ("bias", "Bias", record["bland_altman"]["bias"]),
        ("calibration_slope", "Calibration slope", record["calibration"]["slope"]),
        ("calibration_intercept", "Calibration intercept", record["calibration"]["intercept"]),
    )
    rows = [
        (title, number(value), span(intervals[key]["low"], intervals[key]["high"]))
        for key, title, value in names
    ]
    limits = record["limits_of_agreement"]
    for key, title in (("lower_limit", "Lower limit"), ("upper_limit", "Upper limit")):
        part = limits[key]
        rows.append(
            (f"{title} of agreement", number(part["value"]), span(part["low"], part["high"]))
        )
    if record["kappa"] is not None:
        rows.append(("Quadratic kappa, rounded predictions", number(record["kappa"]), "none"))
    return Section(
        "agreement",
        "Agreement, with intervals",
        (
            "Intervals resample participants and keep the fitted models, so that they are narrower "
            "than the uncertainty of the method; those of the limits follow Bland and Altman.",
        ),
        (Table(("measure", "value", "interval"), tuple(rows)),),
    )


def _subgroups(record: Record) -> Section | None:
    if not record["subgroups"]:
        return None
    rows = tuple(
        (g["variable"], g["level"], "fewer than 10", "not shown", "", "not shown", "")
        if g["n_subjects"] is None
        else (
            g["variable"],
            g["level"],
            str(g["n_subjects"]),
            number(g["mae"]),
            span(g["mae_interval"]["low"], g["mae_interval"]["high"]),
            number(g["bias"]),
            span(g["bias_interval"]["low"], g["bias_interval"]["high"]),
        )
        for g in record["subgroups"]
    )
    head = ("variable", "group", "participants", "MAE", "interval", "bias", "interval")
    text = "Scale points; bias is predicted less observed. Groups below 10 are not shown."
    return Section("subgroups", "Subgroups", (text,), (Table(head, rows, n_text=2),))


def _sensitivity(record: Record) -> Section:
    text = (
        "The whole pipeline again with ridge, new folds, and without one site or one participant "
        "who moves r most."
    )
    if not record["sensitivity"]:
        none = "No site was named and no participant stands out."
        return Section("sensitivity", "Sensitivity", (text, none))
    rows = tuple(
        (
            f"{e['kind']} {e['excluded']}",
            str(e["n_subjects"]),
            number(e["r"]),
            number(e["r_change"]),
            number(e["mae"]),
        )
        for e in record["sensitivity"]
    )
    head = ("without", "participants left", "r pooled", "change of r", "MAE")
    return Section("sensitivity", "Sensitivity", (text,), (Table(head, rows),))


def _visits(record: Record) -> Section | None:
    found = record["repeated_visits"]
    if found is None:
        return None
    rows: list[tuple[str, ...]] = []
    for key, title in (
        ("between", "between participants, r"),
        ("within", "within participants, r"),
    ):
        part = found[key]
        if part is not None:
            row = (title, number(part["r"]), span(part["low"], part["high"]), number(part["p"], 3))
            rows.append(row)
    model, change = found["mixed_model"], found["change"]
    if model is not None:
        ends = span(model["slope_low"], model["slope_high"])
        rows.append(("mixed model, slope", number(model["slope"]), ends, number(model["p"], 3)))
    if change is not None:
        interval = change["r_interval"]
        ends = span(interval["low"], interval["high"])
        rows.append(("change, first to last visit, r", number(change["r"]), ends, ""))
        rows.append(("change, MAE in scale points", number(change["mae"]), "", ""))
    text = (
        f"{found['n_repeated']} of {found['n_subjects']} participants have several visits. Mixed "
        "model: rating on prediction with a random intercept; two-sided p."
    )
    tables = (Table(("", "value", "interval", "p"), tuple(rows)),) if rows else ()
    return Section("visits", "Repeated visits", (text,), tables)


def _ceiling(record: Record) -> Section | None:
    found = record["human_ceiling"]
    if found is None:
        return None
    rows = tuple(
        (title, number(found[f"rater_{key}"]["value"]),
         span(found[f"rater_{key}"]["low"], found[f"rater_{key}"]["high"]),
         number(found[f"model_{key}"]))
        for key, title in (("absolute", "ICC(A,1)"), ("consistency", "ICC(C,1)"))
    )  # fmt: skip
    interval = found["corrected_interval"]
    text = (
        f"{found['n_raters']} raters of {found['n_subjects']} participants. A model can not be "
        "asked to agree with a rater more than another rater does.",
        f"Attenuation-corrected r = {number(found['corrected_r'])} (interval "
        f"{span(interval['low'], interval['high'])}): r over the root of the rating's reliability, "
        f"{number(found['reliability'])}. It estimates the correlation with what raters would "
        "agree on and is no performance of the model.",
    )
    head = ("", "rater and rater", "interval", "model and rater")
    return Section("ceiling", "Human ceiling", text, (Table(head, rows),))


def _curve(record: Record) -> Section | None:
    found = record["learning_curve"]
    if not found["points"]:
        return None
    rows = tuple(
        (
            str(p["n_subjects"]),
            number(p["r"]),
            number(p["r_sd"]),
            number(p["mse"] ** 0.5),
            number(p["skill"]),
        )
        for p in found["points"]
    )
    suggested = found["suggested_subjects"]
    more = (
        "It suggests no sample size; the warnings say why."
        if suggested is None
        else f"It suggests about {suggested} participants: then the RMSE would lie within 5 % of "
        f"its limit, {number(found['limit_rmse'])} scale points."
    )
    text = f"Ridge on random parts of the participants. {more}"
    head = ("participants", "r pooled", "its spread", "RMSE", "skill")
    return Section("curve", "Learning curve", (text,), (Table(head, rows),))


def _importance(record: Record) -> Section | None:
    if not record["importance"]:
        return None
    rows = tuple(
        (
            i["group"],
            str(len(i["features"])),
            number(i["mean"], 3),
            span(i["low"], i["high"], 3),
            f"{100 * i['share_positive']:.0f} %",
        )
        for i in record["importance"][:IMPORTANCE_SHOWN]
    )
    text = (
        f"The {len(rows)} largest of {len(record['importance'])} groups: by how much the squared "
        "error of held-out visits rises when a group's features are shuffled among them, as a "
        "share of the variance of the ratings, over all folds. Correlated groups share it."
    )
    head = ("features of", "columns", "rise", "2.5 % to 97.5 % of folds", "folds above 0")
    return Section("importance", "Importance", (text,), (Table(head, rows),))


def _audit(record: Record) -> Section:
    found = record["audit"]
    counted = (
        ("outer splits looked at", str(found["n_outer"])),
        ("participants on both sides of one", str(found["shared_subjects"])),
        ("inner splits looked at", str(found["n_inner"])),
        ("participants on both sides of one (inner)", str(found["shared_subjects_inner"])),
        (
            "every visit held out once in each repeat",
            "yes" if found["rows_predicted_once"] else "no",
        ),
        (
            "participants in a training set",
            f"{found['smallest_training']} to {found['largest_training']}",
        ),
        *(
            (("left out to balance a training set", str(found["dropped"])),)
            if found["dropped"]
            else ()
        ),
    )
    return Section(
        "audit",
        "Audit of the splits",
        ("Counted again from the record of the folds.",),
        (
            Table(("", "count"), counted),
            Table(("fitted", "to what"), tuple(found["fitted"].items()), n_text=2),
        ),
    )
