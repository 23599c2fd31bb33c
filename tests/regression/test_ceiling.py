"""Raters and model: planted noise of the raters is corrected for, and by formulas by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import CrossValidation, InputError
from emoclip_clinical.regression.agreement import intraclass_correlations
from emoclip_clinical.regression.ceiling import (
    _made_of,
    _most_in_common,
    _reliability_of,
    human_ceiling,
)
from emoclip_clinical.regression.resampling import subject_counts


def rated(
    seed: int, *, n: int = 80, r: float = 0.6, noise: float = 0.7, averaged: int = 1
) -> tuple[CrossValidation, np.ndarray]:
    """A model that correlates by r with the true score, and two raters who add noise to it."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=n)
    model = r * true + np.sqrt(1 - r * r) * rng.normal(size=n)
    raters = true[:, np.newaxis] + noise * rng.normal(size=(n, 2))
    observed = raters[:, 0] if averaged == 1 else raters.mean(axis=1)
    cv = CrossValidation(
        target="t",
        keys=pd.DataFrame({"participant_id": [f"sub-{i:03d}" for i in range(n)], "session_id": ""}),
        observed=observed,
        predicted=np.stack([model, model + 0.01 * rng.normal(size=n)]),
        baseline=np.zeros((2, n)),
        fold=np.tile(np.arange(n) % 5, (2, 1)),
        weight=np.ones(n),
        chosen=(),
    )
    return cv, raters


def ceiling(cv: CrossValidation, raters: np.ndarray, **changes: object):
    """By default the first rater's ratings are those that the model was judged by."""
    first = np.zeros(raters.shape)
    first[:, 0] = 1
    settings = {"shares": first, "resamples": 500, "confidence": 0.95, "seed": 0} | changes
    return human_ceiling(cv, raters=raters, **settings)


def one_row_a_rater(
    cv: CrossValidation, raters: np.ndarray
) -> tuple[CrossValidation, np.ndarray, np.ndarray]:
    """Return each rater's ratings as rows of their own, the raters of each row, and its shares."""
    twice = np.repeat(np.arange(len(raters)), 2)
    rows = replace(
        cv,
        keys=cv.keys.iloc[twice].reset_index(drop=True),
        observed=raters.ravel(),
        predicted=cv.predicted[:, twice],
        baseline=cv.baseline[:, twice],
        fold=cv.fold[:, twice],
        weight=np.full(len(twice), 0.5),
    )
    return rows, raters[twice], np.tile(np.eye(2), (len(raters), 1))


@pytest.mark.parametrize("averaged", [1, 2])
def test_the_planted_r_is_within_the_corrected_interval(averaged: int) -> None:
    inside, corrected, plain = 0, [], []
    for seed in range(60):
        cv, raters = rated(seed, averaged=averaged)
        shares = np.full(raters.shape, 0.5) if averaged == 2 else np.tile([1.0, 0.0], (80, 1))
        made = ceiling(cv, raters, shares=shares)
        inside += made.corrected_interval.low <= 0.6 <= made.corrected_interval.high
        corrected.append(made.corrected_r)
        plain.append(made.r)
    # 51 or fewer of 60 at a true level of 0.95 have a chance below 0.3 %.
    assert inside >= 52
    assert np.mean(corrected) == pytest.approx(0.6, abs=0.03)
    reliability = 1 / (1 + 0.49 / averaged)
    assert np.mean(plain) == pytest.approx(0.6 * np.sqrt(reliability), abs=0.03)


def test_by_hand() -> None:
    cv, raters = rated(1, averaged=2)
    made = ceiling(cv, raters, shares=np.full(raters.shape, 0.5))
    assert made.ratings_averaged == pytest.approx(2)
    single = intraclass_correlations(raters)[1].value
    reliability = 2 * single / (1 + single)
    r = np.mean([np.corrcoef(cv.observed, p)[0, 1] for p in cv.predicted])
    assert made.reliability == pytest.approx(reliability)
    assert made.corrected_r == pytest.approx(r / np.sqrt(reliability))
    model = [
        intraclass_correlations(np.column_stack([raters[:, k], p]))[0].value
        for p in cv.predicted
        for k in (0, 1)
    ]
    assert made.model_absolute == pytest.approx(np.mean(model))
    assert made.rater_absolute.value == intraclass_correlations(raters)[0].value


def test_resampled_reliability_equals_copied_rows() -> None:
    rng = np.random.default_rng(2)
    subjects = np.sort(np.concatenate([np.arange(12), np.arange(5)]))
    values = rng.normal(size=(12, 1))[subjects] + rng.normal(size=(17, 3))
    weight = 1 / np.bincount(subjects)[subjects]
    counts = subject_counts(12, resamples=20, seed=0)
    single = _made_of(np.tile([0.0, 1.0, 0.0], (17, 1)), weight)
    fast = _reliability_of(counts, values, weight, subjects, single)
    for row, count in zip(fast, counts, strict=True):
        rows = np.repeat(np.arange(17), count[subjects].astype(int))
        slow = intraclass_correlations(values[rows], weight=weight[rows])[1].value
        assert row == pytest.approx(slow, abs=1e-10)


def test_raters_of_unlike_level_who_rate_rows_of_their_own() -> None:
    """A rater who is 1.5 points above the other adds their levels' variance, 0.75², to the rows."""
    inside, corrected, plain, levels = 0, [], [], np.array([0.0, 1.5])
    for seed in range(60):
        cv, raters = rated(seed)
        rows, of_rows, shares = one_row_a_rater(cv, raters + levels)
        made = ceiling(rows, of_rows, shares=shares)
        inside += made.corrected_interval.low <= 0.6 <= made.corrected_interval.high
        corrected.append(made.corrected_r)
        plain.append(made.r)
    assert inside >= 52
    assert np.mean(corrected) == pytest.approx(0.6, abs=0.03)
    assert np.mean(plain) == pytest.approx(0.6 / np.sqrt(1 + 0.49 + 0.75**2), abs=0.03)


def test_raters_as_rows_agree_as_the_same_raters_side_by_side() -> None:
    cv, raters = rated(6)
    rows, of_rows, shares = one_row_a_rater(cv, raters)
    wanted, made = ceiling(cv, raters), ceiling(rows, of_rows, shares=shares)
    for a, b in (
        (made.rater_absolute, wanted.rater_absolute),
        (made.rater_consistency, wanted.rater_consistency),
    ):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
    assert made.model_absolute == pytest.approx(wanted.model_absolute)
    assert (made.n_visits, made.n_subjects) == (80, 80)
    assert made.ratings_averaged == pytest.approx(1)
    r = np.mean([np.corrcoef(raters.ravel(), np.repeat(p, 2))[0, 1] for p in cv.predicted])
    assert made.r == pytest.approx(r)


def test_reliability_is_that_of_rows_drawn_with_the_shares() -> None:
    """A long draw of ratings made of one, two or three raters of unlike level, and their truth."""
    rng = np.random.default_rng(7)
    n, levels = 200_000, np.array([0.0, 1.0, -2.0])
    true = rng.normal(size=n)
    raters = true[:, np.newaxis] + levels + 0.7 * rng.normal(size=(n, 3))
    kinds = np.array([[1, 0, 0], [0, 1 / 2, 1 / 2], [1 / 3, 1 / 3, 1 / 3]])
    shares = kinds[rng.integers(0, 3, n)]
    observed = (shares * raters).sum(axis=1)
    made_of = _made_of(shares, np.ones(n))
    made = _reliability_of(np.ones((1, n)), raters, np.ones(n), np.arange(n), made_of)
    assert made[0] == pytest.approx(np.corrcoef(true, observed)[0, 1] ** 2, abs=0.005)


def test_visits_without_a_rater_are_counted_and_told() -> None:
    cv, raters = rated(3)
    raters[:10, 1] = np.nan
    made = ceiling(cv, raters)
    assert (made.n_visits, made.n_subjects) == (70, 70)
    assert "10 of 80 visits lack a rater" in made.warnings[0]
    raters[5:, 1] = np.nan
    assert ceiling(cv, raters) is None
    assert ceiling(cv, raters[:, :1]) is None


@pytest.mark.parametrize("n_third", [3, 12])
def test_a_rater_of_a_few_visits_takes_none_from_the_others(n_third: int) -> None:
    cv, raters = rated(8, averaged=2)
    two = ceiling(cv, raters, shares=np.full(raters.shape, 0.5))
    third = np.full((80, 1), np.nan)
    third[:n_third] = 0.0
    three = np.hstack([third, raters])
    there = np.isfinite(three)
    shares = there / there.sum(axis=1, keepdims=True)
    made = ceiling(cv, three, shares=shares, names=("ann", "ben", "cy"))
    assert (made.n_subjects, made.n_visits, made.n_raters) == (80, 80, 2)
    assert made.rater_absolute.value == pytest.approx(two.rater_absolute.value)
    assert made.model_absolute == pytest.approx(two.model_absolute)
    assert made.ratings_averaged == pytest.approx(80 / (n_third / 3 + (80 - n_third) / 2))
    # Everyone's mean has the level of the two whose level is known: only the noise differs.
    single = two.rater_consistency.value
    k = made.ratings_averaged
    assert made.reliability == pytest.approx(single / (single + (1 - single) / k), rel=1e-6)
    assert [w for w in made.warnings if "left out" in w] == [
        "human ceiling: rater ann is left out of the agreement of raters, which is of those with "
        "the most subjects in common"
    ]
    unnamed = ceiling(cv, three, shares=shares)
    assert "rater 1 of 3 is left out" in " ".join(unnamed.warnings)


def test_raters_are_those_of_the_best_set_of_all() -> None:
    """Against every set: most subjects, then most visits, most raters, first names."""
    rng = np.random.default_rng(9)
    for _ in range(100):
        there = rng.random((14, 5)) < rng.uniform(0.3, 1, size=5)
        subjects = rng.integers(0, 8, 14)

        def merit(chosen: tuple[int, ...], there=there, subjects=subjects):
            rows = there[:, list(chosen)].all(axis=1)
            names = [-k for k in chosen]
            return len(set(subjects[rows])), rows.sum(), len(chosen), names

        sets = [c for n in range(2, 6) for c in combinations(range(5), n)]
        wanted = max(sets, key=merit)
        assert _most_in_common(there, subjects).tolist() == list(wanted)


def test_raters_who_take_turns_are_compared_in_pairs() -> None:
    cv, raters = rated(10)
    three = np.column_stack([raters, raters.mean(axis=1)])
    three[np.arange(80), np.arange(80) % 3] = np.nan
    shares = np.isfinite(three) / 2
    made = ceiling(cv, three, shares=shares)
    # Rows 0, 3, ... lack the first rater, and so on: 27, 27 and 26 rows of 80.
    assert (made.n_subjects, made.n_raters) == (27, 2)


def test_raters_without_any_agreement_have_no_corrected_r() -> None:
    cv, raters = rated(4)
    raters[:, 1] = -raters[:, 0]
    made = ceiling(cv, raters)
    assert made.corrected_r is None
    assert made.corrected_interval.low is None
    assert "no reliability above 0" in made.warnings[-1]


def test_refusals() -> None:
    cv, raters = rated(5)
    with pytest.raises(InputError, match="80 rows by raters is wanted"):
        ceiling(cv, raters[:70])
    with pytest.raises(InputError, match="2 numbers of 0 or more are wanted for each of 80 rows"):
        ceiling(cv, raters, shares=np.ones((80, 3)))
    with pytest.raises(InputError, match="those of a row must sum to 1, got 2"):
        ceiling(cv, raters, shares=np.ones((80, 2)))
