"""Rows that a request brings, from JSON or from an Arrow stream to a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from emoclip_clinical.regression.feature_rows import EMBEDDING
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.desk import Wanted
from emoclip_clinical.serving.estimate_schemas import FeaturesRequest, FeaturesRow
from emoclip_clinical.serving.json_bodies import parse_json
from emoclip_clinical.serving.problems import Problem

MOST_COLUMNS = 20_000
"""Of JSON; as many as an Arrow stream may have."""
_SOURCE = b"source"
_SOURCES: TypeAdapter[dict[str, Any] | None] = TypeAdapter(dict[str, Any] | None)


@dataclass(frozen=True)
class SentRows:
    """What a request brings.

    Attributes
    ----------
    rows : DataFrame
        At least one row.
    source : mapping
        The content of ``features.json``; empty where the origin is not known.
    """

    rows: pd.DataFrame
    source: Mapping[str, Any]


def json_rows(content: bytes, *, config: ServingConfig, wanted: Wanted) -> SentRows:
    """Read a JSON body.

    Parameters
    ----------
    content : bytes
        See `FeaturesRequest`.
    config : ServingConfig
        How many rows and cells there may be.
    wanted : callable
        See `Wanted`.

    Raises
    ------
    Problem
        400 for what is no JSON, 413 for too many rows, 422 with every fault.
    """
    sent = parse_json(content, FeaturesRequest, check=partial(_check_rows, most=config.max_rows))
    wanted()
    return SentRows(_frame(sent.features, config=config), sent.source or {})


def arrow_rows(table: pa.Table, *, config: ServingConfig) -> SentRows:
    """Take the rows of a table, and what its schema's metadata say of them.

    Raises
    ------
    Problem
        413 for metadata that are too large, 422 for those that are no JSON, and without a row.
    """
    if table.num_rows == 0:
        raise Problem(422, "features: at least one row was wanted")
    text = (table.schema.metadata or {}).get(_SOURCE, b"null")
    if len(text) > config.max_json_bytes:
        raise Problem(
            413,
            f"source in the schema's metadata may have at most {config.max_json_bytes} bytes",
        )
    try:
        source = _SOURCES.validate_json(text) or {}
    except ValidationError:
        raise Problem(
            422, "source in the schema's metadata must be the content of features.json, as JSON"
        ) from None
    return SentRows(table.to_pandas(), source)


def _check_rows(body: object, *, most: int) -> None:
    rows = body.get("features") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        # Which the schema has a word for.
        return
    if len(rows) > most:
        raise Problem(413, f"features: at most {most} rows were wanted, got {len(rows)}")
    if any(isinstance(row, dict) and isinstance(row.get(EMBEDDING), list) for row in rows):
        raise Problem(
            422,
            f"features: embeddings are taken as an Arrow stream with a column {EMBEDDING!r}, "
            "not as JSON",
        )


def _frame(features: Sequence[FeaturesRow], *, config: ServingConfig) -> pd.DataFrame:
    """Return rows as a table; each may have columns that no other has."""
    rows = [row.model_dump() for row in features]
    n_columns = len(set().union(*rows))
    if n_columns > MOST_COLUMNS:
        # To lay them out takes longer the more there are, even with a single row.
        raise Problem(
            413, f"features: at most {MOST_COLUMNS} different columns fit, got {n_columns}"
        )
    # A row that has every column takes more bytes of the body than this.
    most = config.max_json_bytes // 4
    if len(rows) * n_columns > most:
        raise Problem(
            413,
            f"features: {len(rows)} rows with {n_columns} different columns between them are "
            f"too many; at most {most} cells fit",
        )
    return pd.DataFrame([{name: _cell(value) for name, value in row.items()} for row in rows])


def _cell(value: object) -> object:
    # To pandas a column of truth values is one of numbers; in a text file it is text.
    return str(value) if isinstance(value, bool) else value
