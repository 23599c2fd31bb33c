"""Sections on the result itself: participants, recordings, measures, pictures, features."""

from __future__ import annotations

from emoclip_clinical.regression.flow import KNOWN
from emoclip_clinical.regression.models.catalogue import CATALOGUE
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
)
from emoclip_clinical.study.report.figures import coefficient_picture, pictures
from emoclip_clinical.study.report.folder import Record, ResultFolder
from emoclip_clinical.study.report.sentences import (
    difference_unit,
    percent,
    repetitions,
    site_column,
    unit,
    within_folds,
)

IMPORTANCE_SHOWN = 15
SCHEMES = {
    "repeated_kfold": "repeated grouped k-fold",
    "balanced_kfold": "repeated grouped k-fold balanced on the ratings",
    "leave_one_subject_out": "leave one subject out",
    "rebalanced_leave_one_subject_out": "rebalanced leave one subject out",
    "leave_one_site_out": "leave one site out",
}
_STAGES = {
    "not selected": "not selected",
    "rating": "without a complete rating",
    "no rating": "with features, without a rating",
    "features": "without usable features",
    "no features": "with a rating, without features",
    "confound": "without a confound that is removed",
}
_MEASURES = {
    "seconds": ("length, seconds", 0),
    "n_segments": ("segments", 0),
    "n_ok": ("segments with status ok", 0),
    "face_coverage": ("share of frames with a face", 2),
    "n_faces": ("faces found", 0),
    "tracked_share": ("share of the time the face was followed", 2),
    "FaceRectHeight": ("height of the face, pixels", 0),
    "FaceScore": ("score of the face detector", 2),
    "sharpness": ("sharpness", 0),
    "brightness": ("brightness", 0),
}


def participants(record: Record) -> Section:
    """Return the flow from everybody who is known down to the analysis."""
    is_nested = record["flow"][0]["step"] == KNOWN
    flow = Table(
        "flow",
        ("step", "participants", "visits"),
        tuple((str(r["step"]), int(r["participants"]), int(r["visits"])) for r in record["flow"]),
        "Each step is a part of the one before it"
        + (", less visits that are listed below." if record["losses"] else ".")
        if is_nested  # a result of before counted each side for itself
        else "Features and ratings are counted each for themselves; the analysis needs both.",
    )
    lost = tuple(
        (_STAGES.get(x["stage"], str(x["stage"])), str(x["reason"]), int(x["visits"]))
        for x in record["losses"]
    )
    caption = "Visits that are not in the analysis"
    tables = (flow, Table("not_analysed", ("what", "reason", "visits"), lost, caption))
    observed = record["observed"]
    text = (
        f"Observed ratings: mean {number(observed['mean'], 1)}, SD {number(observed['sd'], 1)}, "
        f"{number(observed['low'], 1)} to {number(observed['high'], 1)} {unit(record)}; each "
        "participant counts once, however many visits."
    )
    return Section("participants", "Participants", (text,), tables=tables if lost else (flow,))


def recordings(record: Record) -> Section:
    """Return what is known of the recordings' quality."""
    found = record["recordings"]
    title = "Data quality"
    if found is None:
        return Section("recordings", title, ("The features came without recording quality.",))
    status = ", ".join(f"{s['interviews']} {s['status']}" for s in found["status"])
    text = f"{found['n']} interviews" + (f": {status}." if status else ".")
    rows: list[tuple[Cell, ...]] = []
    for m in found["measures"]:
        name, digits = _MEASURES.get(m["name"], (m["name"], 2))
        rows.append((name, Number(m["median"], digits), Span(m["low"], m["high"], digits)))
    head = ("of an interview", "median", "lowest to highest")
    return Section("recordings", title, (text,), tables=(Table("recordings", head, tuple(rows)),))


def result(record: Record) -> Section:
    """Return the main table."""
    level = percent(record["settings"]["confidence"])
    rows = (*_correlations(record), *_errors(record))
    tables = (Table("result", ("measure", "value", f"{level} interval", "meaning"), rows),)
    text = (_method(record),)
    return Section("result", "Result", text, tables=tables)


def _correlations(record: Record) -> tuple[tuple[Cell, ...], ...]:
    r, baseline = record["pearson_r"], record["settings"]
    within_sites = " within sites" if site_column(record["cv"]) else ""
    tested = (
        f"of the pooled r; {r['n_permutations']} permutations of {r['n_exchangeable']} "
        f"participants' ratings{within_sites}, the whole pipeline rerun"
        if r["n_permutations"]
        else "not computed; the warnings say why"
    )
    within = within_folds(record)
    fold_interval: Cell = Span(r["ci_low"], r["ci_high"]) if within else "none"
    pooled = Span(r["pooled_ci_low_conditional"], r["pooled_ci_high_conditional"])
    resampled = "" if baseline["bootstrap"] == 0 else " Interval: too narrow, fitted models kept."
    return (
        (
            "Pearson r within folds",
            Number(r["fold_mean"]),
            fold_interval,
            "mean over folds and repeats: what a newly trained model may reach."
            + (" Interval: for other participants and training sets." if within else ""),
        ),
        (
            "Pearson r, pooled",
            Number(r["pooled"]),
            pooled,
            f"over all folds together; lies lower, and is what p tests.{resampled}",
        ),
        ("p, one-sided", Chance(r["p_permutation"]), "", tested),
        (
            "p, adjusted",
            Chance(record["p_adjusted"]),
            "",
            "Benjamini-Hochberg over the targets of the protocol",
        ),
        ("Spearman r", Number(record["spearman_r"]), "", "of ranks, pooled"),
    )


def _errors(record: Record) -> tuple[tuple[Cell, ...], ...]:
    base, limits = record["baseline"], record["limits_of_agreement"]
    line, differences = record["calibration"], record["bland_altman"]
    points = difference_unit(record)
    rows: list[tuple[str, str | None, float | None, str]] = [
        ("MAE", "mae", record["mae"], f"{points}; mean rating: {number(base['mae'])}"),
        ("RMSE", "rmse", record["rmse"], f"{points}; mean rating: {number(base['rmse'])}"),
        ("Skill", "skill", record["skill"],
         "1 less squared error over that of the mean rating; 0 is no better than it"),
        ("CCC", "ccc", record["ccc"], "Lin's concordance correlation"),
        ("ICC(A,1)", "icc_a1", record["icc_a1"], "absolute agreement, single rating"),
        ("Calibration slope", "calibration_slope", line["slope"], "1 is ideal"),
        ("Calibration intercept", "calibration_intercept", line["intercept"],
         f"{points}; 0 is ideal"),
        ("Bias", "bias", differences["bias"], f"predicted less observed, {points}"),
    ]  # fmt: skip
    made: list[tuple[Cell, ...]] = [
        (title, Number(value), _interval(record, key), meaning)
        for title, key, value, meaning in rows
    ]
    for key, title in (("lower_limit", "Lower limit"), ("upper_limit", "Upper limit")):
        part = limits[key]
        made.append(
            (
                f"{title} of agreement",
                Number(part["value"]),
                Span(part["low"], part["high"]),
                f"95 % of differences lie between the limits, {points}",
            )
        )
    if record["kappa"] is not None:
        kappa = Number(record["kappa"])
        made.append(("Quadratic kappa", kappa, "none", "predictions rounded to the item's points"))
    return tuple(made)


def _interval(record: Record, key: str | None) -> Cell:
    found = record["intervals"]
    return "none" if found is None or key is None else Span(found[key]["low"], found[key]["high"])


def _method(record: Record) -> str:
    cv, settings, info = record["cv"], record["settings"], CATALOGUE[record["model"]]
    what = "segment embeddings" if info.needs_segments else f"{settings['n_features']} features"
    names = listed(cv["confounds_removed"])
    removed = f", {names} removed" if names else ""
    return (
        f"{capitalised(info.title)} on {what}{removed}; {SCHEMES[cv['scheme']]}, "
        f"{cv['folds']} folds, {repetitions(cv['repeats'])}; no participant stands on both sides "
        "of a split. Intervals of the errors resample participants and keep the fitted models: "
        "they are narrower than the uncertainty of the method."
    )


def figures(found: ResultFolder) -> Section:
    """Return the pictures."""
    return Section("figures", "Figures", pictures=pictures(found))


def coefficients(record: Record) -> Section | None:
    """Return the largest coefficients; None where the model has none."""
    found = record["coefficients"]
    if not found["n"]:
        return None
    text = (
        f"The {len(found['largest'])} largest of {found['n']}, in {difference_unit(record)} for "
        "one standard deviation of the feature, over all outer training sets. Correlated features "
        "share their weight: a small coefficient does not mean that a feature is unrelated to the "
        "rating."
    )
    rows = tuple(
        (
            str(c["feature"]),
            Number(c["mean"]),
            Span(c["low"], c["high"]),
            Number(100 * c["share_positive"], 0, " %"),
        )
        for c in found["largest"]
    )
    head = ("feature", "mean", "2.5 % to 97.5 %", "above 0")
    return Section(
        "coefficients",
        "Coefficients",
        (text,),
        (coefficient_picture(record),),
        (Table("coefficients", head, rows),),
    )


def importance(record: Record) -> Section | None:
    """Return the importance of groups of features; None where it was not computed."""
    found = record["importance"]
    if not found:
        return None
    rows = tuple(
        (
            str(i["group"]),
            len(i["features"]),
            Number(i["mean"], 3),
            Span(i["low"], i["high"], 3),
            Number(100 * i["share_positive"], 0, " %"),
        )
        for i in found[:IMPORTANCE_SHOWN]
    )
    text = (
        f"The {len(rows)} largest of {len(found)} groups: by how much the squared error of "
        "held-out visits rises when a group's features are shuffled among them, as a share of the "
        "variance of the ratings. Correlated groups share it."
    )
    head = ("features of", "columns", "rise", "2.5 % to 97.5 % of folds", "folds above 0")
    return Section("importance", "Importance", (text,), tables=(Table("importance", head, rows),))
