"""Planted CAINS items: expression from the trait that the face shows, the rest from elsewhere.

C10 to C13 follow what the PANSS negative items follow too (the trait, and what a rater only hears;
C10 the trait alone); C1 to C9, motivation and pleasure, follow a latent of their own that nothing
visible knows of. An item is the number of thresholds that its latent score passes, 0 to 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CAINS_ITEMS = tuple(f"C{number}" for number in range(1, 14))
LOADING = 0.85
"""Correlation of each item's latent score with what it follows."""
TRAIT_SHARES = {"C10": 1.0, "C11": 0.6, "C12": 0.8, "C13": 0.5}
"""Correlation of the trait with what each expression item follows."""
CAINS_THRESHOLDS = np.array([-0.6, 0.2, 1.0, 1.8])
"""Latent scores from which an item is 1, 2, 3, 4."""


def draw_cains(
    trait: NDArray[np.float64], heard: NDArray[np.float64], *, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw C1 to C13.

    Parameters
    ----------
    trait, heard : ndarray of shape (n,)
        Standard normal.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n, 13)
        Integers from 0 to 4, columns as in `CAINS_ITEMS`.
    """
    n = len(trait)
    pleasure = rng.standard_normal(n)
    followed = np.tile(pleasure[:, None], (1, len(CAINS_ITEMS)))
    for item, share in TRAIT_SHARES.items():
        mixed = share * trait + np.sqrt(1 - share**2) * heard
        followed[:, CAINS_ITEMS.index(item)] = mixed
    own = rng.standard_normal(followed.shape)
    latent = LOADING * followed + np.sqrt(1 - LOADING**2) * own
    items: NDArray[np.int64] = np.searchsorted(CAINS_THRESHOLDS, latent, side="right")
    return items.astype(np.int64)
