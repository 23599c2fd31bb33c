"""The order of visits, read from the labels of their sessions; refused where it is not certain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError

BASELINE = "ses-baseline"
LONGEST_COUNT = 5
"""A number of more digits than this is a date."""
_YEARS = range(1900, 2100)
_ONE_NUMBER = re.compile(r"(\D*?)([+-]?)(\d+)(\D*)")


@dataclass(frozen=True)
class FirstVisits:
    """From which visit each subject's changes are counted.

    Attributes
    ----------
    rows : ndarray of int, shape (n_visits,)
        Row of the first visit of each row's subject.
    late : ndarray of bool, shape (n_visits,)
        Whether the subject's first visit comes after the earliest of all subjects, so that an
        earlier one was missed. False for dates, which say nothing of other subjects' visits.
    earliest : str
        Session that comes before all others.
    """

    rows: np.ndarray
    late: np.ndarray
    earliest: str


def first_visits(keys: pd.DataFrame) -> FirstVisits:
    """Find each subject's first visit.

    Parameters
    ----------
    keys : DataFrame of shape (n_visits, 2)
        No visit stands twice; at least one visit.

    Raises
    ------
    InputError
        If the labels do not tell the order of a subject's visits; see `visit_numbers`.
    """
    sessions = keys["session_id"].tolist()
    number = visit_numbers(sessions)
    first = np.empty(len(keys), dtype=np.int64)
    for participant, rows in keys.reset_index(drop=True).groupby("participant_id", sort=False):
        at = rows.index.to_numpy()
        lowest = at[number[at] == number[at].min()]
        if len(lowest) > 1:
            named = ", ".join(sessions[i] for i in lowest)
            raise InputError(f"{participant}: {named} may each be the first visit")
        first[at] = lowest[0]
    late = number[first] > number.min()
    if _are_dates(sessions):
        late[:] = False
    return FirstVisits(first, late, sessions[int(number.argmin())])


def visit_numbers(sessions: Sequence[str]) -> np.ndarray:
    """Return a number for each session that puts a subject's visits in order.

    Labels count visits (``ses-1``), weeks (``ses-week04``), days (``ses-day-7``) or whatever else,
    but all of them the same: what stands around the number is the same in all, upper or lower
    case. A number of more than `LONGEST_COUNT` digits is a date, YYYYMMDD. A minus before the
    number is a dash where every label has one, and a sign where others have a plus or are 0.

    Parameters
    ----------
    sessions : sequence of str, length n
        ``session_id`` of visits.

    Returns
    -------
    ndarray of shape (n,)
        The number in the label, with its sign; -inf for ``ses-baseline``, which comes before all.

    Raises
    ------
    InputError
        If a label tells no number, or several; if labels do not count the same; if a date is in
        another order; if it is not certain what a minus means.
    """
    names = sorted({s for s in sessions if s.casefold() != BASELINE})
    labels = {name: found for name in names if (found := _label(name)) is not None}
    unclear = [name or "none" for name in names if name not in labels]
    if unclear:
        raise _refusal("hold one number each, or 'baseline',", unclear)
    minus_is_sign = _minus_is_sign(labels, has_baseline=len(names) < len(set(sessions)))
    _check_dates(labels)
    _check_same(labels)
    negative = {name for name, found in labels.items() if minus_is_sign and found.sign == "-"}
    return np.array([
        (-1.0 if s in negative else 1.0) * float(labels[s].digits) if s in labels else -np.inf
        for s in sessions
    ])  # fmt: skip


@dataclass(frozen=True)
class _Label:
    before: str
    sign: str
    digits: str
    after: str

    @property
    def is_date(self) -> bool:
        return len(self.digits) > LONGEST_COUNT

    @property
    def counts(self) -> str:
        """What the number counts: the text around it, and whether it is a date."""
        return f"{self.before}{'<date>' if self.is_date else '<number>'}{self.after}"


def _label(session: str) -> _Label | None:
    found = _ONE_NUMBER.fullmatch(session.casefold().removeprefix("ses-"))
    return _Label(*found.groups()) if found else None


def _are_dates(sessions: Iterable[str]) -> bool:
    labels = [found for s in sessions if (found := _label(s)) is not None]
    return any(found.is_date for found in labels)


def _refusal(wanted: str, labels: Iterable[str]) -> InputError:
    return InputError(
        f"a change needs session_ids that {wanted} so that the first visit is known; got "
        f"{', '.join(list(labels)[:5])}"
    )


def _check_dates(labels: Mapping[str, _Label]) -> None:
    wrong = [name for name, found in labels.items() if found.is_date and not _dated(found.digits)]
    if wrong:
        raise _refusal(
            f"write a number of more than {LONGEST_COUNT} digits as a date, YYYYMMDD,", wrong
        )


def _dated(digits: str) -> bool:
    if len(digits) != len("YYYYMMDD") or int(digits[:4]) not in _YEARS:
        return False
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return True


def _check_same(labels: Mapping[str, _Label]) -> None:
    examples = {found.counts: name for name, found in labels.items()}
    if len(examples) > 1:
        raise _refusal(
            "have the same text around the number (or are all dates)", sorted(examples.values())
        )


def _minus_is_sign(labels: Mapping[str, _Label], *, has_baseline: bool) -> bool:
    with_minus = [name for name, found in labels.items() if found.sign == "-"]
    others = [name for name in labels if name not in with_minus]
    if not with_minus or not others:
        return False
    around_zero = any(labels[name].sign == "+" or int(labels[name].digits) == 0 for name in others)
    minus_zero = any(int(labels[name].digits) == 0 for name in with_minus)
    if has_baseline or minus_zero or not around_zero:
        raise _refusal(
            "tell whether a minus before the number is a sign or a dash (a sign beside a 0, or a "
            "plus, and no 'baseline'; a dash where every label has it)",
            [*with_minus[:3], *others[:2]],
        )
    return True
