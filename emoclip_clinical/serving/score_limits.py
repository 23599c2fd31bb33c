"""How many scores an answer may hold: a small request can ask for very many."""

from __future__ import annotations

from collections.abc import Sequence

from emoclip_clinical.features.layout import segments_schema
from emoclip_clinical.features.scores import PromptVectors, score_columns
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.isolation.plain_tables import MOST_COLUMNS
from emoclip_clinical.serving.problems import Problem


def most_rows(prompts: Sequence[PromptVectors], *, config: ServingConfig) -> int:
    """Return how many clips or segments may be scored at once.

    Parameters
    ----------
    prompts : sequence of PromptVectors
        The classes.
    config : ServingConfig
        With ``max_scores``.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    Problem
        413 where there are too many classes for a single row.
    """
    n_columns = len(score_columns(prompts))
    most = min(config.max_scores, MOST_COLUMNS - len(segments_schema(())))
    if n_columns > most:
        raise Problem(
            413, f"prompts may make at most {most} columns of scores, these make {n_columns}"
        )
    return config.max_scores // max(1, n_columns)
