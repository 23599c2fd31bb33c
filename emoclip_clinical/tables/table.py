"""The record of a table as read, and what its readers share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

MISSING = frozenset({"", "n/a", "na", "nan"})
"""Cells that stand for a missing value, in lower case."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
FAULTS_SHOWN = 100
"""Faults of one kind that are listed before the rest is only counted."""
FEW_SHOWN = 3
"""The same of faults that one cause brings to every row or column: all have one remedy."""


@dataclass(frozen=True)
class Table:
    """A table as read, with what a message needs to name a place in it.

    Attributes
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
        Columns whose every value is a number are float64 with NaN where a value is missing; all
        others hold str, with None where a value is missing.
    rows : ndarray of int, shape (n_rows,)
        Row number in the file; the header is row 1.
    name : str
        File name without its folder; for messages to the user only.
    """

    frame: pd.DataFrame
    rows: np.ndarray
    name: str

    def place(self, index: int) -> str:
        """Return ``row <n> of <file>`` for a row position of `frame`."""
        return f"row {self.rows[index]} of {self.name}"

    def is_numeric(self, column: str) -> bool:
        """Say whether every value of a column is a number (a wholly missing column is not)."""
        return self.frame[column].dtype == np.float64


def is_number(cell: str) -> bool:
    """Say whether a cell's text is a number with a decimal point."""
    return _NUMBER.fullmatch(cell) is not None


def is_file(path: Path) -> bool:
    """Say whether there is a file; False too where that can not be known.

    `Path.is_file` raises for names that are too long and folders that may not be searched.
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def limit_faults(faults: Sequence[str], *, shown: int = FAULTS_SHOWN) -> list[str]:
    """Return at most some faults of one kind and a line that counts the others."""
    listed = list(faults[:shown])
    if len(faults) > shown:
        listed.append(f"... and {len(faults) - shown} more faults of this kind")
    return listed
