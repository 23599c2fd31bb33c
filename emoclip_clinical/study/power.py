"""Power by simulation: cohorts with the synthetic study's planted trait, at the level of features.

Rendering and scoring videos for hundreds of cohorts would take days, so the videos are left out:
trait, expressivities and rated items are drawn as the synthetic study draws them, and a feature is
an expressivity seen with noise. What is simulated is the statistics; how well a model sees faces
goes into it as the correlation that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from emoclip_clinical.records import (
    FeatureTable,
    InputError,
    Progress,
    Ratings,
    no_progress,
)
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import Design, join
from emoclip_clinical.regression.inference import MINIMUM_EXCHANGEABLE
from emoclip_clinical.regression.power import SampleSize, SampleSizeQuestion, riley_sample_size
from emoclip_clinical.study.synthetic.cohort import FACETS, repeated_normals
from emoclip_clinical.study.synthetic.ratings import calibrate, draw_negative_items

RATING_CORRELATION = 0.8
"""Population r of the trait with N1 + … + N7, as in the synthetic study."""
TRAIT_STABILITY = 0.6
FEATURE_LOADING = 0.7
"""Correlation of a feature with the expressivity it shows."""
CALIBRATION_SUBJECTS = 20_000
LEVEL = 0.05


class PowerConfig(BaseModel):
    """Cohorts to simulate, and how each is analysed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subjects: tuple[int, ...] = Field(
        default=(40, 80, 120), min_length=1, description="Sizes of the cohorts."
    )
    correlation: float = Field(
        default=0.4,
        ge=0,
        lt=RATING_CORRELATION,
        description="Population r of the best possible estimate with the rating.",
    )
    features: int = Field(default=20, ge=3, le=5000, description="Features of a visit.")
    second_visit_share: float = Field(
        default=0.0, ge=0, le=1, description="Share of the subjects with two visits."
    )
    simulations: int = Field(default=200, ge=10, description="Cohorts of each size.")
    permutations: int = Field(default=99, ge=19, description="Permutations of each test.")
    repeats: int = Field(default=3, ge=1, description="Repetitions of the cross-validation.")
    seed: int = Field(default=0, ge=0, description="Seed of everything that is drawn.")

    @field_validator("subjects")
    @classmethod
    def _sizes(cls, subjects: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(subjects)) < len(subjects) or min(subjects) < 20:
            raise ValueError("subjects must be different sizes of at least 20")
        return tuple(sorted(subjects))


@dataclass(frozen=True)
class PowerPoint:
    """What cohorts of one size show.

    Attributes
    ----------
    subjects : int
    power : float
        Share of the cohorts with permutation p at most 0.05.
    power_low, power_high : float
        95 % Wilson interval of the share.
    mean_r, r_low, r_high : float
        Mean and 2.5 % and 97.5 % quantiles over cohorts of the cross-validated r, of those that
        define it.
    simulations : int
    without_p : int
        Cohorts whose r, and with it p, is not defined; they count as found nothing in `power`.
    """

    subjects: int
    power: float
    power_low: float
    power_high: float
    mean_r: float
    r_low: float
    r_high: float
    simulations: int
    without_p: int


@dataclass(frozen=True)
class SimulatedPower:
    """Power by size of the cohort.

    Attributes
    ----------
    points : tuple of PowerPoint
    trait_correlation : float
        Correlation of an expressivity with the trait that gives the correlation asked for.
    warnings : tuple of str
    """

    points: tuple[PowerPoint, ...]
    trait_correlation: float
    warnings: tuple[str, ...] = ()


def simulate_power(config: PowerConfig, *, progress: Progress = no_progress) -> SimulatedPower:
    """Simulate cohorts and run the whole regression on each.

    Parameters
    ----------
    config : PowerConfig
    progress : callable
        Called after each cohort.

    Raises
    ------
    InputError
        If so many features of this kind can not carry the correlation, if cohorts of a size have
        too few subjects whose ratings can be permuted, or if r is defined in no cohort of a size.
    """
    _check_exchangeable(config)
    facet = facet_correlation(config.correlation, features=config.features)
    share = calibrate(
        rating_correlation=RATING_CORRELATION, n_population=CALIBRATION_SUBJECTS, seed=config.seed
    ).trait_share
    analysis = RegressionConfig(
        repeats=config.repeats, permutations=config.permutations, bootstrap=0
    )
    points: list[PowerPoint] = []
    total = len(config.subjects) * config.simulations
    for size in config.subjects:
        found: list[tuple[float | None, float | None]] = []
        for number in range(config.simulations):
            seeds = np.random.SeedSequence(config.seed, spawn_key=(size, number))
            rng = np.random.default_rng(seeds)
            design = draw_design(
                size, config=config, facet_correlation=facet, trait_share=share, rng=rng
            )
            made = estimate(design, config=analysis, seed=int(rng.integers(2**31)))
            found.append((made.p_permutation, made.metrics.pearson_pooled))
            progress("power", len(points) * config.simulations + number + 1, total)
        points.append(_point(size, found))
    warnings = tuple(
        f"power: r, and with it p, is not defined in {p.without_p} of {p.simulations} cohorts of "
        f"{p.subjects} subjects; they count as found nothing"
        for p in points
        if p.without_p
    )
    return SimulatedPower(tuple(points), facet, warnings)


def _check_exchangeable(config: PowerConfig) -> None:
    faults = []
    for size in config.subjects:
        with_two = _n_with_two(size, config)
        # A subject alone with that number of visits has nobody to change places with.
        exchangeable = sum(n for n in (with_two, size - with_two) if n > 1)
        if exchangeable < MINIMUM_EXCHANGEABLE:
            faults.append(
                f"power: {MINIMUM_EXCHANGEABLE} subjects with as many visits as another are needed "
                f"for a permutation p, got {exchangeable} of {size} (second_visit_share "
                f"{config.second_visit_share:g}: {with_two} with two visits)"
            )
    if faults:
        raise InputError(faults)


def _n_with_two(subjects: int, config: PowerConfig) -> int:
    return round(config.second_visit_share * subjects)


def facet_correlation(correlation: float, *, features: int) -> float:
    """Return the correlation of expressivity and trait that gives a wanted r of the ratings.

    The best linear estimate of the trait from the features has the multiple correlation
    √(c' S⁻¹ c); the ratings follow the trait with `RATING_CORRELATION` and the face only through
    it, so that their r is the product.

    Raises
    ------
    InputError
        Where it is out of reach even for expressivities that are the trait.
    """
    if correlation == 0:
        return 0.0
    low, high = 0.0, 1.0
    most = _reached(high, features)
    if most < correlation:
        raise InputError(
            f"r = {correlation:g} (R² {correlation**2:g}) is out of reach of {features} features, "
            f"each correlated {FEATURE_LOADING:g} with an expressivity: at most {most:.3f} "
            f"(R² {most**2:.3f})"
        )
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _reached(middle, features) < correlation else (low, middle)
    return (low + high) / 2


def draw_design(
    subjects: int,
    *,
    config: PowerConfig,
    facet_correlation: float,
    trait_share: float,
    rng: np.random.Generator,
) -> Design:
    """Draw one cohort: features and the rated sum N1 + … + N7 of every visit.

    Parameters
    ----------
    subjects : int
    config : PowerConfig
    facet_correlation : float
        Of each expressivity with minus the trait.
    trait_share : float
        Of the trait in what the items share; see `calibrate`.
    rng : numpy.random.Generator
    """
    visits = np.ones(subjects, dtype=np.int64)
    visits[: _n_with_two(subjects, config)] = 2
    trait, heard = (
        np.concatenate(
            [repeated_normals(int(k), stability=TRAIT_STABILITY, rng=rng) for k in visits]
        )
        for _ in range(2)
    )
    rho = facet_correlation
    noise = rng.standard_normal((len(trait), len(FACETS)))
    facets = -rho * trait[:, np.newaxis] + np.sqrt(1 - rho**2) * noise
    own = rng.standard_normal((len(trait), config.features))
    shown = facets[:, np.arange(config.features) % len(FACETS)]
    X = FEATURE_LOADING * shown + np.sqrt(1 - FEATURE_LOADING**2) * own
    items = draw_negative_items(trait, heard, trait_share=trait_share, rng=rng)
    return _design(visits, X, items.sum(axis=1).astype(np.float64))


def _design(visits: np.ndarray, X: np.ndarray, y: np.ndarray) -> Design:
    subject = np.repeat(np.arange(len(visits)), visits)
    number = np.concatenate([np.arange(k) for k in visits])
    keys = pd.DataFrame(
        {
            "participant_id": [f"sub-{s + 1:05d}" for s in subject],
            "session_id": [f"ses-{k + 1}" for k in number],
        },
        dtype=object,
    )
    nobody = pd.DataFrame(columns=["participant_id", "session_id", "reason"], dtype=object)
    names = [f"feature_{k + 1}" for k in range(X.shape[1])]
    ratings = Ratings(
        target="negative_symptoms",
        items=(),
        keys=keys,
        values=y,
        minimum=7.0,
        maximum=49.0,
        excluded=nobody,
        covariates=pd.DataFrame(index=keys.index),
    )
    return join(FeatureTable(keys, pd.DataFrame(X, columns=names), nobody), ratings)


def _reached(rho: float, features: int) -> float:
    facet = np.arange(features) % len(FACETS)
    within = FEATURE_LOADING**2 * np.where(np.equal.outer(facet, facet), 1.0, rho**2)
    np.fill_diagonal(within, 1.0)
    with_trait = np.full(features, FEATURE_LOADING * rho)
    squared = float(with_trait @ np.linalg.solve(within, with_trait))
    return RATING_CORRELATION * float(np.sqrt(squared))


def _point(size: int, found: Sequence[tuple[float | None, float | None]]) -> PowerPoint:
    n = len(found)
    share = sum(p is not None and p <= LEVEL for p, _ in found) / n
    low, high = _wilson(share, n)
    rs = np.array([r for _, r in found if r is not None])
    if not len(rs):
        raise InputError(f"power: r is defined in none of {n} cohorts of {size} subjects")
    r_low, r_high = np.quantile(rs, [0.025, 0.975])
    without_p = sum(p is None for p, _ in found)
    mean_r = float(rs.mean())
    return PowerPoint(size, share, low, high, mean_r, float(r_low), float(r_high), n, without_p)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927, JASA 22, 209-212)."""
    z = 1.959963984540054
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def plan(
    *,
    predictors: int,
    r_squared: float,
    mean: float | None,
    sd: float | None,
    subjects: Sequence[int],
    simulations: int,
    permutations: int,
    seed: int,
    progress: Progress = no_progress,
) -> tuple[SampleSize, SimulatedPower | None]:
    """Answer the planning of a study: Riley's criteria, and power where sizes are named.

    Parameters
    ----------
    predictors : int
        Candidate predictor parameters, and features of the simulated visits.
    r_squared : float
        Expected R²; the simulated correlation is its root, and must be below
        `RATING_CORRELATION` where cohorts are simulated.
    mean, sd : float or None
        Of the ratings, scale points.
    subjects : sequence of int
        Sizes of cohorts to simulate; none for no simulation.
    simulations, permutations, seed
        See `PowerConfig`.

    Raises
    ------
    InputError
        With every setting out of its range.
    """
    question: dict[str, object] = {"predictors": predictors, "r_squared": r_squared}
    question |= {"mean": mean, "sd": sd}
    faults: list[str] = []
    asked = _validated(SampleSizeQuestion, question, faults)
    config = None
    if subjects:
        settings: dict[str, object] = {
            "subjects": tuple(subjects),
            "correlation": _planted(r_squared, faults),
            "features": predictors,
            "simulations": simulations,
            "permutations": permutations,
            "seed": seed,
        }
        config = _validated(PowerConfig, settings, faults)
    if faults or asked is None:
        raise InputError(faults)
    size = riley_sample_size(asked)
    return size, None if config is None else simulate_power(config, progress=progress)


def _planted(r_squared: float, faults: list[str]) -> float:
    """Return the correlation to simulate; 0 for an R² that can be none, of which others tell."""
    if not 0 < r_squared < 1:
        return 0.0
    correlation = float(np.sqrt(r_squared))
    if correlation < RATING_CORRELATION:
        return correlation
    faults.append(
        f"r_squared: for simulated cohorts it must be below {RATING_CORRELATION**2:.2f}, since "
        f"their ratings follow the trait with r = {RATING_CORRELATION:g}, got {r_squared:g}"
    )
    return 0.0


Settings = TypeVar("Settings", bound=BaseModel)


def _validated(
    kind: type[Settings], values: dict[str, object], faults: list[str]
) -> Settings | None:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        for fault in error.errors():
            where = ".".join(str(part) for part in fault["loc"])
            faults.append(f"{where}: {fault['msg']}, got {fault['input']!r}")
        return None
