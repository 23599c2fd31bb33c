"""Tables whose rows are visits: participant and session identifiers, checked and made canonical."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from emoclip_clinical.records import InputError, participant_label, session_label
from emoclip_clinical.tables import Table, limit_faults


@dataclass(frozen=True)
class KeyedTable:
    """A table with one row a visit.

    Attributes
    ----------
    table : Table
        The table as read; messages quote its own spelling.
    keys : DataFrame of shape (n_rows, 2)
        Canonical ``participant_id`` and ``session_id``; the latter empty where there is none.
    """

    table: Table
    keys: pd.DataFrame

    @property
    def has_sessions(self) -> bool:
        """Whether any row names a session."""
        return bool((self.keys["session_id"] != "").any())

    @property
    def columns(self) -> list[str]:
        """Columns beside the keys."""
        return [c for c in self.table.frame.columns if c not in self.keys.columns]

    def visit(self, index: int) -> str:
        """Return ``participant 's014', row 15 of ratings.csv`` in the file's own spelling."""
        return visit_text(self.table, index)


def visit_text(table: Table, index: int) -> str:
    """Name a row for a message: participant, session if there is one, row and file."""
    session = table.frame["session_id"].iloc[index] if "session_id" in table.frame else None
    between = f", session {session!r}" if session is not None else ""
    participant = table.frame["participant_id"].iloc[index]
    return f"participant {participant!r}{between}, {table.place(index)}"


def key_table(table: Table) -> tuple[KeyedTable, list[str]]:
    """Make the keys of a table canonical.

    Returns
    -------
    KeyedTable
        Rows with a faulty identifier have empty keys; use it only where there are no faults.
    list of str
        Every identifier that can not be used, and every visit that stands twice.
    """
    faults: list[str] = []
    participants: list[str] = []
    sessions: list[str] = []
    spelled = table.frame["session_id"] if "session_id" in table.frame else [None] * len(table.rows)
    pairs = zip(table.frame["participant_id"].tolist(), list(spelled), strict=True)
    for index, (participant, session) in enumerate(pairs):
        try:
            participants.append(participant_label(participant))
            sessions.append("" if session is None else session_label(session))
        except InputError as error:
            faults.append(f"{error} ({table.place(index)})")
            del participants[index:]
            participants.append("")
            sessions.append("")
    keys = pd.DataFrame({"participant_id": participants, "session_id": sessions}, dtype=object)
    return KeyedTable(table, keys), limit_faults(faults) + limit_faults(_doubled(table, keys))


def _doubled(table: Table, keys: pd.DataFrame) -> list[str]:
    raters = "; ratings of several raters can not be combined yet: keep one row a visit"
    hint = raters if "rater_id" in table.frame else ""
    faults = []
    for (participant, _), rows in keys.groupby(["participant_id", "session_id"], sort=False):
        if len(rows) < 2 or participant == "":
            continue
        places = [str(table.rows[i]) for i in rows.index]
        first = visit_text(table, int(rows.index[0])).rsplit(", row ", 1)[0]
        faults.append(
            f"{first} stands {len(rows)} times in {table.name} "
            f"(rows {', '.join(places[:-1])} and {places[-1]}){hint}"
        )
    return faults
