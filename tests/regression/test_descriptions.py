"""What a report tells beside the metrics, counted again from the files of a result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from emoclip_clinical.regression.analysis import Estimate, estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.results import metrics_record, write_results

QUICK = RegressionConfig(folds=4, repeats=3, inner_folds=3, permutations=30, bootstrap=100)


@pytest.fixture
def made(make_design: Callable[..., Design]) -> Estimate:
    design = make_design(n_subjects=24, n_features=4, two_visits=4, effect=2.0)
    return estimate(design, config=QUICK, seed=1)


@pytest.fixture
def quality(made: Estimate) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    keys = made.design.keys
    table = keys.assign(
        face_coverage=rng.random(len(keys)),
        seconds=rng.normal(600, 50, len(keys)),
        status=["ok"] * (len(keys) - 2) + ["partial"] * 2,
        note="a name",
    )
    # A second recording of the first visit: visits have the mean of their recordings.
    return pd.concat([table, table[:1].assign(face_coverage=0.1)], ignore_index=True)


def test_numbers_follow_from_the_files(
    made: Estimate, quality: pd.DataFrame, tmp_path: Path
) -> None:
    write_results(made, tmp_path, quality=quality)
    record = json.loads((tmp_path / "metrics.json").read_text())
    rows = pd.read_csv(tmp_path / "predictions.csv")
    keys = ["participant_id", "session_id"]
    visits = rows.groupby(keys, as_index=False)[["observed", "predicted"]].mean()
    share = 1 / visits.groupby("participant_id")["observed"].transform("size")
    mean = np.average(visits["observed"], weights=share)
    assert record["observed"]["mean"] == pytest.approx(mean)
    assert record["observed"]["low"] == visits["observed"].min()
    assert record["predicted"]["high"] == pytest.approx(visits["predicted"].max())

    error = (visits["observed"] - visits["predicted"]).abs()
    width, level = record["prediction_band"]["half_width"], record["prediction_band"]["level"]
    assert level == 0.9
    assert share[error <= width + 1e-12].sum() >= 0.9 * share.sum()
    assert share[error < width - 1e-12].sum() < 0.9 * share.sum()

    null = pd.read_csv(tmp_path / "permutation_null.csv")["pearson_r"]
    assert record["null"] == {
        "n_defined": 30, "mean": pytest.approx(null.mean()), "low": null.min(), "high": null.max(),
    }  # fmt: skip
    folds = pd.read_csv(tmp_path / "folds.csv")
    assert record["repeats"]["fold_r_low"] == pytest.approx(folds["r"].min())
    assert np.mean(record["repeats"]["pearson_pooled"]) == pytest.approx(
        record["pearson_r"]["pooled"]
    )

    ordered = visits.sort_values("predicted").reset_index(drop=True)
    last = ordered[-7:]
    weight = 1 / visits.groupby("participant_id").size()[last["participant_id"]].to_numpy()
    assert record["calibration_groups"][-1] == {
        "visits": 7,
        "predicted": pytest.approx(np.average(last["predicted"], weights=weight)),
        "observed": pytest.approx(np.average(last["observed"], weights=weight)),
    }


def test_recordings_are_summarised_and_their_table_is_kept(
    made: Estimate, quality: pd.DataFrame, tmp_path: Path
) -> None:
    write_results(made, tmp_path, quality=quality)
    found = json.loads((tmp_path / "metrics.json").read_text())["recordings"]
    assert found["n"] == 29
    assert found["status"] == [
        {"status": "ok", "interviews": 27}, {"status": "partial", "interviews": 2},
    ]  # fmt: skip
    coverage = next(m for m in found["measures"] if m["name"] == "face_coverage")
    assert coverage["median"] == pytest.approx(quality["face_coverage"].median())
    cv = made.cross_validation
    seen = quality["face_coverage"][:28].to_numpy().copy()
    seen[0] = (seen[0] + 0.1) / 2
    error = np.abs(cv.predicted.mean(axis=0) - cv.observed)
    ranks = [
        [(w := cv.weight)[v < x].sum() + w[v == x].sum() / 2 for x in v] for v in (seen, error)
    ]
    ranks = np.cov(ranks, aweights=cv.weight)
    expected = ranks[0, 1] / np.sqrt(ranks[0, 0] * ranks[1, 1])
    assert found["coverage_and_error"] == {"visits": 28, "spearman_r": pytest.approx(expected)}
    kept = pd.read_csv(tmp_path / "quality.csv")
    assert list(kept) == ["participant_id", "session_id", "status", "seconds", "face_coverage"]
    write_results(made, tmp_path)
    assert not (tmp_path / "quality.csv").exists()


def test_what_is_not_known_is_none(made: Estimate, quality: pd.DataFrame) -> None:
    assert metrics_record(made)["recordings"] is None
    still = metrics_record(made, quality=quality.assign(face_coverage=0.5))["recordings"]
    assert still["coverage_and_error"] == {"visits": 28, "spearman_r": None}
    none = metrics_record(made, quality=quality.drop(columns="face_coverage"))["recordings"]
    assert none["coverage_and_error"] is None
    unseen = metrics_record(made, quality=quality.assign(face_coverage=np.nan))["recordings"]
    assert unseen["coverage_and_error"] is None
    assert {m["name"] for m in unseen["measures"]} == {"seconds"}
    strangers = quality.assign(participant_id="sub-999")
    assert metrics_record(made, quality=strangers)["recordings"]["coverage_and_error"] is None


def test_the_sample_size_is_that_of_rileys_formulas(made: Estimate, tmp_path: Path) -> None:
    write_results(made, tmp_path)
    record = json.loads((tmp_path / "metrics.json").read_text())
    found = record["sample_size"]
    p, r2 = 4, record["skill"]
    assert (found["features"], found["r_squared"]) == (p, r2)
    assert 0 < r2 < 1

    def holds(n: int) -> bool:
        """Riley et al. 2019, equations of the four criteria, at n participants."""
        apparent = (r2 * (n - p - 1) + p) / (n - 1)
        shrinkage = 1 + (p - 2) / (n * np.log(1 - apparent))
        half = stats.t.ppf(0.975, n - p - 1) * np.sqrt(record["observed"]["sd"] ** 2 * (1 - r2) / n)
        mean = record["observed"]["mean"]
        return bool(
            shrinkage >= 0.9
            and n >= 1 + p * (1 - r2) / 0.05
            and n >= 234 + p
            and (mean <= 0 or (mean + half) / mean <= 1.1)
        )

    n = found["riley_subjects"]
    assert holds(n)
    assert not holds(n - 1)


def test_no_sample_size_without_skill(make_design: Callable[..., Design]) -> None:
    design = make_design(n_subjects=24, n_features=4, effect=0.0, seed=3)
    made = estimate(design, config=QUICK.model_copy(update={"permutations": 0}), seed=1)
    assert made.metrics.skill is not None
    assert made.metrics.skill <= 0
    assert metrics_record(made)["sample_size"] is None
