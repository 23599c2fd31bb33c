"""Segments of the visits, and the models that read them, for `regress`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS, InputError, InterviewKey, SegmentBags
from emoclip_clinical.regression.config import ModelName, RegressionConfig
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.models.base import Model
from emoclip_clinical.regression.models.catalogue import CATALOGUE
from emoclip_clinical.regression.models.search import BagModel
from emoclip_clinical.study.left_out import left_out_segments
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.tables.parquet import damage_told, infinite_faults

EMBEDDINGS = "embeddings.parquet"
_ROW = "row of the file"


def reads_segments(config: RegressionConfig) -> bool:
    """Say whether a model of these settings reads segments."""
    return any(CATALOGUE[name].needs_segments for name in (config.model, *config.compare))


def segment_inputs(
    study: Study, features: Path, design: Design
) -> tuple[SegmentBags | None, dict[ModelName, Model] | None]:
    """Return the segments of a design's visits and the models of segments, if any is asked for.

    Parameters
    ----------
    study : Study
    features : Path
        The folder that extract wrote.
    design : Design

    Raises
    ------
    InputError
        If the features are a table, or a visit has no embeddings.
    """
    if not reads_segments(study.protocol.regression):
        return None, None
    if not (features / EMBEDDINGS).is_file():
        raise InputError(
            "models of segments read the folder that extract writes, with its "
            f"{EMBEDDINGS}; it is not there"
        )
    left_out = left_out_segments(study, features).segments
    bags = read_bags(features / EMBEDDINGS, keys=design.keys, left_out=left_out)
    return bags, segment_models(study)


def read_bags(
    path: Path, *, keys: pd.DataFrame, left_out: Mapping[str, frozenset[int]] | None = None
) -> SegmentBags:
    """Read the embeddings of some visits.

    Parameters
    ----------
    path : Path
        ``embeddings.parquet``.
    keys : DataFrame of shape (n_visits, 2)
    left_out : mapping of str to frozenset of int, optional
        Numbers of segments that do not count, by interview.

    Raises
    ------
    InputError
        Naming the visits that have none, and the row of an infinite value.
    """
    columns = list(KEY_COLUMNS)
    places = ["interview", "segment"] if left_out else []
    with damage_told(path):
        table = pd.read_parquet(path, columns=[*columns, *places, "embedding"])
    table[_ROW] = np.arange(len(table)) + 2  # as a spreadsheet counts them
    table = table.dropna(subset=["embedding"])
    if left_out:
        pairs = [(name, number) for name, numbers in left_out.items() for number in numbers]
        gone = pd.MultiIndex.from_frame(table[places]).isin(pairs)
        table = table[~gone].reset_index(drop=True)
    table[columns] = table[columns].fillna("")
    if (keys["session_id"] != "").any() and (table["session_id"] == "").all():
        columns = ["participant_id"]
    rows = table.groupby(columns, sort=False).indices
    wanted = [
        key if len(key) > 1 else key[0] for key in keys[columns].itertuples(index=False, name=None)
    ]
    missing = [
        InterviewKey(*key).name
        for key, known in zip(
            keys[list(KEY_COLUMNS)].itertuples(index=False, name=None), wanted, strict=True
        )
        if known not in rows
    ]
    if missing:
        shown = ", ".join(missing[:10])
        raise InputError(f"{EMBEDDINGS}: {len(missing)} visits have no embedding: {shown}")
    values = np.stack(table["embedding"].tolist()).astype(np.float32)
    numbers = table[_ROW].to_numpy()
    if infinite := infinite_faults(values, rows=numbers, column="embedding", name=EMBEDDINGS):
        raise InputError(infinite)
    order = [rows[key] for key in wanted]
    starts = np.concatenate([[0], np.cumsum([len(r) for r in order])])
    return SegmentBags(values[np.concatenate(order)], starts)


def segment_models(study: Study) -> dict[ModelName, Model]:
    """Return the models of segments with the study's settings."""
    from emoclip_clinical.core.estimators.attention_pooling import make_attention_pooling
    from emoclip_clinical.core.estimators.mlp_probe import make_mlp_probe

    config = study.protocol.segment_models
    candidates = tuple({"epochs": float(n)} for n in config.epochs)
    return {
        "mlp_probe": BagModel(candidates, make_mlp_probe(config), joint=config.joint),
        "attention_pooling": BagModel(
            candidates, make_attention_pooling(config), joint=config.joint
        ),
    }
