"""YAML that a person wrote, with what a person gets wrong."""

from __future__ import annotations

import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.yaml_text import load_yaml


@pytest.mark.parametrize("keep_comments", [False, True])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("date: 2024-13-45", "month must be in 1..12"),
        ("date: 2024-02-30", "day is out of range"),
        ("a: !!float abc", "could not convert"),
        ("a: 1\nb: [", "line 2"),
        ("a: 1\na: 2", "duplicate key"),
        ("[" * 1200, "nests too deep"),
    ],
)
def test_what_is_wrong_is_said(text: str, told: str, keep_comments: bool) -> None:
    with pytest.raises(InputError, match=told) as caught:
        load_yaml(text, where="my.yaml", keep_comments=keep_comments)
    (fault,) = caught.value.faults
    assert fault.startswith("my.yaml")
    assert "\n" not in fault


def test_no_means_no() -> None:
    assert load_yaml("a: no\nb: false\nc: 2024-02-29", where="x")["a"] == "no"
