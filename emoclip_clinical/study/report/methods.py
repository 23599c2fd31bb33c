"""The methods of a result as text for a paper, made of its settings; with references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emoclip_clinical.regression.models.catalogue import CATALOGUE
from emoclip_clinical.regression.preparation import LEAVE_ONE_OUT
from emoclip_clinical.study.report.document import Section, capitalised, listed, number
from emoclip_clinical.study.report.features_text import features_text
from emoclip_clinical.study.report.folder import Record, ResultFolder
from emoclip_clinical.study.report.result_sections import SCHEMES
from emoclip_clinical.study.report.sentences import (
    change_sentence,
    percent,
    repetitions,
    scale_source,
    site_column,
    within_folds,
)

EMOCLIP = (
    "Foteinopoulou NM, Patras I (2024). EmoCLIP: a vision-language method for zero-shot video "
    "facial expression recognition. IEEE FG 2024; arXiv:2310.16640."
)
NADEAU = (
    "Nadeau C, Bengio Y (2003). Inference for the generalization error. Machine Learning 52, "
    "239-281."
)
BOOTSTRAP = (
    "Efron B (1987). Better bootstrap confidence intervals. Journal of the American Statistical "
    "Association 82, 171-185."
)
PERMUTATION = (
    "Ojala M, Garriga GC (2010). Permutation tests for studying classifier performance. Journal "
    "of Machine Learning Research 11, 1833-1863."
)
FAMILY = (
    "Benjamini Y, Hochberg Y (1995). Controlling the false discovery rate. Journal of the Royal "
    "Statistical Society B 57, 289-300."
)
CONCORDANCE = (
    "Lin LI (1989). A concordance correlation coefficient to evaluate reproducibility. Biometrics "
    "45, 255-268."
)
ICC = (
    "McGraw KO, Wong SP (1996). Forming inferences about some intraclass correlation "
    "coefficients. Psychological Methods 1, 30-46."
)
LIMITS = (
    "Bland JM, Altman DG (1999). Measuring agreement in method comparison studies. Statistical "
    "Methods in Medical Research 8, 135-160."
)
FREEDMAN = (
    "Freedman D, Lane D (1983). A nonstochastic interpretation of reported significance levels. "
    "Journal of Business & Economic Statistics 1, 292-298."
)
REPEATED = (
    "Bakdash JZ, Marusich LR (2017). Repeated measures correlation. Frontiers in Psychology 8, 456."
)
TRIPOD = "Collins GS, Moons KGM, Dhiman P, et al. (2024). TRIPOD+AI statement. BMJ 385, e078378."
_PACKAGES = ("emoclip-clinical", "scikit-learn", "scipy", "numpy", "torch", "open_clip_torch")


def methods(result: ResultFolder) -> Section:
    """Return paragraphs that can be pasted into a paper, and the references they need."""
    record, provenance = result.metrics, result.provenance
    protocol = provenance["protocol"] if isinstance(provenance["protocol"], Mapping) else {}
    parts = (
        features_text(result),
        _ratings(record, protocol.get("regression", {})),
        _model(record),
        _performance(record),
        _around(record, result.predictors),
        _software(provenance),
    )
    return Section(
        "methods",
        "Methods text",
        parts,
        points=_references(record, from_extract=result.is_from_extract),
        to_paste=True,
    )


def _ratings(record: Record, settings: Mapping[str, Any]) -> str:
    items = " + ".join(record["items"])
    rules = {
        "mean": " Several raters of a visit were averaged.",
        "first": " Of several raters of a visit the first was taken.",
        "repeated": " Several raters of a visit were kept as repeated measures.",
    }
    several = rules.get(str(settings.get("raters")), "") if _has_raters(record) else ""
    missing = {
        "complete": " Scores with a missing item were left out.",
        "prorate": " Scores with few missing items were prorated from their other items.",
    }.get(str(settings.get("missing_items")), "")
    low, high = record["settings"]["minimum"], record["settings"]["maximum"]
    span = "" if low is None or high is None else f", {low:g} to {high:g} points"
    return (
        f"The outcome was {record['target']} ({items}{span}).{_change(record)}{several}"
        f"{missing} The analysis holds {record['n_interviews']} visits of {record['n_subjects']} "
        f"participants; {record['n_excluded']} further visits were left out. Each participant "
        "counted once in fitting, tuning and every measure, however many visits."
    )


def _change(record: Record) -> str:
    sentence = change_sentence(record)
    return f" {sentence}" if sentence else ""


def _has_raters(record: Record) -> bool:
    """Say whether visits had several raters; results of before tell it by their ceiling alone."""
    return bool(record["settings"].get("several_raters", record["human_ceiling"] is not None))


def _model(record: Record) -> str:
    cv, info = record["cv"], CATALOGUE[record["model"]]
    what = "segment embeddings" if info.needs_segments else "standardised features"
    names = listed(cv["confounds_removed"])
    removed = f" {names} were regressed out of the features in each training fold." if names else ""
    others = record["settings"].get("learnt_with") if info.needs_segments else None
    joint = (
        f" One network learnt {listed(others)} with it, an output each; whole sets of ratings were "
        "permuted together."
        if others
        else ""
    )
    return (
        f"Ratings were estimated by {info.title} on {what} ({info.description}) in "
        f"{SCHEMES[cv['scheme']]} cross-validation ({_folds(cv)}), participants never on both "
        "sides of a split. Hyper-parameters were chosen in "
        f"{record['settings']['inner_folds']} inner folds of the training participants; "
        f"everything that learns from data was fitted inside the training folds.{removed}{joint}"
    )


def _folds(cv: Record) -> str:
    """Return the outer folds: how many, how often, and what sites have to do with them."""
    if cv["scheme"] == "leave_one_site_out":
        return f"{cv['folds']} folds, one for each value of the column {site_column(cv)}"
    if cv["scheme"] in LEAVE_ONE_OUT:
        return f"{cv['folds']} folds, one for each participant"
    # Folds that follow the ratings are not spread over sites, whether or not these are named.
    is_spread = cv["site"] and cv["scheme"] == "repeated_kfold"
    sites = f", each value of the column {cv['site']} spread over the folds" if is_spread else ""
    return f"{cv['folds']} folds, {repetitions(cv['repeats'])}{sites}"


def _performance(record: Record) -> str:
    r, settings = record["pearson_r"], record["settings"]
    level = percent(settings["confidence"])
    interval = (
        f"The {level} interval of the mean correlation within folds is the corrected t of Nadeau "
        "and Bengio over Fisher's z."
        if within_folds(record)
        else f"The {level} interval of the pooled correlation is a bootstrap over participants "
        "that keeps the fitted models, and is too narrow."
    )
    site = site_column(record["cv"])
    within = f" and the same value of the column {site}" if site else ""
    test = (
        f" Significance is one-sided from {r['n_permutations']} permutations of whole rating "
        f"vectors among participants with the same visits{within}, the whole pipeline with its "
        "tuning "
        f"rerun each time ({r['n_exchangeable']} participants could be permuted); p values were "
        "adjusted over the targets of the protocol (Benjamini and Hochberg)."
        if r["n_permutations"]
        else ""
    )
    return (
        "Agreement of ratings and out-of-fold predictions was measured by Pearson's r (within "
        "folds and pooled), Spearman's r, mean absolute error and root mean squared error beside "
        "those of the training mean, skill, Lin's concordance correlation, ICC(A,1), calibration "
        f"slope and intercept, and Bland-Altman limits. {interval}{test}"
    )


def _around(record: Record, predictors: str) -> str:
    beside = [CATALOGUE[m["name"]].title for m in record["models"] if m["role"] == "compared"]
    parts = []
    if beside:
        parts.append(f"{listed(beside)} ran beside it on the same folds")
    if record["confounds"] is not None:
        names = listed(record["confounds"]["names"])
        test = "" if record["confounds"]["p_gain_freedman_lane"] is None else " (Freedman-Lane p)"
        parts.append(f"{names} were compared with the {predictors} alone and together{test}")
    if record["quality_alone"] is not None:
        parts.append("so was recording quality")
    if record["repeated_visits"] is not None:
        parts.append("repeated visits were split into between and within participants")
    if record["human_ceiling"] is not None:
        parts.append("agreement between raters is given as the human ceiling")
    if record["subgroups"]:
        parts.append("errors are given by subgroup of ten participants or more")
    text = "; ".join(parts)
    if not text:
        return f"No covariate was compared with the {predictors}."
    return f"{capitalised(text)}."


def _software(provenance: Record) -> str:
    packages = provenance["packages"]
    named = [f"{name} {packages[name]}" for name in _PACKAGES if packages.get(name)]
    seed = provenance.get("seed")
    return f"Software: {', '.join(named)}, Python {provenance.get('python')}; seed {seed}."


def _references(record: Record, *, from_extract: bool) -> tuple[str, ...]:
    source = scale_source(record)
    wanted = (
        (EMOCLIP, from_extract),
        (source or "", source is not None),
        (NADEAU, within_folds(record)),
        (BOOTSTRAP, record["settings"]["bootstrap"] > 0),
        (PERMUTATION, record["pearson_r"]["n_permutations"] > 0),
        (FAMILY, record["pearson_r"]["n_permutations"] > 0),
        (CONCORDANCE, True),
        (ICC, True),
        (LIMITS, True),
        (FREEDMAN, record["confounds"] is not None or record["quality_alone"] is not None),
        (REPEATED, record["repeated_visits"] is not None),
        (TRIPOD, True),
    )
    return tuple(text for text, is_used in wanted if is_used)


def sample_words(record: Record) -> str:
    """Return the size of the sample, what the learning curve hints at, and Riley's number."""
    found, riley = record["learning_curve"], record.get("sample_size")
    suggested = found["suggested_subjects"]
    about = "no more than" if found.get("suggested_is_upper_bound") else "about"
    curve = (
        "the learning curve suggests no number"
        if suggested is None
        else f"the learning curve suggests {about} {number(suggested, 0)}, a rough extrapolation "
        "that settles no sample size"
    )
    size = f"{record['n_subjects']} participants; {curve}"
    if "sample_size" not in record:  # a result of before
        return size
    if riley is None:
        return (
            f"{size}; Riley's criteria have no number here (they need an R² above 0 and three "
            "features of a visit or more)"
        )
    return (
        f"{size}; Riley's criteria ask for {riley['riley_subjects']} to develop a model of "
        f"{riley['features']} features at the R² found here, {number(riley['r_squared'])}"
    )
