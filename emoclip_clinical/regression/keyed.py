"""Tables whose rows are visits: participant and session identifiers, checked and made canonical."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS, InputError, participant_label, session_label
from emoclip_clinical.tables import Table, called_otherwise, limit_faults

RATER = "rater_id"
LARGEST_NUMBER = 1e50
"""Numbers beyond this are no measurements, and their fourth powers would not be finite."""


@dataclass(frozen=True)
class KeyedTable:
    """A table with one row a visit, or a row a visit and rater.

    Attributes
    ----------
    table : Table
        The table as read; messages quote its own spelling.
    keys : DataFrame of shape (n_rows, 2)
        Canonical ``participant_id`` and ``session_id``; the latter empty where there is none.
    raters : Series of str, length n_rows, or None
        Who rated; None where the table does not say.
    """

    table: Table
    keys: pd.DataFrame
    raters: pd.Series | None = None

    @property
    def has_sessions(self) -> bool:
        """Whether any row names a session."""
        return bool((self.keys["session_id"] != "").any())

    @property
    def columns(self) -> list[str]:
        """Columns beside the keys."""
        known = {*KEY_COLUMNS, RATER} if self.raters is not None else set(KEY_COLUMNS)
        return [c for c in self.table.frame.columns if c not in known]

    @property
    def row_keys(self) -> pd.DataFrame:
        """The keys that no two rows share: the visit, and the rater where one is named."""
        return self.keys if self.raters is None else self.keys.assign(**{RATER: self.raters})

    def visit(self, index: int) -> str:
        """Return ``participant 's014', row 15 of ratings.csv`` in the file's own spelling."""
        return visit_text(self.table, index)


def visit_text(table: Table, index: int) -> str:
    """Name a row for a message: participant, session if there is one, row and file."""
    session = table.frame["session_id"].iloc[index] if "session_id" in table.frame else None
    between = f", session {session!r}" if isinstance(session, str) else ""
    participant = table.frame["participant_id"].iloc[index]
    return f"participant {participant!r}{between}, {table.place(index)}"


def key_table(table: Table, *, raters: bool = False) -> tuple[KeyedTable, list[str]]:
    """Make the keys of a table canonical.

    Parameters
    ----------
    table : Table
        With a column ``participant_id``.
    raters : bool
        Whether several rows a visit are let through where ``rater_id`` tells them apart.

    Returns
    -------
    KeyedTable
        Rows with a faulty identifier have empty keys; use them only where there are no faults.
    list of str
        Every identifier that can not be used, every row whose keys stand twice, and every number
        that is too large to be measured.
    """
    faults: list[str] = []
    participants: list[str] = []
    sessions: list[str] = []
    spelled = table.frame["session_id"] if "session_id" in table.frame else [None] * len(table.rows)
    pairs = zip(table.frame["participant_id"].tolist(), list(spelled), strict=True)
    for index, (participant, session) in enumerate(pairs):
        visit = ("", "")
        if isinstance(participant, str):
            try:
                label = participant_label(participant)
                visit = (label, session_label(session) if isinstance(session, str) else "")
            except InputError as error:
                faults.append(f"{error} ({table.place(index)})")
        participants.append(visit[0])
        sessions.append(visit[1])
    keys = pd.DataFrame({"participant_id": participants, "session_id": sessions}, dtype=object)
    named: pd.Series | None = None
    if raters and RATER in table.frame:
        named = table.frame[RATER]
        faults += [f"{RATER} is empty ({table.place(int(i))})" for i in named[named.isna()].index]
        named = named.fillna("")
    keyed = KeyedTable(table, keys, named)
    doubled = limit_faults(_doubled(keyed))
    if doubled:
        wanted = ("session_id", RATER) if raters else ("session_id",)
        doubled = _unnamed_keys(table, wanted) + doubled
    return keyed, limit_faults(faults) + doubled + _size_faults(table)


def _unnamed_keys(table: Table, keys: tuple[str, ...]) -> list[str]:
    """Name columns that may tell doubled rows apart and are not called as they must be."""
    return [
        f"{table.name}: column {other!r} may be the {key} that tells the rows of a participant "
        f"apart: rename it to {key!r}"
        for key in keys
        if key not in table.frame
        for other in called_otherwise(key, [str(c) for c in table.frame.columns])
    ]


def _size_faults(table: Table) -> list[str]:
    """Name the cells whose numbers are too large to be measurements; never the numbers."""
    faults = []
    for column in filter(table.is_numeric, table.frame.columns):
        size = np.abs(table.frame[column].to_numpy())
        faults += [
            f"column {column!r} holds a number beyond ±{LARGEST_NUMBER:g} ({table.place(row)}); "
            "leave the cell empty if the value is missing (SPSS exports -1.8e308 for it)"
            for row in np.flatnonzero(size > LARGEST_NUMBER).tolist()
        ]
    return limit_faults(faults)


def _doubled(keyed: KeyedTable) -> list[str]:
    table = keyed.table
    faults = []
    for values, rows in keyed.row_keys.groupby(list(keyed.row_keys.columns), sort=False):
        if len(rows) < 2 or values[0] == "":
            continue
        places = [str(table.rows[i]) for i in rows.index]
        first = visit_text(table, int(rows.index[0])).rsplit(", row ", 1)[0]
        rater = f", rater {values[2]!r}" if keyed.raters is not None else ""
        faults.append(
            f"{first}{rater} stands {len(rows)} times in {table.name} "
            f"(rows {', '.join(places[:-1])} and {places[-1]})"
        )
    return faults
