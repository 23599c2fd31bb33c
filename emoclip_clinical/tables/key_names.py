"""Names that people give to the columns of keys, so that a message can name the one to rename."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

OTHER_NAMES: Mapping[str, frozenset[str]] = {
    "participant_id": frozenset(
        {
            "participant", "participants", "participantid", "subject", "subjectid", "subjectcode",
            "subj", "sub", "subid", "id", "patient", "patientid", "person", "personid", "pid",
            "recordid", "case", "caseid", "code",
        }
    ),
    "session_id": frozenset(
        {
            "session", "sessionid", "ses", "sesid", "visit", "visitid", "timepoint", "time", "wave",
            "week", "assessment",
        }
    ),
    "rater_id": frozenset({"rater", "raterid", "raters", "ratedby", "assessor", "interviewer"}),
}  # fmt: skip
"""For each key, in lower case and without punctuation."""


def called_otherwise(key: str, columns: Iterable[str]) -> list[str]:
    """Return the columns that look like a key under another name.

    Parameters
    ----------
    key : str
        ``participant_id``, ``session_id`` or ``rater_id``; for others nothing is found.
    columns : iterable of str
    """
    others = OTHER_NAMES.get(key, frozenset())
    return [c for c in columns if re.sub(r"[^a-z0-9]", "", c.casefold()) in others and c != key]
