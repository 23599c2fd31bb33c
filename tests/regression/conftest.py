from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import FeatureTable, Ratings
from emoclip_clinical.regression.design import Design, join


def no_visits() -> pd.DataFrame:
    return pd.DataFrame(columns=["participant_id", "session_id", "reason"], dtype=object)


def key_frame(visits: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(visits, columns=["participant_id", "session_id"], dtype=object)


@pytest.fixture
def make_design() -> Callable[..., Design]:
    """Return a function that draws a cohort: some subjects with two visits, a planted effect."""

    def make(
        *, n_subjects: int, n_features: int, two_visits: int = 0, effect: float = 0.0, seed: int = 0
    ) -> Design:
        rng = np.random.default_rng(seed)
        visits = [(f"sub-{i:03d}", "ses-1") for i in range(n_subjects)]
        visits += [(f"sub-{i:03d}", "ses-2") for i in range(two_visits)]
        trait = rng.normal(size=n_subjects)[[int(p[4:]) for p, _ in visits]]
        X = rng.normal(size=(len(visits), n_features))
        X[:, 0] += effect * trait
        y = np.round(20 + 5 * trait + rng.normal(size=len(visits)))
        names = [f"f{k}" for k in range(n_features)]
        features = FeatureTable(key_frame(visits), pd.DataFrame(X, columns=names), no_visits())
        ratings = Ratings(
            target="score",
            items=("score",),
            keys=key_frame(visits),
            values=y,
            minimum=None,
            maximum=None,
            excluded=no_visits(),
            covariates=pd.DataFrame(index=range(len(visits))),
        )
        return join(features, ratings)

    return make
