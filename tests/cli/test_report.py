"""The command `report`: from a folder to files, and its refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from emoclip_clinical.cli import app


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(25, 2)), columns=["a", "b"])
    table.insert(0, "participant_id", [f"sub-{k:02d}" for k in range(25)])
    table.to_csv(study / "features.csv", index=False)
    table.assign(score=table["a"] + rng.normal(size=25))[["participant_id", "score"]].to_csv(
        study / "ratings.csv", index=False
    )
    done = call(
        "regress", "--study", study, "--features", study / "features.csv", "--target", "score",
        "--repeats", "1", "--permutations", "20", "--bootstrap", "0",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return study / "results" / "score"


@pytest.fixture
def result(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "score"))


def test_a_report_is_made_from_the_files_alone(result: Path) -> None:
    before = (result / "report.html").read_bytes()
    (result / "report.html").unlink()
    done = call("report", result)
    assert done.exit_code == 0, done.output
    assert (result / "report.html").read_bytes() == before
    done = call("report", result.parent, "--format", "md")
    assert done.exit_code == 0, done.output
    assert f"written: {result / 'report.md'}" in done.stderr


def test_tables_and_output_go_where_they_are_asked_for(result: Path, tmp_path: Path) -> None:
    assert call("report", result, "--tables", tmp_path / "t").exit_code == 0
    assert (tmp_path / "t" / "result.csv").read_text().startswith("measure,value,")
    assert call("report", result, "--output", tmp_path / "o").exit_code == 0
    assert (tmp_path / "o" / "report.html").read_bytes() == (result / "report.html").read_bytes()


def test_refusals(result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = call("report", tmp_path / "nowhere")
    assert gone.exit_code == 2
    assert "no such result folder" in gone.stderr
    (result / "folds.csv").unlink()
    broken = call("report", result)
    assert broken.exit_code == 2
    assert "folds.csv is missing" in broken.stderr
    assert "Traceback" not in broken.output


def test_pdf_without_a_browser(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(result))
    done = call("report", result, "--format", "pdf")
    assert done.exit_code == 2
    assert "a PDF needs a browser" in done.stderr
