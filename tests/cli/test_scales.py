"""`scales` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.regression.scales import scales

OWN = """
name: mood
title: Mood scale
source: "A. Uthor (2020)."
item_minimum: 0
item_maximum: 3
items: [{code: M1, name: one, face: visible}, {code: M2, name: two, face: not_visible}]
sums: [{name: gap, title: difference, items: [M1], minus: [M2]}]
"""


def call(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["scales", *map(str, arguments)])
    return done.exit_code, done.output


def test_every_scale_is_listed_and_can_be_shown() -> None:
    code, listed = call()
    assert code == 0
    for name, scale in scales().items():
        assert name in listed
        code, shown = call(name.upper())
        assert code == 0
        assert scale.items[-1].code in shown
        assert scale.title.split(",")[0] in " ".join(shown.split())


def test_no_name_of_a_target_is_broken_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = call()[1]
    for name, scale in scales().items():
        shown = call(name)[1]
        assert max(map(len, [*shown.splitlines(), *listed.splitlines()])) <= 80
        words = {word.strip(",") for word in listed.split()}
        assert {name, *(s.name for s in scale.sums)} <= words
        assert {f"{name}.{s.name}" for s in scale.sums} <= set(shown.split())
        sources = {s.source for s in scale.sums if s.source}
        assert all(" ".join(shown.split()).count(source) == 1 for source in sources)
        assert "…" not in shown + listed


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mood.yaml"
    path.write_text(OWN)
    code, shown = call("mood", "--file", path)
    assert code == 0
    assert "-3 to 3" in shown
    assert "minus M2" in shown


def test_refusals(tmp_path: Path) -> None:
    code, said = call("pans")
    assert code == 2
    assert "near names: panss" in said
    code, said = call("--file", tmp_path / "none.yaml")
    assert (code, said.strip()) == (2, "error: scale none.yaml: no such file")
