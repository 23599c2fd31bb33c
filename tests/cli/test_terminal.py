"""The terminal shows names as they are: brackets and colons are no markup there."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from emoclip_clinical.cli import _console, app

HOSTILE = ("a[/b]", "q [red]", "P:smile:1")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    names = [f"{k:03d}" for k in range(24)]
    trait = rng.normal(size=24)
    features = pd.DataFrame({"participant_id": names, "f[/i]": trait, "g:x:": rng.normal(size=24)})
    ratings = pd.DataFrame({"participant_id": names})
    for name in HOSTILE:
        ratings[name] = np.round(4 + trait + rng.normal(size=24), 1)
    features.to_csv(tmp_path / "features.csv", index=False)
    ratings.to_csv(tmp_path / "ratings.csv", index=False)
    return tmp_path


def call(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def test_names_that_look_like_markup_are_shown_as_they_are(study: Path) -> None:
    targets = [part for name in HOSTILE for part in ("--target", name)]
    quick = ("--repeats", "1", "--permutations", "9", "--bootstrap", "100")
    tables = ("--features", study / "features.csv", "--ratings", study / "ratings.csv")
    shown = call("regress", "--study", study, *tables, *targets, *quick)
    assert all(f" {name} " in shown for name in HOSTILE)
    new = pd.read_csv(study / "features.csv", dtype=str).assign(session_id="s")
    new.to_csv(study / "new.csv", index=False)
    for folder in (study / "results").glob("*/estimator"):
        said = call("predict", "--study", study, "--estimator", folder, "--features",
                    study / "new.csv", "--output", study / "out.csv")  # fmt: skip
        assert any(f"Estimates of {name} (" in said for name in HOSTILE)


def test_progress_on_a_terminal_shows_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    shown = Console(file=screen, force_terminal=True, width=120, markup=False, emoji=False)
    monkeypatch.setattr(_console, "messages", shown)
    with _console.progress_bars() as progress:
        for name in HOSTILE:
            progress(f"of {name}", 1, 2)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert all(f"of {name}" in plain for name in HOSTILE)


def test_every_command_prints_through_the_consoles_that_obey_no_name() -> None:
    folder = Path(_console.__file__).parent
    text = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    assert [name for name, content in text.items() if "Console(" in content] == ["_console.py"]
    assert not any("markup=True" in content or "emoji=True" in content for content in text.values())
    for console in (_console.console, _console.messages):
        with console.capture() as caught:
            console.print("[bold]x[/bold] :smile:")
        assert "[bold]x[/bold] :smile:" in caught.get()
