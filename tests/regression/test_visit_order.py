"""The order of visits: what labels of sessions tell, and what they do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.visit_order import first_visits, visit_numbers


@pytest.mark.parametrize(
    "in_order",
    [
        ("1", "2", "10"),
        ("week04", "Week6", "WEEK10"),
        ("baseline", "week0", "week6"),
        ("Baseline", "1"),
        ("day-7", "day0", "day28"),
        ("day-14", "day-7", "day+1"),
        ("week0", "week+4", "week+12"),
        ("visit-1", "visit-2", "visit-10"),
        ("baseline", "visit-1", "visit-2"),
        ("20231130", "20240201", "20240229"),
        ("V1b", "v2B"),
    ],
)
def test_labels_that_tell_the_order(in_order: tuple[str, ...]) -> None:
    shuffled = [f"ses-{label}" for label in reversed(in_order)]
    number = visit_numbers(shuffled)
    assert [shuffled[i] for i in np.argsort(number)] == [f"ses-{label}" for label in in_order]
    keys = pd.DataFrame({"participant_id": "sub-a", "session_id": shuffled})
    assert set(first_visits(keys).rows) == {len(in_order) - 1}


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (("week6", "month2"), "the same text around the number"),
        (("1", "1b"), "the same text around the number"),
        (("1", "20240201"), "the same text around the number"),
        (("01022024", "05032023"), "as a date, YYYYMMDD"),
        (("20240230", "20240301"), "as a date, YYYYMMDD"),
        (("010224", "050323"), "as a date, YYYYMMDD"),
        (("visit1", "visit-2"), "a sign or a dash"),
        (("day-7", "day1"), "a sign or a dash"),
        (("week0", "week-0"), "a sign or a dash"),
        (("baseline", "day-7", "day0"), "a sign or a dash"),
        (("pre", "post"), "one number each, or 'baseline'"),
        (("2024-02-01", "2024-03-05"), "one number each, or 'baseline'"),
    ],
)
def test_labels_that_do_not_are_refused_and_named(labels: tuple[str, ...], wanted: str) -> None:
    sessions = [f"ses-{label}" for label in labels]
    with pytest.raises(InputError) as caught:
        visit_numbers(sessions)
    (fault,) = caught.value.faults
    assert fault.startswith("a change needs session_ids that ")
    assert wanted in fault
    told = set(fault.split("got ")[1].split(", "))
    assert told & set(sessions)
    assert told <= set(sessions)


def test_a_visit_without_a_session_has_no_place() -> None:
    with pytest.raises(InputError, match="got none"):
        visit_numbers(["", "ses-1"])


def test_who_begins_after_the_others_is_late_but_not_by_date() -> None:
    def late(*sessions: str) -> list[bool]:
        people = ["sub-a", "sub-a", "sub-b", "sub-b"]
        keys = pd.DataFrame({"participant_id": people, "session_id": sessions})
        return first_visits(keys).late.tolist()

    assert late("ses-1", "ses-2", "ses-03", "ses-2") == [False, False, True, True]
    assert late("ses-1", "ses-2", "ses-02", "ses-01") == [False] * 4
    assert late("ses-baseline", "ses-2", "ses-2", "ses-3") == [False, False, True, True]
    assert late("ses-20240101", "ses-20240301", "ses-20240201", "ses-20240401") == [False] * 4
