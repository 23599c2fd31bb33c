"""The real SANS, SAPS and BPRS of OpenNeuro ds000030, read as they are, against pandas by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import join
from emoclip_clinical.regression.features import read_features
from emoclip_clinical.regression.ratings import read_ratings, validate_ratings
from emoclip_clinical.regression.scoring import RatingRules

GLOBALS = {"sans": [7, 11, 16, 21, 24], "saps": [7, 20, 25, 34, 35]}


@pytest.fixture(scope="module")
def folder(assets):
    return assets / "ratings" / "ds000030"


def raw(folder, name):
    return pd.read_csv(folder / "phenotype" / f"{name}.tsv", sep="\t", na_values="n/a")


def by_person(ratings):
    return pd.Series(ratings.values, index=ratings.keys["participant_id"])


@pytest.mark.parametrize(("scale", "n_items"), [("sans", 24), ("saps", 35)])
def test_composite_and_summary_equal_sums_by_hand(folder, scale, n_items):
    frame = raw(folder, scale).set_index("participant_id")
    is_global = GLOBALS[scale]
    for name, numbers in (
        ("composite", [k for k in range(1, n_items + 1) if k not in is_global]),
        ("summary", is_global),
    ):
        ratings = read_ratings(folder, target=f"{scale}_ds000030.{name}")
        wanted = frame[[f"{scale}{k}" for k in numbers]].dropna().sum(axis=1).sort_index()
        pd.testing.assert_series_equal(
            by_person(ratings), wanted, check_names=False, check_index_type=False
        )
        incomplete = ratings.excluded[ratings.excluded["reason"].str.startswith("rating incompl")]
        assert len(wanted) + len(incomplete) > 98
        assert len(wanted) + len(ratings.excluded) == 272


@pytest.mark.parametrize(
    ("target", "column"),
    [
        ("sans_ds000030.affective_flattening_mean", "factor_bluntaffect"),
        ("sans_ds000030.alogia_mean", "factor_alogia"),
        ("sans_ds000030.avolition_mean", "factor_avolition"),
        ("sans_ds000030.anhedonia_mean", "factor_anhedonia"),
        ("sans_ds000030.attention_mean", "factor_attention"),
        ("saps_ds000030.hallucinations_mean", "factor_hallucinations"),
        ("saps_ds000030.delusions_mean", "factor_delusions"),
        ("saps_ds000030.bizarre_behaviour_mean", "factor_bizarrebehav"),
        ("saps_ds000030.formal_thought_disorder_mean", "factor_posformalthought"),
    ],
)
def test_means_equal_the_factor_columns_of_the_data_set(folder, target, column):
    # Its authors' own averages, written with seven digits: an answer that is not ours.
    ours, theirs = (by_person(read_ratings(folder, target=t)) for t in (target, column))
    np.testing.assert_allclose(ours, theirs[ours.index], rtol=0, atol=1e-6)
    assert len(ours) > 95


def test_the_numbering_of_the_25_items_is_refused(folder):
    with pytest.raises(InputError, match="column 'SANS25' is missing"):
        read_ratings(folder, target="sans.summary")
    with pytest.raises(InputError, match="in sans that is SANS8, and SANS7 is 'lack of vocal"):
        read_ratings(folder, target="sans.SANS7")
    with pytest.raises(InputError, match=r"calls sans6 .*14 more columns alike"):
        read_ratings(folder, target="sans.composite")
    with pytest.raises(InputError, match="there is a column 'saps35', which saps"):
        read_ratings(folder, target="saps.composite")
    with pytest.raises(InputError, match=r"its side-car calls bprs6 '6\. Hostility'"):
        read_ratings(folder, target="bprs_18.total")
    with pytest.raises(InputError, match="factor_alogia is derived"):
        read_ratings(folder, target="sans_ds000030.SANS1+factor_alogia")
    with pytest.raises(InputError, match=r"may mean sans\.SANS1, sans_ds000030\.SANS1"):
        read_ratings(folder, target="sans1")


def test_everything_in_the_folder_is_in_order(folder):
    assert validate_ratings(folder) == []


def test_bprs_with_one_missing_item_is_left_out_or_prorated(folder):
    where = {"diagnosis": "SCHZ"}
    total = read_ratings(folder, target="bprs_24.total", where=where)
    assert len(total.values) == 49
    rules = RatingRules(missing_items="prorate")
    prorated = read_ratings(folder, target="bprs_24.total", where=where, rules=rules)
    assert (len(prorated.values), prorated.prorated.sum()) == (50, 1)
    frame = raw(folder, "bprs").set_index("participant_id")
    frame = frame[[f"bprs{k}" for k in range(1, 25)]].loc[by_person(prorated).index]
    np.testing.assert_allclose(prorated.values, frame.mean(axis=1) * 24)


def test_sans_from_bprs_and_age_equals_an_independent_script(folder, tmp_path):
    people = pd.read_csv(folder / "participants.tsv", sep="\t")
    bprs = [f"bprs{k}" for k in range(1, 25)]
    table = raw(folder, "bprs")[["participant_id", *bprs]].merge(
        people[["participant_id", "age", "diagnosis"]]
    )
    table.drop(columns="diagnosis").to_csv(tmp_path / "features.csv", index=False, na_rep="n/a")
    ratings = read_ratings(folder, target="sans_ds000030.composite", where={"diagnosis": "SCHZ"})
    assert len(ratings.values) == 50
    design = join(read_features(tmp_path / "features.csv", impute="median"), ratings)
    config = RegressionConfig(
        cv="leave_one_subject_out", alphas=(50.0,), permutations=0, bootstrap=0, impute="median"
    )
    found = estimate(design, config=config, seed=0).cross_validation

    sans = [f"sans{k}" for k in range(1, 25) if k not in GLOBALS["sans"]]
    rows = (
        table[table["diagnosis"] == "SCHZ"].merge(raw(folder, "sans")).sort_values("participant_id")
    )
    assert len(rows) == 50
    X, y = rows[[*bprs, "age"]].to_numpy(), rows[sans].sum(axis=1).to_numpy()
    kept = [k for k in range(X.shape[1]) if len(np.unique(table[[*bprs, "age"]].iloc[:, k])) > 1]
    wanted = []
    for i in range(50):
        train = np.arange(50) != i
        medians = np.nanmedian(X[train], axis=0)
        filled = np.where(np.isnan(X), medians, X)[:, kept]
        model = make_pipeline(StandardScaler(), Ridge(alpha=50.0)).fit(filled[train], y[train])
        wanted.append(model.predict(filled[[i]])[0])
    np.testing.assert_array_equal(found.observed, y)
    np.testing.assert_allclose(found.predicted[0], wanted, rtol=0, atol=1e-8)
