"""`protocol` as a user types it: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import Result
from ruamel.yaml import YAML
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.study.shipped import protocol_path, shipped_protocols
from tests.study.locked_study import PROTOCOL, build, write_ratings


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_protocols_are_listed_shown_and_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = call("protocol", "list")
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in shipped_protocols())
    text = protocol_path("demo").read_text(encoding="utf-8")
    assert call("protocol", "show", "demo").stdout == text
    resolved = call("protocol", "show", "demo", "--resolved", "--set", "seed=5").stdout
    assert "# random weights" in resolved
    assert YAML(typ="safe").load(resolved)["seed"] == 5
    assert call("protocol", "copy", "demo").exit_code == 0
    assert (tmp_path / "protocol.yaml").read_text(encoding="utf-8") == text
    assert call("protocol", "copy", "demo").exit_code == 2
    assert "shipped are" in call("protocol", "show", "dmo").stderr


def test_the_schema_takes_every_shipped_protocol_and_refuses_faults(tmp_path: Path) -> None:
    printed = json.loads(call("protocol", "schema").stdout)
    assert call("protocol", "schema", tmp_path / "s.json").exit_code == 0
    assert json.loads((tmp_path / "s.json").read_text()) == printed
    check = jsonschema.Draft202012Validator(printed)
    check.check_schema(printed)
    for name in shipped_protocols():
        content = YAML(typ="safe").load(protocol_path(name).read_text(encoding="utf-8"))
        assert list(check.iter_errors(content)) == []
    assert list(check.iter_errors({"regression": {"fold": 3}}))
    assert list(check.iter_errors({"seed": -1}))


def test_from_freezing_to_a_verified_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(build(tmp_path))
    assert "freeze the study first" in call(
        "protocol", "freeze", "--registration", "10.17605/OSF.IO/ABCDE"
    ).stderr  # fmt: skip
    frozen = call("protocol", "freeze", "--osf", "plan.md")
    assert frozen.exit_code == 0, frozen.output
    assert "not locked: ratings: there are none yet" in frozen.stderr
    assert "[to be filled in]" in Path("plan.md").read_text()
    assert call("protocol", "freeze").exit_code == 2
    assert call("protocol", "freeze", "--registration", "10.17605/OSF.IO/ABCDE").exit_code == 0
    write_ratings(tmp_path)
    result = Path("results") / "mood.total"
    assert call("protocol", "verify", result).exit_code == 2
    done = call("regress")
    assert done.exit_code == 0, done.output
    assert "mood.total: matches the lock; no earlier look recorded in this folder" in done.stderr
    same = call("protocol", "verify", result, "--json")
    assert same.exit_code == 0, same.output
    assert json.loads(same.stdout)["numbers"] == []
    Path("protocol.yaml").write_text(PROTOCOL.replace("folds: 3", "folds: 4", 1))
    other = call("protocol", "verify", result, "--no-rerun")
    assert other.exit_code == 3
    assert other.stdout == (
        "differs: settings in protocol.yaml now, from the lock's: regression.folds: 3 → 4\n"
    )
    compared = call("protocol", "diff", "protocol.lock", "protocol.yaml")
    assert "settings: regression.folds: 3 → 4" in compared.stdout
    assert "pearson_r.pooled" in call("protocol", "diff", result, result).stdout
    written = (result / "metrics.json").read_bytes()
    refused = call("regress")
    assert refused.exit_code == 2
    assert "(--output FOLDER, or --set data.results=FOLDER)" in refused.stderr
    assert "regress --overwrite" in refused.stderr
    assert (result / "metrics.json").read_bytes() == written
    assert call("regress", "--overwrite").exit_code == 0
    assert (result / "metrics.json").read_bytes() != written
