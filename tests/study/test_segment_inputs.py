"""Segments of the visits of a design, in the design's order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.study.protocol import Protocol, Study
from emoclip_clinical.study.segment_inputs import read_bags, reads_segments, segment_models


def test_bags_follow_the_visits(tmp_path):
    rng = np.random.default_rng(0)
    visits = [("sub-b", ""), ("sub-a", ""), ("sub-c", "")]
    rows = [
        {"participant_id": p, "session_id": s, "segment": k, "embedding": rng.normal(size=4)}
        for p, s in visits
        for k in range(3)
    ]
    rows[4]["embedding"] = None  # a segment without a face
    pd.DataFrame(rows).to_parquet(tmp_path / "embeddings.parquet")
    keys = pd.DataFrame(
        [("sub-a", "ses-1"), ("sub-b", "ses-1")], columns=["participant_id", "session_id"]
    )
    bags = read_bags(tmp_path / "embeddings.parquet", keys=keys)
    expected = [rows[i]["embedding"] for i in (3, 5, 0, 1, 2)]
    np.testing.assert_array_equal(bags.values, np.array(expected, dtype=np.float32))
    assert bags.starts.tolist() == [0, 2, 5]
    keys.loc[2] = ["sub-d", "ses-1"]
    with pytest.raises(InputError, match="1 visits have no embedding: sub-d_ses-1"):
        read_bags(tmp_path / "embeddings.parquet", keys=keys)


def test_an_infinite_value_is_refused_by_its_row(tmp_path):
    vectors = [np.zeros(4), None, np.zeros(4), np.array([0.0, 0.0, -np.inf, 0.0])]
    rows = pd.DataFrame({"participant_id": "sub-a", "session_id": "", "embedding": vectors})
    rows.assign(interview="sub-a", segment=range(4)).to_parquet(tmp_path / "embeddings.parquet")
    keys = pd.DataFrame({"participant_id": ["sub-a"], "session_id": [""]})
    for left_out in (None, {"sub-a": frozenset({0})}):
        with pytest.raises(InputError, match=r"'embedding' holds an infinite value \(row 5\)"):
            read_bags(tmp_path / "embeddings.parquet", keys=keys, left_out=left_out)
    bags = read_bags(tmp_path / "embeddings.parquet", keys=keys, left_out={"sub-a": frozenset({3})})
    assert bags.starts.tolist() == [0, 2]


def test_models_of_segments_come_from_the_protocol(tmp_path):
    protocol = Protocol.model_validate({"segment_models": {"epochs": [2, 4]}})
    models = segment_models(Study(tmp_path, protocol))
    assert [c["epochs"] for c in models["mlp_probe"].candidates] == [2.0, 4.0]
    assert models["attention_pooling"].make({"epochs": 2.0}, 7).seed == 7
    assert not reads_segments(RegressionConfig())
    assert reads_segments(RegressionConfig(compare=("attention_pooling",)))
