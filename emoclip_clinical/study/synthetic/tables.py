"""The tables of the synthetic study: manifest of clips, ratings, and the planted truth."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from .cains import CAINS_ITEMS
from .clips import ClipPlan
from .cohort import FACETS, Cohort
from .interviews import expressivity_from_latent

_ITEMS = tuple(f"{letter}{n}" for letter, last in (("P", 7), ("N", 7), ("G", 16))
               for n in range(1, last + 1))  # fmt: skip


def clip_table(plans: Sequence[ClipPlan], captions: Sequence[str]) -> pd.DataFrame:
    """Return the manifest of the clips: ``path, caption, label, group, split``.

    Parameters
    ----------
    plans : sequence of ClipPlan
    captions : sequence of str
        In the order of the plans.

    Returns
    -------
    DataFrame
    """
    return pd.DataFrame(
        {
            "path": [f"clips/{plan.name}.mp4" for plan in plans],
            "caption": list(captions),
            "label": [plan.label for plan in plans],
            "group": [plan.group for plan in plans],
            "split": [plan.split for plan in plans],
        }
    )


def rating_table(cohort: Cohort) -> pd.DataFrame:
    """Return what raters would hand in: a row a visit, every item and the covariates.

    Parameters
    ----------
    cohort : Cohort

    Returns
    -------
    DataFrame
        ``participant_id, session_id``, P1 to P7, N1 to N7, G1 to G16, C1 to C13 where they are
        asked for, ``age`` (years), ``sex``, ``site``.
    """
    rows = [
        {
            "participant_id": visit.key.participant_id,
            "session_id": visit.key.session_id,
            **{i: visit.items[i] for i in (*_ITEMS, *CAINS_ITEMS) if i in visit.items},
            "age": visit.age_years,
            "sex": visit.sex,
            "site": visit.site,
        }
        for visit in cohort.visits
    ]
    return pd.DataFrame(rows)


def truth_table(cohort: Cohort, *, effect: float) -> pd.DataFrame:
    """Return what was planted: a row a visit.

    Parameters
    ----------
    cohort : Cohort
    effect : float
        The effect with which the cohort was drawn.

    Returns
    -------
    DataFrame
        Keys, ``trait``, ``heard``, the latent expressivities, the amplitude, rate and variety
        that they become, the observed sum, and on every row the population r with the number
        of subjects of its estimate and the effect.
    """
    rows = []
    for visit in cohort.visits:
        shown = expressivity_from_latent(visit.expressivity)
        rows.append(
            {
                "participant_id": visit.key.participant_id,
                "session_id": visit.key.session_id,
                "trait": visit.trait,
                "heard": visit.heard,
                **{f"latent_{facet}": visit.expressivity[facet] for facet in FACETS},
                "amplitude": shown.amplitude,
                "rate_per_minute": shown.rate_per_minute,
                "variety": shown.variety,
                "negative_symptoms": visit.negative_symptoms,
                "population_r": cohort.calibration.population_r,
                "n_population": cohort.calibration.n_population,
                "trait_share": cohort.calibration.trait_share,
                "effect": effect,
            }
        )
    return pd.DataFrame(rows)
