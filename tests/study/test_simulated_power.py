"""Simulated power: the planted correlation is there, and the null is rejected as often as said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from statsmodels.stats.proportion import proportion_confint
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.records import InputError
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.inference import exchange
from emoclip_clinical.study import power
from emoclip_clinical.study.power import (
    RATING_CORRELATION,
    PowerConfig,
    _check_exchangeable,
    draw_design,
    facet_correlation,
    simulate_power,
)
from emoclip_clinical.study.synthetic.ratings import calibrate


@pytest.mark.parametrize(("r", "features"), [(0.3, 6), (0.6, 30)])
def test_the_best_linear_estimate_has_the_planted_correlation(r: float, features: int) -> None:
    config = PowerConfig(features=features, correlation=r)
    share = calibrate(
        rating_correlation=RATING_CORRELATION, n_population=20_000, seed=0
    ).trait_share
    design = draw_design(
        30_000,
        config=config,
        facet_correlation=facet_correlation(r, features=features),
        trait_share=share,
        rng=np.random.default_rng(0),
    )
    fitted = np.column_stack([np.ones(len(design.y)), design.X])
    best = fitted @ np.linalg.lstsq(fitted, design.y, rcond=None)[0]
    assert np.corrcoef(best, design.y)[0, 1] == pytest.approx(r, abs=0.02)


def test_power_grows_with_the_cohort_and_repeats_itself() -> None:
    config = PowerConfig(
        subjects=(60, 24), correlation=0.6, features=6, simulations=10, permutations=19, repeats=1
    )
    seen: list[tuple[int, int]] = []
    made = simulate_power(config, progress=lambda task, done, total: seen.append((done, total)))
    assert [p.subjects for p in made.points] == [24, 60]
    assert made.points[0].power < made.points[1].power
    assert made.points[1].mean_r > 0.3
    assert seen[-1] == (20, 20)
    assert simulate_power(config) == made
    point = made.points[1]
    wanted = proportion_confint(round(point.power * 10), 10, method="wilson")
    assert (point.power_low, point.power_high) == pytest.approx(wanted)


def test_second_visits_belong_to_the_same_subjects() -> None:
    config = PowerConfig(second_visit_share=0.25)
    design = draw_design(
        40, config=config, facet_correlation=0.5, trait_share=0.8, rng=np.random.default_rng(0)
    )
    assert (design.n_subjects, len(design.y)) == (40, 50)


def test_cohorts_that_can_have_no_p_are_refused_before_the_simulation() -> None:
    told: list[object] = []
    config = PowerConfig(subjects=(20, 40), second_visit_share=0.05, simulations=10)
    with pytest.raises(InputError, match=r"got 19 of 20 .*: 1 with two visits") as caught:
        simulate_power(config, progress=lambda *state: told.append(state))
    assert len(caught.value.faults) == 1
    assert not told


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.3, 0.95, 1.0])
def test_the_foreseen_number_is_that_of_the_drawn_cohort(share: float) -> None:
    for size in (20, 21, 22):
        config = PowerConfig(subjects=(size,), second_visit_share=share)
        design = draw_design(
            size, config=config, facet_correlation=0.5, trait_share=0.8,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        counted = exchange(design.subjects, design.keys["session_id"].tolist()).n_exchangeable
        if counted < 20:
            with pytest.raises(InputError, match=f"got {counted} of {size}"):
                _check_exchangeable(config)
        else:
            _check_exchangeable(config)


def test_cohorts_without_p_are_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    config = PowerConfig(
        subjects=(24,), correlation=0.6, features=6, simulations=10, permutations=19, repeats=1
    )
    whole = simulate_power(config)
    assert (whole.points[0].without_p, whole.warnings) == (0, ())
    told = iter(range(10))

    def without_some(*args: object, **kwargs: object) -> object:
        made = estimate(*args, **kwargs)
        cv = made.cross_validation
        flat = replace(cv, predicted=np.zeros_like(cv.predicted))
        return replace(made, cross_validation=flat) if next(told) < 4 else made

    monkeypatch.setattr(power, "estimate", without_some)
    made = simulate_power(config)
    assert made.points[0].without_p == 4
    assert "not defined in 4 of 10 cohorts of 24 subjects" in made.warnings[0]
    told = iter([0] * 10)
    with pytest.raises(InputError, match="defined in none of 10 cohorts of 24"):
        simulate_power(config)


def test_refusals() -> None:
    with pytest.raises(
        InputError,
        match=r"^r = 0\.79 \(R² 0\.6241\) is out of reach of 3 features, .* \(R² 0\.\d+\)$",
    ):
        facet_correlation(0.79, features=3)
    with pytest.raises(ValidationError, match="different sizes of at least 20"):
        PowerConfig(subjects=(10, 40))


def test_the_command_says_the_criteria_as_table_and_json(tmp_path: Path) -> None:
    arguments = [
        "power",
        "--predictors",
        "25",
        "--r-squared",
        "0.2",
        "--mean",
        "1.9",
        "--sd",
        "0.6",
    ]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert "918" in shown.output
    assert max(len(line) for line in shown.output.splitlines()) <= 80
    printed = CliRunner().invoke(app, [*arguments, "--json"])
    record = json.loads(printed.stdout)
    assert record["riley"]["subjects"] == 918
    assert record["simulation"] is None


def test_the_command_simulates_when_asked() -> None:
    made = CliRunner().invoke(
        app,
        ["power", "--predictors", "6", "--r-squared", "0.36", "--subjects", "24", "--simulations",
         "10", "--permutations", "19", "--json"],
    )  # fmt: skip
    assert made.exit_code == 0
    points = json.loads(made.stdout)["simulation"]["points"]
    assert [p["subjects"] for p in points] == [24]


@pytest.mark.parametrize("r_squared", [0.64, 0.9])
def test_an_r_squared_beyond_the_simulation_is_refused_as_such(r_squared: float) -> None:
    options = ["power", "--predictors", "20", "--r-squared", str(r_squared)]
    made = CliRunner().invoke(app, [*options, "--subjects", "40"])
    assert made.exit_code == 2
    assert made.output == (
        "error: r_squared: for simulated cohorts it must be below 0.64, since their ratings follow "
        f"the trait with r = 0.8, got {r_squared}\n"
    )
    # The criteria know no such limit.
    assert CliRunner().invoke(app, options).exit_code == 0
    said = " ".join(CliRunner().invoke(app, ["power", "--help"]).output.split())
    assert "Below 0.64 with" in said
    assert f"r = {RATING_CORRELATION}, so that no R² of {RATING_CORRELATION**2:.2f} or more" in said


def test_bad_options_are_one_message_each_and_no_traceback() -> None:
    made = CliRunner().invoke(app, ["power", "--predictors", "1", "--r-squared", "2"])
    assert made.exit_code == 2
    assert "predictors" in made.output
    assert "r_squared" in made.output
    assert "Traceback" not in made.output
