"""ICC against pingouin, kappa against scikit-learn, limits of agreement by hand and by drawing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from emoclip_clinical.records import CrossValidation, InputError
from emoclip_clinical.regression import agreement, intervals, metrics
from emoclip_clinical.regression.resampling import subject_counts
from emoclip_clinical.regression.subject_sums import subject_numbers


@pytest.fixture(autouse=True)
def _full_precision() -> None:
    pingouin.options["round.column.CI95"] = None


def pingouin_icc(values: np.ndarray, kind: str) -> tuple[float, np.ndarray]:
    n, k = values.shape
    long = pd.DataFrame(
        {
            "row": np.repeat(np.arange(n), k),
            "rater": np.tile(np.arange(k), n),
            "rating": values.ravel(),
        }
    )
    made = pingouin.intraclass_corr(long, targets="row", raters="rater", ratings="rating")
    row = made.set_index("Type").loc[kind]
    return row["ICC"], row["CI95"]


@pytest.mark.parametrize(("n", "k"), [(8, 2), (25, 3), (40, 2), (12, 5)])
def test_icc_and_its_interval_equal_pingouin(n: int, k: int) -> None:
    rng = np.random.default_rng(n)
    values = rng.normal(20, 5, (n, 1)) + rng.normal(0, 4, (n, k)) + rng.normal(0, 2, k)
    for made in agreement.intraclass_correlations(values):
        value, interval = pingouin_icc(values, made.kind)
        assert made.value == pytest.approx(value, abs=1e-10)
        assert [made.low, made.high] == pytest.approx(list(interval), abs=1e-8)


def test_icc_of_raters_who_disagree_wholly_equals_pingouin() -> None:
    x = np.random.default_rng(1).normal(size=15)
    values = np.column_stack([x, -x + 0.01 * np.arange(15)])
    for made in agreement.intraclass_correlations(values):
        value, _ = pingouin_icc(values, made.kind)
        assert made.value == pytest.approx(value, abs=1e-10)
        assert made.value < 0


def test_two_raters_icc_is_that_of_the_metrics() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(20, 5, 30)
    y, weight = x + rng.normal(1, 3, 30), rng.choice([0.5, 1.0], 30)
    absolute, consistency = agreement.intraclass_correlations(
        np.column_stack([x, y]), weight=weight
    )
    assert absolute.value == pytest.approx(metrics.icc_a1(x, y, weight), abs=1e-12)
    assert consistency.value == pytest.approx(metrics.icc_c1(x, y, weight), abs=1e-12)


def test_degenerate_raters() -> None:
    x = np.arange(10.0)
    same = agreement.intraclass_correlations(np.column_stack([x, x]))
    assert [(m.value, m.low, m.high) for m in same] == [(1.0, 1.0, 1.0)] * 2
    shifted = agreement.intraclass_correlations(np.column_stack([x, x + 3]))
    assert shifted[1].value == 1.0
    assert shifted[0].value == pytest.approx(pingouin_icc_by_hand(x, x + 3))
    for made in agreement.intraclass_correlations(np.full((10, 2), 3.0)):
        assert (made.value, made.low, made.high) == (None, None, None)
        assert "do not vary" in made.warnings[0]
    with pytest.raises(InputError, match="two or more raters"):
        agreement.intraclass_correlations(np.array([[1.0, np.nan], [2.0, 3.0]]))


def pingouin_icc_by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """2 s_xy / (s_x² + s_y² + (m_x - m_y)² - (s_x² + s_y² - 2 s_xy)/n), sample moments."""
    c = np.cov(x, y)
    noise = c[0, 0] + c[1, 1] - 2 * c[0, 1]
    return float(2 * c[0, 1] / (c[0, 0] + c[1, 1] + (x.mean() - y.mean()) ** 2 - noise / len(x)))


@pytest.mark.parametrize("seed", range(20))
def test_kappa_equals_scikit_learn_on_rounded_predictions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    observed = rng.integers(1, 8, 30).astype(float)
    predicted = observed + rng.normal(0, 3, 30)
    predicted[:3] = [2.5, 0.2, 9.9]
    rounded = np.clip(np.floor(predicted + 0.5), 1, 7)
    wanted = cohen_kappa_score(
        observed.astype(int), rounded.astype(int), labels=range(1, 8), weights="quadratic"
    )
    cv = one_repeat(observed, predicted)
    assert agreement.item_kappa(cv, minimum=1, maximum=7) == pytest.approx(wanted, abs=1e-12)


def test_kappa_of_degenerate_ratings() -> None:
    constant, varying = np.full(6, 3.0), np.array([1.0, 2, 3, 4, 5, 6])
    wanted = cohen_kappa_score(varying.astype(int), constant.astype(int), weights="quadratic")
    assert wanted == pytest.approx(0)
    assert agreement.quadratic_kappa(varying, constant, np.ones(6)) == pytest.approx(0)
    assert agreement.quadratic_kappa(constant, constant, np.ones(6)) is None
    with pytest.raises(InputError, match="integer ratings from 1 to 7, got 8"):
        agreement.item_kappa(one_repeat(varying + 2, varying), minimum=1, maximum=7)


def one_repeat(observed: np.ndarray, predicted: np.ndarray) -> CrossValidation:
    n = len(observed)
    return CrossValidation(
        target="N1",
        keys=pd.DataFrame({"participant_id": [f"sub-{i:03d}" for i in range(n)], "session_id": ""}),
        observed=observed,
        predicted=predicted[np.newaxis],
        baseline=np.full((1, n), observed.mean()),
        fold=(np.arange(n) % 2)[np.newaxis],
        weight=np.ones(n),
        chosen=(),
    )


def test_bland_altman_by_hand() -> None:
    rng = np.random.default_rng(5)
    observed = rng.normal(20, 5, 50)
    predicted = observed + rng.normal(1, 2, 50)
    made = agreement.bland_altman(one_repeat(observed, predicted))
    d = predicted - observed
    s, t = d.std(ddof=1), stats.t.ppf(0.975, 49)
    assert made.bias.value == pytest.approx(d.mean())
    assert (made.bias.low, made.bias.high) == pytest.approx(
        stats.t.interval(0.95, 49, d.mean(), s / np.sqrt(50))
    )
    assert made.upper_limit.value == pytest.approx(d.mean() + 1.959964 * s, abs=1e-5)
    half = t * np.sqrt(s**2 / 50 + 1.959964**2 * s**2 / (2 * 49))
    assert made.upper_limit.high - made.upper_limit.value == pytest.approx(half, abs=1e-5)
    assert made.lower_limit.value - made.lower_limit.low == pytest.approx(half, abs=1e-5)


def test_limits_cover_the_true_ones_as_often_as_they_say() -> None:
    rng = np.random.default_rng(6)
    inside = 0
    for _ in range(400):
        d = rng.normal(0, 1, 40)
        made = agreement.bland_altman(one_repeat(np.zeros(40), d))
        inside += made.upper_limit.low <= 1.959964 <= made.upper_limit.high
    assert 0.92 <= inside / 400 <= 0.98


def test_interval_of_every_metric_against_copied_rows(
    repeated: tuple[CrossValidation, np.ndarray],
) -> None:
    cv, subject = repeated
    counts = subject_counts(int(subject.max()) + 1, resamples=300, seed=4)
    made = intervals.metric_intervals(cv, resamples=300, confidence=0.9, seed=4)
    names: dict[str, Callable[..., float | None]] = {
        "ccc": metrics.ccc,
        "icc_a1": metrics.icc_a1,
        "icc_c1": metrics.icc_c1,
        "mae": metrics.mae,
        "rmse": metrics.rmse,
        "bias": metrics.bias,
        "calibration_slope": metrics.calibration_slope,
        "calibration_intercept": metrics.calibration_intercept,
    }
    for name, measure in names.items():

        def slow(drawn: np.ndarray, measure: Callable[..., float | None] = measure) -> float:
            rows = np.concatenate([np.flatnonzero(subject == s) for s in drawn])
            return float(
                np.mean(
                    [measure(cv.observed[rows], p[rows], cv.weight[rows]) for p in cv.predicted]
                )
            )

        rng = np.random.default_rng(np.random.SeedSequence(4, spawn_key=(4,)))
        wanted = stats.bootstrap(
            (np.arange(counts.shape[1]),), slow, n_resamples=300, batch=500, vectorized=False,
            confidence_level=0.9, method="BCa", rng=rng,
        ).confidence_interval  # fmt: skip
        found = getattr(made, name)
        assert found.method == "BCa"
        assert (found.low, found.high) == pytest.approx(tuple(wanted), abs=1e-9), name
    assert made.skill.low < made.skill.high


@pytest.fixture
def repeated() -> tuple[CrossValidation, np.ndarray]:
    rng = np.random.default_rng(3)
    subject = np.sort(np.concatenate([np.arange(20), np.arange(8)]))
    observed = rng.normal(20, 4, 28)
    predicted = 5 + 0.7 * observed + rng.normal(0, 3, (2, 28))
    cv = CrossValidation(
        target="t",
        keys=pd.DataFrame({"participant_id": [f"sub-{s:02d}" for s in subject], "session_id": ""}),
        observed=observed,
        predicted=predicted,
        baseline=np.full_like(predicted, 20.0),
        fold=np.tile(subject % 4, (2, 1)),
        weight=1 / np.bincount(subject)[subject],
        chosen=(),
    )
    np.testing.assert_array_equal(subject_numbers(cv), subject)
    return cv, subject
