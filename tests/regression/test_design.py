from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import FeatureTable, InputError, Ratings
from emoclip_clinical.regression.design import join


def visits(*names):
    split = [(f"sub-{n.partition('/')[0]}", n.partition("/")[2]) for n in names]
    split = [(p, f"ses-{s}" if s else "") for p, s in split]
    return pd.DataFrame(split, columns=["participant_id", "session_id"], dtype=object)


def left_out(**reasons):
    names = [n.replace("_", "/") for n in reasons]
    return visits(*names).assign(reason=list(reasons.values()))


def features(*names, **excluded):
    values = np.random.default_rng(0).normal(size=(len(names), 2))
    frame = pd.DataFrame(values, columns=["u", "v"])
    return FeatureTable(visits(*names), frame, left_out(**excluded), {"model": "m"}, ("w1",))


def ratings(*names, **excluded):
    return Ratings(
        target="panss.N1",
        items=("N1",),
        keys=visits(*names),
        values=np.arange(1.0, len(names) + 1),
        minimum=1,
        maximum=7,
        excluded=left_out(**excluded),
        covariates=pd.DataFrame({"age": range(len(names))}),
        warnings=("w2",),
    )


def test_rows_are_matched_and_weighted():
    f, r = features("b/2", "a/1", "b/1", "c/1"), ratings("b/1", "a/1", "b/2", "d/1")
    design = join(f, r)
    wanted = [["sub-a", "ses-1"], ["sub-b", "ses-1"], ["sub-b", "ses-2"]]
    assert design.keys.to_numpy().tolist() == wanted
    assert design.y.tolist() == [2, 1, 3]
    np.testing.assert_array_equal(design.X, f.values.to_numpy()[[1, 2, 0]])
    assert design.subjects.tolist() == [0, 1, 1]
    assert design.weights.tolist() == [1, 0.5, 0.5]
    assert design.covariates["age"].tolist() == [1, 0, 2]
    assert (design.n_subjects, design.n_excluded, design.source) == (2, 2, {"model": "m"})
    assert design.warnings == (
        "w1",
        "w2",
        "1 visit with a rating and no features: sub-d_ses-1",
        "1 visit with features and no rating: sub-c_ses-1",
    )


def test_who_is_not_in_it_and_why():
    f = features("a", "b", "c", "h", d="no_face", e="no_face", i="no_face")
    r = ratings("a", "d", "g", b="N1 is missing", c="not selected: outside x=1", i="N1 is missing")
    design = join(f, r)
    table = design.excluded.drop(columns="session_id").to_numpy().tolist()
    assert table == [
        ["sub-b", "rating", "N1 is missing"],
        ["sub-c", "not selected", "outside x=1"],
        ["sub-d", "features", "no_face"],
        ["sub-e", "no rating", "features without a rating"],
        ["sub-g", "no features", "rating without features"],
        ["sub-h", "no rating", "features without a rating"],
        ["sub-i", "rating", "N1 is missing"],
    ]
    assert design.n_excluded == 6
    assert design.flow.set_index("step")["visits"].to_dict() == {
        "in the features or the ratings": 8,  # a, b, c, d, e, g, h, i
        "with a rating": 6,  # less e, h
        "selected": 5,  # less c
        "with a complete rating": 3,  # less b, i
        "with features": 2,  # less g
        "with usable features": 1,  # less d
        "in the analysis": 1,
    }
    assert design.flow["participants"].tolist() == design.flow["visits"].tolist()


def test_sessions_on_one_side_only():
    for f, r in (
        (features("a/1", "b/2"), ratings("a", "b", "c")),
        (features("a", "b", d="x"), ratings("a/1", "b/2", "c/1")),
    ):
        design = join(f, r)
        assert design.keys.to_numpy().tolist() == [["sub-a", "ses-1"], ["sub-b", "ses-2"]]
    with pytest.raises(InputError) as caught:
        join(features("a/1", "a/2", "b/1"), ratings("a", "b"))
    assert caught.value.faults == (
        "session_id stands in the features and not in the ratings, and participants have several "
        "visits in the features (1 of them, for example sub-a): add session_id to the ratings, or "
        "keep one visit a participant",
    )


def test_nothing_in_common():
    with pytest.raises(InputError) as caught:
        join(features("a1", "a2", "a3", "a4"), ratings("b1", "b2"))
    assert str(caught.value) == (
        "features and ratings have no visit in common: features have sub-a1, sub-a2, sub-a3; "
        "ratings have sub-b1, sub-b2"
    )


@pytest.mark.parametrize(
    ("recorded", "rated", "said"),
    [
        (
            ("070", "100", "130"),
            ("70", "100", "130"),
            "1 participant of the ratings differs from those of the features only by leading zeros "
            "(sub-70 in the ratings, sub-070 in the features)",
        ),
        (("S1", "b"), ("s1", "b"), "only by capitals (sub-s1 in the ratings, sub-S1 in"),
        (("1", "b"), ("1.0", "b"), "only by a trailing .0 (sub-1.0 in the ratings, sub-1 in"),
        (("01", "02"), ("1", "2.0"), "2 participants of the ratings differ"),
        (("01", "02"), ("1", "2.0"), "only by a trailing .0 and leading zeros (sub-1 in"),
        (("a/01", "b/1"), ("a/1", "b/1"), "1 visit of the ratings differs from those of the "),
        (("a/01", "b/1"), ("a/1", "b/1"), "(sub-a_ses-1 in the ratings, sub-a_ses-01 in the"),
        # Sessions of one side only, and of one who has no usable rating.
        (("070/1", "100/1"), ("70", "100"), "(sub-70 in the ratings, sub-070 in the features)"),
    ],
)
def test_identifiers_that_a_spreadsheet_has_changed(recorded, rated, said):
    with pytest.raises(InputError) as caught:
        join(features(*recorded), ratings(*rated))
    assert said in str(caught.value)
    nobody = not set(recorded) & set(rated) and "/" not in recorded[0]
    assert ("no visit in common" in str(caught.value)) == nobody


def test_other_identifiers_are_other_people():
    # 10 is not 1, 0 is not nobody, and both spellings of one side are two people.
    design = join(features("10", "0", "a1", "7", "07"), ratings("1", "00.1", "a01", "7", "07"))
    assert design.keys["participant_id"].tolist() == ["sub-07", "sub-7"]


def test_features_that_are_the_rating_are_refused():
    names = [f"p{k:02d}" for k in range(12)]
    f, r = features(*names), ratings(*names)
    copied = f.values.assign(N1=0.0, copy=-2 * r.values + 3)
    copied.loc[0, "N1"] = 1.0
    with pytest.raises(InputError) as caught:
        join(replace(f, values=copied), r)
    assert caught.value.faults == (
        "feature 'N1' is the target or one of its items",
        "feature 'copy' repeats the target (|r| = 1.0000)",
    )
    # With few rows such a correlation comes by chance and is let through.
    few = replace(f, keys=f.keys[:5], values=copied[["copy"]][:5])
    assert len(join(few, r).y) == 5


def test_a_feature_that_is_an_item_of_the_sum_is_refused():
    names = [f"p{k:02d}" for k in range(12)]
    rng = np.random.default_rng(3)
    items = pd.DataFrame(rng.integers(1, 8, (12, 2)).astype(float), columns=["n1", "N2"])
    r = replace(
        ratings(*names),
        target="panss.N1+N2",
        items=("N1", "N2"),
        values=items.sum(axis=1).to_numpy(),
        covariates=items.assign(age=np.arange(12.0)),
    )
    f = features(*names)
    told = f.values.assign(N2=1.0, hidden=3 - items["n1"], age=np.arange(12.0))
    told.loc[0, "N2"] = 2.0
    told.loc[3, "hidden"] = np.nan
    with pytest.raises(InputError) as caught:
        join(replace(f, values=told), r)
    assert caught.value.faults == (
        "feature 'N2' is the target or one of its items",
        "feature 'hidden' repeats the item n1 (|r| = 1.0000)",
    )
    # A covariate that is no item may be a feature.
    assert "age" in join(replace(f, values=told.drop(columns=["N2", "hidden"])), r).feature_names
