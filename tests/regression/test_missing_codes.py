"""Codes of missing values that are numbers are told, and never changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.features import read_features
from emoclip_clinical.regression.missing_codes import far_codes
from emoclip_clinical.regression.ratings import read_ratings


@pytest.mark.parametrize(
    ("values", "far"),
    [
        ([1, 2, 3, 7, -99, -9], [-99, -9]),
        ([20, 30, 40, 99], [99]),  # 59 above the highest, which lies 20 above the lowest
        ([20, 30, 60, 99], []),
        ([100, 100, 100, 99], []),
        ([5, 5, 5, 999], [999]),
        ([0.1, 0.2, 0.3, -9, np.nan], [-9]),
        ([1, 2, -99], []),
        ([-99, -98, -97, -100], []),
        ([-99, -99, -99], []),
        ([1, 2, 3, 98], []),
    ],
)
def test_only_a_code_that_stands_apart_is_told(values, far):
    values = np.array(values, dtype=float)
    assert values[far_codes(values)].tolist() == far


@pytest.fixture
def table(tmp_path):
    frame = pd.DataFrame({"participant_id": [f"p{k}" for k in range(8)], "score": 1.0, "N1": 3})
    frame["score"] = [1.5, 2, -99, 3, 4, -99, 5, 6]
    frame["f"] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 999]
    frame["g"] = range(8)
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    return path


SCORE = (
    "column 'score' holds -99 (rows 4, 7 of table.csv), far from its other values (1.5 to 6); "
    "it is taken as a number: leave the cell empty if it stands for a missing value"
)


def test_a_plain_target(table):
    rated = read_ratings(table, target="score")
    assert rated.warnings == (SCORE,)
    assert rated.values.tolist() == [1.5, 2, -99, 3, 4, -99, 5, 6]
    assert read_ratings(table, target="g").warnings == ()


def test_features(table):
    read = read_features(table, columns=["f", "g"])
    (warning,) = read.warnings
    assert warning.startswith("column 'f' holds 999 (row 9 of table.csv), far from")
    assert read.values["f"].iloc[-1] == 999


def test_confounds(make_design):
    design = make_design(n_subjects=30, n_features=2)
    age = np.arange(20.0, 50.0)
    age[[3, 7]] = -99
    design = replace(design, covariates=pd.DataFrame({"age": age}))
    config = RegressionConfig(repeats=1, permutations=0, bootstrap=0, confounds=("age",))
    (told,) = [w for w in estimate(design, config=config, seed=0).warnings if "-99" in w]
    assert told.startswith(
        "column 'age' holds -99 (2 visits), far from its other values (20 to 49)"
    )
