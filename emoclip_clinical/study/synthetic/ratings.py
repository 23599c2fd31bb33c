"""Planted PANSS items, and the strength with which they must depend on the trait.

A negative item is the number of thresholds that a latent score passes, plus 1. The latent score
is ``loading * common + sqrt(1 - loading**2) * own``, where ``own`` is the item's noise and
``common = share * trait + sqrt(1 - share**2) * heard`` is what the items share: the trait, which
the face shows, and what a rater only hears. All parts are standard normal. `calibrate` chooses
the share so that the observed integer sum has the wanted Pearson correlation with the trait.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoclip_clinical.records import InputError

from .seeds import Stream, generator

LOADINGS = np.array([0.85, 0.8, 0.8, 0.8, 0.6, 0.8, 0.65])
"""Correlation of each negative item's latent score with what the items share; N1 to N7."""

THRESHOLDS = np.array([-0.9, -0.35, 0.25, 0.9, 1.55, 2.2])
"""Latent scores from which an item is 2, 3, 4, 5, 6, 7: a moderately ill population."""

OTHER_ITEMS = tuple([f"P{n}" for n in range(1, 8)] + [f"G{n}" for n in range(1, 17)])
"""Items that are independent of the trait and of everything visible."""

_OTHER_LOADING = 0.5
_STEPS = 40


@dataclass(frozen=True)
class Calibration:
    """How the negative items depend on the trait.

    Attributes
    ----------
    trait_share : float
        Correlation of the trait with what the items share.
    population_r : float
        Pearson r of the trait with the observed sum, estimated on subjects that were not used
        to choose the share.
    n_population : int
        Number of subjects of that estimate, and of the choice.
    """

    trait_share: float
    population_r: float
    n_population: int


def _ordinal(latent: NDArray[np.float64]) -> NDArray[np.int64]:
    return 1 + np.searchsorted(THRESHOLDS, latent, side="right").astype(np.int64)


def draw_negative_items(
    trait: NDArray[np.float64],
    heard: NDArray[np.float64],
    *,
    trait_share: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw N1 to N7.

    Parameters
    ----------
    trait, heard : ndarray of shape (n,)
        Standard normal.
    trait_share : float
        Correlation of the trait with what the items share, 0 to 1.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n, 7)
        Integers from 1 to 7.
    """
    own = rng.standard_normal((len(trait), len(LOADINGS)))
    common = trait_share * trait + np.sqrt(1 - trait_share**2) * heard
    return _ordinal(LOADINGS * common[:, None] + np.sqrt(1 - LOADINGS**2) * own)


def draw_other_items(n: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the positive and general items, independent of everything else.

    Parameters
    ----------
    n : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n, 23)
        Integers from 1 to 7, columns as in `OTHER_ITEMS`. The latent scores of any two items of
        a row correlate by 0.25.
    """
    shared, own = rng.standard_normal((n, 1)), rng.standard_normal((n, len(OTHER_ITEMS)))
    return _ordinal(_OTHER_LOADING * shared + np.sqrt(1 - _OTHER_LOADING**2) * own)


def population_correlation(
    trait_share: float, *, n_population: int, rng: np.random.Generator
) -> float:
    """Estimate the correlation of the trait with the observed sum of N1 to N7.

    Parameters
    ----------
    trait_share : float
        Correlation of the trait with what the items share, 0 to 1.
    n_population : int
        Number of subjects to draw; the standard error is near ``0.36 / sqrt(n_population)``
        where r is 0.8.
    rng : numpy.random.Generator

    Returns
    -------
    float
        Pearson r.
    """
    trait, heard = rng.standard_normal((2, n_population))
    items = draw_negative_items(trait, heard, trait_share=trait_share, rng=rng)
    return float(np.corrcoef(trait, items.sum(axis=1))[0, 1])


def calibrate(*, rating_correlation: float, n_population: int, seed: int) -> Calibration:
    """Find the share of the trait with which the observed sum has the wanted correlation.

    Bisection over the share, with the same random numbers at every step.

    Parameters
    ----------
    rating_correlation : float
        Wanted population Pearson r of the trait with N1 + … + N7.
    n_population : int
        Number of subjects drawn.
    seed : int

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        Where the correlation is out of reach with these loadings and thresholds.
    """

    def estimate(share: float) -> float:
        return population_correlation(
            share, n_population=n_population, rng=generator(seed, Stream.CALIBRATION)
        )

    low, high = 0.0, 1.0
    highest = estimate(high)
    if rating_correlation >= highest:
        raise InputError(
            f"rating_correlation must be below {highest:.3f}, what the items' own noise leaves "
            f"within reach, got {rating_correlation:g}"
        )
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if estimate(middle) < rating_correlation else (low, middle)
        if high - low < 1e-4:
            break
    share = (low + high) / 2
    achieved = population_correlation(
        share, n_population=n_population, rng=generator(seed, Stream.POPULATION)
    )
    return Calibration(trait_share=share, population_r=achieved, n_population=n_population)
