"""Features that a request brings, read as `predict` reads a file of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pandas as pd

from emoclip_clinical.records import (
    KEY_COLUMNS,
    FeatureTable,
    InputError,
    participant_label,
    session_label,
)
from emoclip_clinical.regression.estimator import FinalEstimator
from emoclip_clinical.regression.feature_rows import (
    interview_features,
    pooled_columns,
    visit_features,
)
from emoclip_clinical.tables import Table, limit_faults
from emoclip_clinical.tables.parquet import typed_table

NAME = "features"
"""What messages call the table."""

_RECORDING = ("interview", "n_ok", "status", "reason")


def sent_features(
    rows: pd.DataFrame, *, source: Mapping[str, object], fitted: FinalEstimator
) -> FeatureTable:
    """Take what an estimator needs out of the rows of a request.

    Rows of ``interviews.parquet``, told by its columns `n_ok` and `status` and by `source`, are
    averaged over the recordings of a visit, as `predict` does; all other rows are visits.

    Parameters
    ----------
    rows : DataFrame
        ``participant_id[, session_id]`` and features; what else it holds is left aside.
    source : mapping
        The content of ``features.json``; empty where the origin is not known.
    fitted : FinalEstimator
        Whose features are wanted.

    Raises
    ------
    InputError
        With every fault, by the numbers of rows, and no identifier among them.
    """
    pools = bool(source) and {"n_ok", "status"} <= set(rows.columns)
    wanted = {*KEY_COLUMNS, *fitted.feature_names}
    if pools:
        pooled = [column for column in pooled_columns(source) if column in rows]
        source = {**source, "pooled_features": pooled}
        wanted |= {*_RECORDING, *pooled}
    # What is not asked for can not be at fault.
    kept = rows[[column for column in rows.columns if column in wanted]]
    table = typed_table(kept, text=KEY_COLUMNS, name=NAME, first_row=1)
    faults = _key_faults(table, recordings=pools)
    if faults:
        raise InputError(faults)
    if pools:
        return interview_features(table, source)
    return visit_features(table, source=source, name=NAME)


def _key_faults(table: Table, *, recordings: bool) -> list[str]:
    if "participant_id" not in table.frame:
        return [f"{NAME}: column 'participant_id' is missing"]
    blank = [None] * len(table.rows)
    columns = [table.frame.get(c, pd.Series(blank)).tolist() for c in KEY_COLUMNS]
    names = table.frame["interview"].tolist() if "interview" in table.frame else blank
    rows_of: dict[tuple[object, ...], list[int]] = defaultdict(list)
    faults = []
    for number, (participant, session, name) in enumerate(zip(*columns, names, strict=True), 1):
        try:
            visit = (participant_label(participant or ""), session_label(session or ""))
        except InputError:
            faults.append(
                f"row {number} of {NAME}: participant_id, and session_id where there is one, must "
                "be letters, digits, '.', '+' and '-'"
            )
        else:
            rows_of[(*visit, name) if recordings else visit].append(number)
    twice = [
        f"rows {' and '.join(map(str, rows))} of {NAME} are of the same "
        f"{'recording' if recordings else 'visit'}; each is wanted once"
        for rows in rows_of.values()
        if len(rows) > 1
    ]
    return [*limit_faults(faults), *limit_faults(twice)]
