"""Names that several files of a phenotype folder have: equal columns, other ones, items twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import FeatureTable, InputError
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import join
from emoclip_clinical.regression.ratings import read_ratings

PEOPLE = list("abcdef")
ITEMS = [f"N{k}" for k in range(1, 8)]


def write(folder: Path, **tables: dict) -> Path:
    (folder / "phenotype").mkdir(exist_ok=True)
    for name, columns in tables.items():
        place = folder if name == "participants" else folder / "phenotype"
        frame = pd.DataFrame({"participant_id": PEOPLE, **columns})
        frame.to_csv(place / f"{name}.tsv", sep="\t", index=False, na_rep="n/a")
    return folder


def items(seed: int) -> dict[str, list[int]]:
    rng = np.random.default_rng(seed)
    return {item: rng.integers(1, 8, 6).tolist() for item in ITEMS}


def faults(folder: Path, **options) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_ratings(folder, **options)
    return list(caught.value.faults)


def test_participants_tsv_comes_first_and_equal_columns_are_one(tmp_path):
    write(
        tmp_path,
        panss=items(0),
        demographics={
            "age": [1, 2, 3, 4, 5, 6],
            "sex": list("ffmmff"),
            "iq": [None, 2, 3, 4, 5, 6],
        },
        tests={"iq": [1, 2, 3, 4, 5, 6], "height": [1, 2, 3, 4, 5, 6]},
        body={"height": [1, 2, 3, 4, 5, 7]},
        participants={"age": [1, 2, 3, 4, 5, 6], "sex": [2, 2, 1, 1, 2, 2]},
    )
    covariates = read_ratings(tmp_path, target="N1").covariates
    assert covariates["age"].tolist() == [1, 2, 3, 4, 5, 6]
    assert covariates["sex"].tolist() == [2, 2, 1, 1, 2, 2]
    assert covariates["demographics.sex"].tolist() == list("ffmmff")
    # What one file lacks stands in the other.
    assert covariates["iq"].tolist() == [1, 2, 3, 4, 5, 6]
    assert "height" not in covariates
    assert read_ratings(tmp_path, target="iq").values.tolist() == [1, 2, 3, 4, 5, 6]
    # A rating is never chosen among files that differ.
    assert faults(tmp_path, target="sex") == [
        "target 'sex' stands in several files: write one of demographics.sex, participants.sex"
    ]
    assert faults(tmp_path, target="N1", where={"height": 7}) == [
        "selection height=7: the column stands in several files: write one of body.height, "
        "tests.height"
    ]
    assert len(read_ratings(tmp_path, target="N1", where={"sex": 1}).values) == 2


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"confounds": ("height",)}, "confound 'height'"),
        ({"site": "height"}, "site"),
        ({"subgroups": ("height",)}, "subgroups"),
    ],
)
def test_settings_that_name_a_column_of_several_files(tmp_path, setting, said):
    heights = [{"height": [k, 2, 3, 4, 5, 6]} for k in range(2)]
    write(tmp_path, panss=items(0), body=heights[0], tests=heights[1])
    rated = read_ratings(tmp_path, target="N1")
    keys, nobody = rated.keys, rated.excluded[:0]
    design = join(FeatureTable(keys, pd.DataFrame({"f": np.arange(6.0)}), nobody), rated)
    with pytest.raises(InputError) as caught:
        estimate(design, config=RegressionConfig(folds=2, inner_folds=2, **setting), seed=0)
    assert list(caught.value.faults) == [
        f"{said}: 'height' stands in several files: write body.height or tests.height"
    ]
    shorter = replace(design, covariates=design.covariates.drop(columns="body.height"))
    with pytest.raises(InputError, match=r"tests\.height"):
        estimate(shorter, config=RegressionConfig(folds=2, inner_folds=2, **setting), seed=0)


def test_a_scale_that_two_files_hold_can_be_asked_for(tmp_path):
    first, second = items(0), items(1)
    write(tmp_path, panss=first, panss2=second)
    assert faults(tmp_path, target="N1") == [
        "target 'N1' stands in several files: write one of panss.N1, panss2.N1"
    ]
    one, other = (read_ratings(tmp_path, target=f"{stem}.N1") for stem in ("panss", "panss2"))
    assert (one.target, one.items, one.maximum) == ("panss.N1", ("N1",), 7)
    assert (other.target, other.items, other.maximum) == ("panss2.N1", ("N1",), 7)
    assert one.values.tolist() == first["N1"]
    assert other.values.tolist() == second["N1"]
    both = read_ratings(tmp_path, target="panss2.N1+panss2.N6")
    assert (both.target, both.maximum) == ("panss2.N1+panss2.N6", 14)
    assert both.values.tolist() == np.add(second["N1"], second["N6"]).tolist()
    twice = read_ratings(tmp_path, target="panss.N1 + panss2.N1")
    assert twice.values.tolist() == np.add(first["N1"], second["N1"]).tolist()
    found = faults(tmp_path, target="marder_negative")
    assert found[0] == (
        "target panss.marder_negative: column 'N1' stands in several files: write one of panss.N1, "
        "panss2.N1, or give one file alone as the ratings"
    )
    # The general items are in no file.
    assert found[-1].endswith("column 'G16' is missing from the ratings")
    second["N1"][3] = 99
    write(tmp_path, panss2=second)
    assert faults(tmp_path, target="panss2.N1") == [
        "item N1 must be an integer from 1 to 7, got 99 (participant 'd', row 5 of panss2.tsv)"
    ]
    alone = read_ratings(tmp_path / "phenotype" / "panss.tsv", target="negative_symptoms")
    assert alone.values.tolist() == np.sum(list(first.values()), axis=0).tolist()


def test_age_and_gender_of_a_real_folder_are_those_of_its_participants(assets):
    folder = assets / "ratings" / "ds000030"
    rated = read_ratings(folder, target="sans_ds000030.composite")
    people = pd.read_csv(folder / "participants.tsv", sep="\t").set_index("participant_id")
    people = people.loc[rated.keys["participant_id"]]
    assert rated.covariates["age"].tolist() == people["age"].tolist()
    assert rated.covariates["gender"].tolist() == people["gender"].tolist()
