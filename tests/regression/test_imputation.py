from __future__ import annotations

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emoclip_clinical.regression.imputation import both_filled, filled, training_medians
from emoclip_clinical.regression.ridge import decompose, prediction_matrices


def test_medians_are_those_of_the_training_rows_alone():
    X = np.array([[1.0, np.nan, 5.0], [3.0, np.nan, np.nan], [8.0, np.nan, 7.0]])
    medians = training_medians(X)
    assert medians.tolist() == [3, 0, 6]
    new = np.array([[np.nan, 2.0, np.nan]])
    assert filled(new, medians).tolist() == [[3, 2, 6]]


def test_both_are_filled_from_the_training_rows():
    X, new = np.array([[1.0, 4.0], [3.0, 6.0]]), np.array([[np.nan, 9.0]])
    whole, filled_new = both_filled(X, new)
    assert whole is X
    assert filled_new.tolist() == [[2, 9]]
    whole, filled_new = both_filled(np.array([[1.0, np.nan], [3.0, 6.0]]), np.array([[0.0, 9.0]]))
    assert whole.tolist() == [[1, 6], [3, 6]]
    assert filled_new.tolist() == [[0, 9]]


def test_ridge_with_missing_values_equals_a_pipeline_of_scikit_learn():
    rng = np.random.default_rng(0)
    for p in (3, 40):  # primal and dual form
        # Missing values in training and test rows, in the one alone, in the other alone.
        for share_train, share_test in ((0.2, 0.2), (0.2, 0.0), (0.0, 0.2)):
            X, y, new = rng.normal(size=(24, p)), rng.normal(size=24), rng.normal(size=(6, p))
            X[rng.random(X.shape) < share_train] = np.nan
            new[rng.random(new.shape) < share_test] = np.nan
            matrix = prediction_matrices(decompose(X, weight=np.ones(24)), new, alphas=[3.0])[0]
            plain = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), Ridge(3.0))
            np.testing.assert_allclose(matrix @ y, plain.fit(X, y).predict(new), atol=1e-10)
