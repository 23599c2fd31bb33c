"""Repeated visits against pingouin, and against statsmodels called by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pingouin
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from emoclip_clinical.records import CrossValidation
from emoclip_clinical.regression.longitudinal import (
    analyse_visits,
    one_row_a_visit,
    repeated_correlation,
)
from emoclip_clinical.regression.resampling import correlation_of, subject_counts
from emoclip_clinical.regression.subject_sums import by_repeat, pearson, subject_sums


def visits(seed: int = 0, *, n: int = 30, two: int = 14, three: int = 6) -> CrossValidation:
    rng = np.random.default_rng(seed)
    subject = np.sort(np.concatenate([np.arange(n), np.arange(two), np.arange(three)]))
    session = np.concatenate([np.arange(k) for k in np.bincount(subject)])
    level, change = rng.normal(0, 3, n)[subject], rng.normal(0, 2, len(subject))
    unseen = rng.normal(0, 3, n)[subject]
    observed = np.round(20 + level + unseen + change + rng.normal(size=len(subject)))
    predicted = 20 + 0.5 * level + 0.6 * change + rng.normal(size=(4, len(subject)))
    names = [("ses-2", "ses-10", "ses-11")[k] for k in session]
    return CrossValidation(
        target="t",
        keys=pd.DataFrame(
            {"participant_id": [f"sub-{s:02d}" for s in subject], "session_id": names}
        ),
        observed=observed,
        predicted=predicted,
        baseline=np.full_like(predicted, 20.0),
        fold=np.tile(subject % 5, (4, 1)),
        weight=1 / np.bincount(subject)[subject],
        chosen=(),
    )


def frame(cv: CrossValidation) -> pd.DataFrame:
    return cv.keys.assign(rating=cv.observed, estimate=cv.predicted.mean(axis=0))


@pytest.mark.parametrize("seed", range(5))
def test_within_subject_correlation_equals_pingouin(seed: int) -> None:
    cv = visits(seed)
    subjects = np.unique(cv.keys["participant_id"], return_inverse=True)[1]
    pair = cv.observed, cv.predicted.mean(axis=0)
    made = repeated_correlation(*pair, subjects, confidence=0.95)
    # Subjects with one visit have no deviation; pingouin would count them as a level only.
    table = frame(cv)
    table = table[table.groupby("participant_id")["rating"].transform("size") > 1]
    wanted = pingouin.rm_corr(table, x="estimate", y="rating", subject="participant_id").iloc[0]
    assert made.r == pytest.approx(wanted["r"], abs=1e-10)
    assert made.degrees_of_freedom == wanted["dof"]
    assert made.p == pytest.approx(wanted["pval"], rel=1e-8)
    interval = pingouin.compute_esci(
        stat=wanted["r"], nx=wanted["dof"] + 2, eftype="pearson", decimals=12
    )
    assert [made.low, made.high] == pytest.approx(list(interval), abs=1e-10)
    shown = analyse_visits(cv, resamples=0, confidence=0.95, seed=0).within
    # The common course over visits is in it, which no p of it can tell apart.
    assert shown == replace(made, p=None, low=None, high=None)


@pytest.mark.parametrize("seed", range(5))
def test_within_subjects_less_visits_equals_least_squares_with_dummies(seed: int) -> None:
    cv = visits(seed)
    made = analyse_visits(cv, resamples=0, confidence=0.95, seed=0).within_adjusted
    table = frame(cv).assign(rating=lambda t: t["rating"] + 7 * (t["session_id"] == "ses-10"))
    table = table[table.groupby("participant_id")["rating"].transform("size") > 1]
    fit = smf.ols("rating ~ estimate + C(participant_id) + C(session_id)", table).fit()
    t, degrees = fit.tvalues["estimate"], int(fit.df_resid)
    assert made.degrees_of_freedom == degrees
    assert made.r == pytest.approx(t / np.sqrt(t**2 + degrees), abs=1e-10)
    assert made.p == pytest.approx(fit.pvalues["estimate"], rel=1e-7)


def test_a_common_course_over_visits_is_no_evidence() -> None:
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        subject, session = np.repeat(np.arange(40), 2), np.tile([0, 1], 40)
        observed = np.round(25 + rng.normal(0, 5, 40)[subject] - 5 * session + rng.normal(size=80))
        predicted = 25 - session + rng.normal(0, 1, (2, 80))
        keys = pd.DataFrame({"participant_id": [f"sub-{s:02d}" for s in subject]})
        cv = replace(
            visits(),
            keys=keys.assign(session_id=[f"ses-{s + 1}" for s in session]),
            observed=observed,
            predicted=predicted,
            baseline=np.full_like(predicted, 22.5),
            fold=np.tile(subject % 5, (2, 1)),
            weight=np.full(80, 0.5),
        )
        made = analyse_visits(cv, resamples=0, confidence=0.95, seed=0)
        assert made.within.r > 0.4
        assert made.within.p is None
        found.append([
            part is not None and part.p is not None and part.p <= 0.05
            for part in (made.within_adjusted, made.mixed_model)
        ])  # fmt: skip
        plain = smf.mixedlm("rating ~ estimate", frame(cv), groups="participant_id").fit()
        assert plain.pvalues["estimate"] < 0.05
    # One-sided, since below zero there is no p: 2.5 % are expected, 5 of 40 have p = 0.002.
    assert (np.sum(found, axis=0) < 5).all()


def test_visits_that_nobody_shares_have_no_effects() -> None:
    cv = visits()
    names = [f"ses-{p}{s}" for p, s in cv.keys.itertuples(index=False)]
    alone = replace(cv, keys=cv.keys.assign(session_id=names))
    made = analyse_visits(alone, resamples=0, confidence=0.95, seed=0)
    assert (made.mixed_model, made.within_adjusted) == (None, None)
    assert made.within is not None
    for part in ("mixed model: too few participants share", "less the means of visits is not"):
        assert any(part in w for w in made.warnings)


def test_degenerate_within_subject_correlation() -> None:
    subjects = np.repeat(np.arange(6), 2)
    steady, moving = np.repeat(np.arange(6.0), 2), np.tile([0.0, 1.0], 6)
    assert repeated_correlation(steady, moving, subjects, confidence=0.95) is None
    assert repeated_correlation(moving, moving, np.arange(12), confidence=0.95) is None
    same = repeated_correlation(moving + steady, moving, subjects, confidence=0.95)
    assert (same.r, same.degrees_of_freedom, same.p) == (pytest.approx(1), 5, 0)


@pytest.mark.parametrize("seed", range(3))
def test_mixed_model_equals_statsmodels_by_hand(seed: int) -> None:
    cv = visits(seed)
    made = analyse_visits(cv, resamples=200, confidence=0.95, seed=0).mixed_model
    formula = "rating ~ estimate + C(session_id, Treatment('ses-10'))"
    fit = smf.mixedlm(formula, frame(cv), groups="participant_id").fit(reml=True)
    assert made.slope == pytest.approx(fit.params["estimate"], abs=1e-10)
    assert made.intercept == pytest.approx(fit.params["Intercept"], abs=1e-8)
    assert made.slope_error == pytest.approx(fit.bse["estimate"], abs=1e-10)
    assert made.p == pytest.approx(fit.pvalues["estimate"], rel=1e-8)
    assert [made.slope_low, made.slope_high] == pytest.approx(list(fit.conf_int().loc["estimate"]))
    assert made.subject_variance == pytest.approx(fit.cov_re.iloc[0, 0])
    assert made.residual_variance == pytest.approx(fit.scale)


def test_between_subjects_each_counts_once() -> None:
    cv = visits()
    made = analyse_visits(cv, resamples=200, confidence=0.95, seed=0)
    found = []
    for repeat in cv.predicted:
        table = cv.keys.assign(rating=cv.observed, estimate=repeat)
        means = table.groupby("participant_id")[["rating", "estimate"]].mean()
        found.append(stats.pearsonr(means["rating"], means["estimate"]).statistic)
    r, n = np.mean(found), len(means)
    assert made.between.r == pytest.approx(r)
    assert made.between.p == pytest.approx(2 * stats.t.sf(r * np.sqrt((n - 2) / (1 - r**2)), n - 2))
    half = stats.norm.ppf(0.975) / np.sqrt(n - 3)
    ends = np.tanh([np.arctanh(r) - half, np.arctanh(r) + half])
    assert (made.between.low, made.between.high) == pytest.approx(tuple(ends))


def test_what_has_learnt_nothing_is_not_called_an_inverse_relation() -> None:
    cv = visits()
    subject = np.unique(cv.keys["participant_id"], return_inverse=True)[1]
    folds = np.stack([np.random.default_rng(k).permutation(30)[subject] % 5 for k in range(20)])
    others = np.empty(folds.shape)
    for repeat, fold in zip(others, folds, strict=True):
        for k in range(5):
            repeat[fold == k] = cv.observed[fold != k].mean()
    others += np.random.default_rng(0).normal(0, 0.01, folds.shape)
    nothing = replace(cv, predicted=others, baseline=others, fold=folds)
    made = analyse_visits(nothing, resamples=0, confidence=0.95, seed=0)
    # By hand, this would be a strong correlation with a p below 1e-6.
    table = frame(nothing).groupby("participant_id")[["rating", "estimate"]].mean()
    by_hand = stats.pearsonr(table["rating"], table["estimate"])
    assert by_hand.statistic < -0.8
    assert by_hand.pvalue < 1e-6
    assert by_hand.statistic < made.between.r < 0
    assert (made.between.p, made.between.low, made.between.high) == (None, None, None)
    assert made.mixed_model is None
    assert sum("no p and no interval" in w for w in made.warnings) == 2


def test_a_warning_names_the_row_that_lies_below_zero() -> None:
    cv = visits()
    late = cv.keys["session_id"].to_numpy() != "ses-2"
    # All rise together; what is left of each change goes the other way.
    made = analyse_visits(
        replace(cv, observed=cv.observed + 50 * late, predicted=50.0 * late - cv.predicted),
        resamples=0,
        confidence=0.95,
        seed=0,
    )
    assert made.within_adjusted.r < 0 < made.within.r
    told = [w for w in made.warnings if w.startswith("within participants")]
    assert len(told) == 1
    assert told[0].startswith("within participants, less the means of visits: below zero")


def test_no_resampled_correlation_lies_beyond_one() -> None:
    rng = np.random.default_rng(0)
    counts = subject_counts(4, resamples=4000, seed=0)
    for _ in range(20):
        x, y = 10 * rng.random((2, 4))
        drawn = correlation_of(x, y)(counts)
        cv = CrossValidation(
            target="t",
            keys=pd.DataFrame({"participant_id": list("abcd"), "session_id": ""}),
            observed=x,
            predicted=y[np.newaxis],
            baseline=np.zeros((1, 4)),
            fold=np.zeros((1, 4), dtype=int),
            weight=np.ones(4),
            chosen=(),
        )
        drawn = np.concatenate([drawn, by_repeat(pearson, subject_sums(cv), counts)[0]])
        # Two of the four subjects are on a line: r is 1 or -1 but for rounding.
        assert (np.abs(drawn[np.isfinite(drawn)]) > 1 - 1e-9).sum() > 100
        assert np.nanmax(np.abs(drawn)) <= 1


def test_a_fit_that_does_not_converge_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = MixedLM.fit

    def unfinished(model: MixedLM, **settings: object) -> object:
        made = fit(model, **settings)
        made.converged = False
        return made

    assert analyse_visits(visits(), resamples=0, confidence=0.95, seed=0).mixed_model is not None
    monkeypatch.setattr(MixedLM, "fit", unfinished)
    made = analyse_visits(visits(), resamples=0, confidence=0.95, seed=0)
    assert made.mixed_model is None
    assert "mixed model: it did not converge" in made.warnings


def test_change_is_from_the_first_to_the_last_visit() -> None:
    cv = visits()
    made = analyse_visits(cv, resamples=500, confidence=0.95, seed=0).change
    table = frame(cv)
    observed, estimated = [], []
    for _, rows in table.groupby("participant_id"):
        if len(rows) > 1:
            first = rows[rows["session_id"] == "ses-2"].iloc[0]
            last = rows[rows["session_id"] == ("ses-11" if len(rows) == 3 else "ses-10")].iloc[0]
            observed.append(last["rating"] - first["rating"])
            estimated.append(last["estimate"] - first["estimate"])
    assert made.n_subjects == 14
    assert made.r == pytest.approx(np.corrcoef(observed, estimated)[0, 1])
    assert made.mae == pytest.approx(np.abs(np.subtract(estimated, observed)).mean())
    assert made.bias == pytest.approx(np.subtract(estimated, observed).mean())
    assert made.r_interval.low < made.r < made.r_interval.high


def renamed(cv: CrossValidation, *names: str) -> CrossValidation:
    named = cv.keys["session_id"].map(dict(zip(("ses-2", "ses-10", "ses-11"), names, strict=True)))
    return replace(cv, keys=cv.keys.assign(session_id=named))


def test_the_first_visit_is_the_baseline() -> None:
    cv = visits()
    plain = analyse_visits(cv, resamples=0, confidence=0.95, seed=0)
    named = renamed(cv, "ses-baseline", "ses-1", "ses-10")
    made = analyse_visits(named, resamples=0, confidence=0.95, seed=0)
    assert made.change == plain.change


@pytest.mark.parametrize(
    "names", [("ses-pre", "ses-post", "ses-later"), ("ses-1", "ses-1b", "ses-2")]
)
def test_without_an_order_of_visits_there_is_no_change(names: tuple[str, ...]) -> None:
    made = analyse_visits(renamed(visits(), *names), resamples=0, confidence=0.95, seed=0)
    assert made.change is None
    assert "no change scores: a change needs" in made.warnings[-1]
    assert made.within is not None


def test_a_second_rater_is_no_second_visit() -> None:
    cv = visits()
    twice = np.repeat(np.arange(len(cv.observed)), 2)
    severity = np.tile([-2.0, 2.0], len(cv.observed))
    raters = replace(
        cv,
        keys=cv.keys.iloc[twice].reset_index(drop=True),
        observed=cv.observed[twice] + severity,
        predicted=cv.predicted[:, twice],
        baseline=cv.baseline[:, twice],
        fold=cv.fold[:, twice],
        weight=cv.weight[twice] / 2,
    )
    back = one_row_a_visit(raters)
    pd.testing.assert_frame_equal(back.keys, cv.keys)
    np.testing.assert_allclose(back.observed, cv.observed)
    np.testing.assert_allclose(back.predicted, cv.predicted)
    np.testing.assert_allclose(back.weight, cv.weight)


def test_single_visits_and_few_repeats() -> None:
    assert analyse_visits(visits(two=0, three=0), resamples=100, confidence=0.95, seed=0) is None
    few = analyse_visits(visits(two=3, three=0), resamples=100, confidence=0.95, seed=0)
    assert few.mixed_model is None
    assert "only 3 subjects have several visits" in few.warnings[0]
    flat = replace(visits(), predicted=np.full((4, 50), 3.0))
    made = analyse_visits(flat, resamples=100, confidence=0.95, seed=0)
    assert (made.mixed_model, made.between, made.within) == (None, None, None)
    assert made.change.r is None
    assert "constant" in made.warnings[0]
