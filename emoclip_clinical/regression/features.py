"""Features of the visits: from the folder that ``extract`` writes, or from any table with keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from emoclip_clinical.records import FeatureTable, InputError
from emoclip_clinical.regression.feature_files import read_feature_files
from emoclip_clinical.regression.feature_rows import Amend, absent_columns, excluded_visits
from emoclip_clinical.tables import limit_faults

ImputeRule = Literal["none", "median"]


def read_features(
    path: str | Path,
    *,
    columns: Sequence[str] = (),
    impute: ImputeRule = "none",
    amend: Amend | None = None,
) -> FeatureTable:
    """Read features, one row a visit.

    Parameters
    ----------
    path : path
        The folder that ``extract`` writes, its ``embeddings.parquet`` (averaged over the segments
        of a visit), or a CSV, TSV, Excel or Parquet table with ``participant_id`` and, where there
        are several visits, ``session_id``.
    columns : sequence of str
        Patterns (with ``*``, ``?``, ``[]``) of the columns to use; empty means the pooled features
        of the folder, or all numeric columns of the table.
    impute : {'none', 'median'}
        `median` keeps visits with missing values, as NaN, for the folds to fill in.
    amend : callable, optional
        Changes the rows of a folder's interviews first; see `Amend`.

    Returns
    -------
    FeatureTable
        Columns that are empty, constant, or the copy of another are left out and named in
        `warnings`. Visits without any value, and without `impute` those with a missing value,
        stand in `excluded` with the reason.

    Raises
    ------
    InputError
        With every fault of the table.
    """
    table, name = read_feature_files(Path(path), columns=columns, amend=amend)
    return _usable_rows(_screened(table, file=name), impute, name)


def read_same_features(
    path: str | Path,
    *,
    names: Sequence[str],
    impute: ImputeRule = "none",
    amend: Amend | None = None,
) -> FeatureTable:
    """Read the named features of other visits, as a fitted estimator needs them.

    Nothing is left out for being constant: one visit may be all there is.

    Parameters
    ----------
    path : path
        As for `read_features`.
    names : sequence of str
        The columns, in the order that is wanted.
    impute : {'none', 'median'}
    amend : callable, optional
        Changes the rows of a folder's interviews first; see `Amend`.

    Raises
    ------
    InputError
        Naming every column that is missing or not numeric.
    """
    table, name = read_feature_files(Path(path), columns=(), needed=names, amend=amend)
    return same_features(table, names=names, impute=impute, file=name)


def same_features(
    table: FeatureTable, *, names: Sequence[str], impute: ImputeRule, file: str
) -> FeatureTable:
    """Take the named features out of a table, as a fitted estimator needs them.

    Parameters
    ----------
    table : FeatureTable
        Has these columns, and maybe others.
    names : sequence of str
        The columns, in the order that is wanted.
    impute : {'none', 'median'}
    file : str
        What messages call the table.

    Raises
    ------
    InputError
        Naming every column that is missing or not numeric.
    """
    absent = [n for n in names if n not in table.values]
    if absent:
        raise InputError(absent_columns(absent, file=file))
    return _usable_rows(replace(table, values=table.values[list(names)], warnings=()), impute, file)


def _screened(table: FeatureTable, *, file: str) -> FeatureTable:
    """Leave out columns that say nothing, or nothing new, and add a warning that names them."""
    values, warnings = table.values, list(table.warnings)
    empty = [str(c) for c in values.columns if values[c].isna().all()]
    left = values.drop(columns=empty)
    constant = [] if len(left) < 2 else [str(c) for c in left.columns if left[c].nunique() < 2]
    left = left.drop(columns=constant)
    copies = _copies(left)
    for what, found in (("they are empty", empty), ("they are constant", constant)):
        if found:
            warnings.append(f"feature columns left out because {what}: {', '.join(found)}")
    if copies:
        pairs = ", ".join(f"{copy} (of {first})" for copy, first in copies.items())
        warnings.append(f"feature columns left out because they are copies: {pairs}")
    left = left.drop(columns=list(copies))
    if left.shape[1] == 0:
        raise InputError([f"{file}: there is no numeric feature column that varies", *warnings])
    return replace(table, values=left, warnings=tuple(warnings))


def _copies(values: pd.DataFrame) -> dict[str, str]:
    """Return the columns that equal an earlier one in every row, with that one."""
    first: dict[bytes, str] = {}
    copies: dict[str, str] = {}
    for name in values.columns:
        # Adding 0 makes -0 and 0 the same bytes; NaN is always written alike.
        numbers = values[name].to_numpy(dtype=np.float64) + 0.0
        content = np.where(np.isnan(numbers), np.nan, numbers).tobytes()
        if content in first:
            copies[str(name)] = first[content]
        else:
            first[content] = str(name)
    return copies


def _usable_rows(table: FeatureTable, impute: ImputeRule, file: str) -> FeatureTable:
    """Leave out visits without a value, and without imputation those that lack one."""
    if table.keys.empty and not table.excluded.empty:
        reasons = sorted(set(table.excluded["reason"]))
        raise InputError(limit_faults([f"{file}: no visit can be used: {r}" for r in reasons]))
    missing = table.values.isna()
    lacking = missing.all(axis=1) if impute == "median" else missing.any(axis=1)
    if lacking.all():
        worst = missing.mean().sort_values(ascending=False, kind="stable").head(5)
        raise InputError(
            f"{file}: no visit has a value in every feature column; most often missing: "
            + (", ".join(f"{c} ({share:.0%})" for c, share in worst.items()) or "there is no visit")
        )
    reasons = [
        _missing_text(missing.columns[row].tolist()) if left_out else ""
        for row, left_out in zip(missing.to_numpy(), lacking, strict=True)
    ]
    kept = ~lacking.to_numpy()
    warnings = [*table.warnings]
    filled = int(missing[kept].to_numpy().sum())
    if filled:
        warnings.append(
            f"{filled} missing feature values in {int(missing[kept].any(axis=1).sum())} visits are "
            "filled in with medians of the training subjects, inside each fold"
        )
    return replace(
        table,
        keys=table.keys[kept].reset_index(drop=True),
        values=table.values[kept].reset_index(drop=True),
        excluded=pd.concat(
            [table.excluded, excluded_visits(table.keys, reasons)], ignore_index=True
        ),
        warnings=tuple(limit_faults(warnings)),
    )


def _missing_text(columns: list[str]) -> str:
    if not columns:
        return ""
    more = f" and {len(columns) - 3} more" if len(columns) > 3 else ""
    return f"feature missing: {', '.join(columns[:3])}{more}"
