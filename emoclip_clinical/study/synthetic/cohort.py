"""Who takes part in the synthetic study, what is planted in them, and how raters see them.

Each visit has a latent trait with mean 0 and standard deviation 1. It lowers three latent
expressivities (amplitude, rate and variety of expressions) and raises the seven negative items.
Nothing else knows of it: not the other items, not age, sex or site, not identity, light or camera.
Where the CAINS is asked for, its expression items follow it too. A mean change, where there is one,
is added to the trait of second visits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoclip_clinical.records import InterviewKey

from .cains import CAINS_ITEMS, draw_cains
from .config import SyntheticConfig
from .ratings import OTHER_ITEMS, Calibration, calibrate, draw_negative_items, draw_other_items
from .seeds import Stream, generator

FACETS = ("amplitude", "rate", "variety")
"""The three latent expressivities."""


@dataclass(frozen=True)
class Visit:
    """One interview's person, planted truth and ratings.

    Attributes
    ----------
    key : InterviewKey
    subject : int
        Number of the subject, from 0; visits of a subject share their identity.
    number : int
        Number of the interview in the cohort, from 0.
    trait : float
        Latent trait, population mean 0 and standard deviation 1.
    heard : float
        What else the negative items share and a face does not show; same scale.
    expressivity : mapping of str to float
        Latent value of each of `FACETS`; same scale, higher is more expressive.
    items : mapping of str to int
        P1 to P7, N1 to N7 and G1 to G16, each from 1 to 7; C1 to C13, each from 0 to 4, where
        they are asked for.
    age_years : int
    sex : str
        ``female`` or ``male``.
    site : str
    """

    key: InterviewKey
    subject: int
    number: int
    trait: float
    heard: float
    expressivity: Mapping[str, float]
    items: Mapping[str, int]
    age_years: int
    sex: str
    site: str

    @property
    def negative_symptoms(self) -> int:
        """N1 + … + N7, 7 to 49."""
        return sum(self.items[f"N{number}"] for number in range(1, 8))


@dataclass(frozen=True)
class Cohort:
    """All visits, sorted by subject and session, and what is known of their population.

    Attributes
    ----------
    visits : tuple of Visit
    calibration : Calibration
        How strongly the items depend on the trait, and the population r that follows.
    """

    visits: tuple[Visit, ...]
    calibration: Calibration


def draw_cohort(config: SyntheticConfig) -> Cohort:
    """Draw the subjects of the synthetic study with everything that is planted in them.

    Parameters
    ----------
    config : SyntheticConfig

    Returns
    -------
    Cohort
        `second_visit_share` of the subjects, the nearest whole number and at least one where
        the share is not 0, have a second visit whose trait correlates by `trait_stability`
        with the first. Sessions are named where anyone has two visits.
    """
    calibration = calibrate(
        rating_correlation=config.rating_correlation,
        n_population=config.n_population,
        seed=config.seed,
    )
    rng = generator(config.seed, Stream.COHORT)
    wanted = config.second_visit_share * config.n_subjects
    n_second = max(round(wanted), 1) if wanted > 0 else 0
    twice = {int(number) for number in rng.permutation(config.n_subjects)[:n_second]}
    sites = rng.permutation(np.arange(config.n_subjects) % config.n_sites)
    visits: list[Visit] = []
    for subject in range(config.n_subjects):
        visits += _draw_subject(
            subject,
            n_visits=2 if subject in twice else 1,
            with_sessions=n_second > 0,
            site=f"site{sites[subject] + 1}",
            first_number=len(visits),
            calibration=calibration,
            config=config,
        )
    return Cohort(visits=tuple(visits), calibration=calibration)


def _draw_subject(
    subject: int,
    *,
    n_visits: int,
    with_sessions: bool,
    site: str,
    first_number: int,
    calibration: Calibration,
    config: SyntheticConfig,
) -> list[Visit]:
    rng = generator(config.seed, Stream.SUBJECT, subject)
    age, sex = int(rng.integers(18, 66)), str(rng.choice(("female", "male")))
    stable = config.trait_stability
    trait = repeated_normals(n_visits, stability=stable, rng=rng)
    trait = trait + config.mean_change * np.arange(n_visits)
    heard = repeated_normals(n_visits, stability=stable, rng=rng)
    faces = draw_expressivity(trait, config=config, rng=rng)
    negative = draw_negative_items(trait, heard, trait_share=calibration.trait_share, rng=rng)
    others = draw_other_items(n_visits, rng=rng)
    cains_rng = generator(config.seed, Stream.CAINS, subject)
    cains = draw_cains(trait, heard, rng=cains_rng) if config.with_cains else None
    visits = []
    for visit in range(n_visits):
        session = f"ses-{visit + 1}" if with_sessions else ""
        items = dict(zip(OTHER_ITEMS, others[visit].tolist(), strict=True))
        items |= {f"N{n + 1}": int(score) for n, score in enumerate(negative[visit])}
        if cains is not None:
            items |= dict(zip(CAINS_ITEMS, cains[visit].tolist(), strict=True))
        visits.append(
            Visit(
                key=InterviewKey(participant_id=f"sub-{subject + 1:03d}", session_id=session),
                subject=subject,
                number=first_number + visit,
                trait=float(trait[visit]),
                heard=float(heard[visit]),
                expressivity=dict(zip(FACETS, faces[visit].tolist(), strict=True)),
                items=items,
                age_years=age,
                sex=sex,
                site=site,
            )
        )
    return visits


def repeated_normals(
    n_visits: int, *, stability: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw one standard normal value for each visit, correlated between visits.

    Parameters
    ----------
    n_visits : int
    stability : float
        Correlation between any two visits, 0 to 1.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n_visits,)
    """
    shared, own = rng.standard_normal(), rng.standard_normal(n_visits)
    values: NDArray[np.float64] = np.sqrt(stability) * shared + np.sqrt(1 - stability) * own
    return values


def draw_expressivity(
    trait: NDArray[np.float64], *, config: SyntheticConfig, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the latent expressivities that go with a trait.

    Each is ``-r * trait + sqrt(1 - r**2) * noise`` with ``r = effect * face_correlation``, so it
    is standard normal in the population whatever the effect; with effect 0 it is noise alone.

    Parameters
    ----------
    trait : ndarray of shape (n_visits,)
    config : SyntheticConfig
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n_visits, 3)
        Columns as in `FACETS`.
    """
    r = config.effect * config.face_correlation
    noise = rng.standard_normal((len(trait), len(FACETS)))
    latent: NDArray[np.float64] = -r * trait[:, None] + np.sqrt(1 - r * r) * noise
    return latent
