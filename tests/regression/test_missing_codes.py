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
from emoclip_clinical.regression.supplement import supplement


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


def told_of(design, **settings):
    """Return what the estimate and its supplement say of codes."""
    config = RegressionConfig(repeats=1, permutations=0, bootstrap=0, **settings)
    made = estimate(design, config=config, seed=0)
    return [w for w in (*made.warnings, *supplement(made).warnings) if "far from its other" in w]


@pytest.fixture
def coded(make_design):
    """Return a cohort with codes in columns of its baseline and subgroups, of its site and dose."""
    design = make_design(n_subjects=40, n_features=2)
    columns = {
        "age": np.arange(20.0, 60.0),
        "Sex": np.tile([1.0, 2.0], 20),
        "medication": np.tile(["yes", "no"], 20),
        "clinic": np.tile([1.0, 2.0, 3.0, 4.0], 10),
        "dose": np.linspace(1.0, 5.0, 40),
    }
    table = pd.DataFrame(columns)
    table.loc[[3, 7], "age"] = 999
    table.loc[5, "Sex"] = -9
    table.loc[9, "clinic"] = 99
    table.loc[11, "dose"] = -99
    return replace(design, covariates=table)


AGE = (
    "column 'age' holds 999 (2 visits), far from its other values (20 to 59); it is taken as a "
    "number: leave the cell empty if it stands for a missing value"
)
SEX = AGE.replace("'age' holds 999 (2 visits)", "'Sex' holds -9 (1 visit)").replace(
    "20 to 59", "1 to 2"
)


def test_covariates_that_nobody_named(coded):
    assert told_of(coded) == [AGE, SEX]


def test_each_column_is_told_once(coded):
    assert told_of(coded, confounds=("age",)) == [AGE, SEX]
    assert told_of(coded, confounds=("Sex", "age"), subgroups=("age",)) == [SEX, AGE]


def test_subgroups_and_sites(coded):
    sex, dose = told_of(coded, confounds=("Sex",), subgroups=("dose",))
    assert sex == SEX
    assert dose.startswith("column 'dose' holds -99 (1 visit)")
    *_, site = told_of(coded, site="clinic", cv="repeated_kfold")
    assert site == AGE.replace("'age' holds 999 (2 visits)", "'clinic' holds 99 (1 visit)").replace(
        "20 to 59", "1 to 4"
    ).replace("a number", "a site")
