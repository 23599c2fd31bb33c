"""Labels of values: as many as there are values, so that no two sites are taken for one."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.encoding import encode_covariates
from emoclip_clinical.regression.labels import label_of
from emoclip_clinical.regression.selection import selected_rows
from emoclip_clinical.regression.subgroups import level_names

CODES = [1100001.0, 1100002.0, 2100001.0, 2100002.0]
AWKWARD = [0.1 + 0.2, 0.3, 1 / 3, 1e-5, 123456.5, 123456.0, -7.0, 1e15, 1e15 + 1, 2.0**60, 1e22]


@pytest.mark.parametrize(
    ("value", "label"),
    [(1.0, "1"), (2.5, "2.5"), (-3.0, "-3"), (-0.0, "0"), (0.0, "0"), (1e-5, "1e-05"), ("x", "x"),
     (np.float64(2.5), "2.5"), (1100001.0, "1100001")],
)  # fmt: skip
def test_labels_are_short_where_values_are(value: object, label: str) -> None:
    assert label_of(value) == label


def test_different_values_have_different_labels() -> None:
    values = [*CODES, *AWKWARD, -0.0, 0.0, *np.random.default_rng(0).normal(size=500)]
    for a, b in itertools.combinations(map(float, values), 2):
        assert (label_of(a) == label_of(b)) == (a == b)
        assert float(label_of(a)) == a


def test_no_two_codes_become_one_level() -> None:
    column = pd.Series([*CODES, np.nan] * 3)
    assert set(level_names(column, name="site")) == {
        "1100001", "1100002", "2100001", "2100002", "missing",
    }  # fmt: skip
    made = encode_covariates(pd.DataFrame({"site": column}), names=["site"], categories=["site"])
    assert made.columns == tuple(f"site={code:.0f}" for code in CODES)
    assert made.values[made.complete].sum(axis=0).tolist() == [3, 3, 3, 3]
    with pytest.raises(InputError, match=r"the column has 1100001, 1100002, 2100001, 2100002$"):
        selected_rows(pd.DataFrame({"site": column}), {"site": 7}, ambiguous={})


@pytest.mark.parametrize("start", [0.0, 1100001.0, 5.0e9])
def test_every_value_lies_in_the_band_that_it_is_said_to(start: float) -> None:
    values = start + np.arange(31) / 4
    bands = level_names(pd.Series(values), name="dose")
    assert len(set(bands)) == 3
    for value, band in zip(values, bands, strict=True):
        words = band.split()
        if words[0] == "below":
            assert value < float(words[1])
        elif words[-1] == "above":
            assert value >= float(words[0])
        else:
            assert float(words[0]) <= value < float(words[-1])


def test_edges_of_bands_are_as_short_as_is_true() -> None:
    assert set(level_names(pd.Series(np.arange(30.0)), name="dose")) == {
        "below 9.66667", "9.66667 to below 19.3333", "19.3333 and above",
    }  # fmt: skip
