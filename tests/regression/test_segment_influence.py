"""Influence of segments: by the models that have not seen the visit, and by no others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import CrossValidation, InputError
from emoclip_clinical.regression.segment_influence import segment_influence


def cross_validation(fold: np.ndarray) -> CrossValidation:
    n = fold.shape[1]
    nothing = np.zeros(fold.shape)
    return CrossValidation(
        target="t",
        keys=pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(n)], "session_id": ""}),
        observed=np.zeros(n),
        predicted=nothing,
        baseline=nothing,
        fold=fold,
        weight=np.ones(n),
        chosen=({},) * (len(fold) * (int(fold.max()) + 1)),
    )


def test_only_models_of_folds_that_held_the_visit_out_are_asked() -> None:
    fold = np.array([[0, 1, 1], [1, 0, 1]])
    slopes = np.array([[1.0, 0], [100, 100], [10, 0], [0, 4.0]])
    predictors = [lambda X, slope=slope: X @ slope + 7 for slope in slopes]
    whole, without = np.array([2.0, 3.0]), np.array([[1.0, 3.0], [2.0, 5.0], [2.0, np.nan]])
    made = segment_influence(
        cross_validation(fold), predictors=predictors, row=0, whole=whole, without=without
    )
    # Visit 0 was held out in fold 0 of the first repeat and in fold 1 of the second.
    np.testing.assert_allclose(made, [0.5 * 1 + 0, 0.5 * (4 * (3 - 5)), np.nan])


def test_what_does_not_fit_together_is_refused() -> None:
    cv = cross_validation(np.array([[0, 1]]))
    with pytest.raises(InputError, match="2 folds need as many models, got 1"):
        segment_influence(
            cv, predictors=[np.sum], row=0, whole=np.zeros(2), without=np.zeros((1, 2))
        )
    with pytest.raises(InputError, match=r"must have shape \(n, 2\), got \(1, 3\)"):
        segment_influence(
            cv, predictors=[np.sum] * 2, row=0, whole=np.zeros(2), without=np.zeros((1, 3))
        )
