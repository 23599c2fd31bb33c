"""`evaluate` and `run` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.core.checkpoint import save_checkpoint
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.model import build_model

LABELS = ("anger", "fear", "sadness", "surprise", "fear_surprise", "fear_sadness")


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "80"})


def evaluate(study: Path, *more: str | Path) -> Result:
    quick = ("--set", "evaluation.bootstrap.resamples=50", "--device", "cpu")
    return call("evaluate", "--study", study, *quick, *more)


@pytest.fixture(scope="module")
def study(
    tmp_path_factory: pytest.TempPathFactory,
    write_video: Callable[..., Path],
    small_model: ModelConfig,
) -> Path:
    """A study with an untrained model and clips of six labels, as a user has them."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(36):
        pixels = rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
        path = write_video(folder / "clips" / f"{i}.mp4", pixels, fps=6)
        split = "test" if i // 6 % 2 else "train"
        rows.append((f"clips/{path.name}", "a face", LABELS[i % 6], f"{split}{i % 4}", split))
    table = pd.DataFrame(rows, columns=["path", "caption", "label", "group", "split"])
    table.to_csv(folder / "clips.csv", index=False)
    save_checkpoint(
        folder / "models" / "small", built=build_model(small_model, seed=0), config=small_model,
        card={},
    )  # fmt: skip
    return folder


def test_the_plain_call_prints_a_table_of_80_columns_and_writes_files(study: Path) -> None:
    result = evaluate(study)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    for text in ("UAR", "WAR", "macro F1", "recall, sadness", "95 % interval", "chance", "25.00"):
        assert text in result.stdout
    folder = study / "evaluation" / "zero_shot"
    assert {p.name for p in folder.iterdir()} == {
        "metrics.json", "predictions.csv", "confusion.csv", "confusion.png", "provenance.json",
    }  # fmt: skip
    assert "6 test clips have a label that it lacks" in result.stderr
    assert str(study) not in (folder / "provenance.json").read_text()


def test_long_names_fit_80_columns_too(study: Path, tmp_path: Path) -> None:
    result = evaluate(
        study, "--task", "compound", "--prompts", "mafw_eleven", "--output", tmp_path,
        "--set", "evaluation.compositions=[mean, similarity_product, concatenated_prompt]",
        "--set", "evaluation.published={uar: 12.34, source: somewhere}",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "12.34" in result.stdout
    assert "mafw_eleven/concatenated_prompt" in result.stdout
    assert "recall, fear surprise" in result.stdout
    assert (tmp_path / "compound" / "metrics.json").is_file()


def test_json_is_what_is_written(study: Path, tmp_path: Path) -> None:
    result = evaluate(study, "--json", "--data", study / "clips.csv", "--output", tmp_path)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "zero_shot" / "metrics.json").read_text())
    assert json.loads(result.stdout) == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "guess"), "evaluation.task"),
        (("--prompts", "nothing"), "no shipped set or file 'nothing'"),
        (("--protocol", "nothing"), "no file and no shipped protocol is called 'nothing'"),
        (("--data", "nothing.csv"), "nothing.csv"),
        (("--model", "nothing"), "a model folder holds"),
        (("--set", "evaluation.compositions=[mean, mean]"), "may stand once"),
        (("--set", "evaluation.compositions=[{name: mean, weights: {fear: 1}}]"), "weights belong"),
        (("--set", "evaluation.data={layout: dfew, root: gone}"), "gone"),
        (("--task", "supervised", "--model", "models/small"), "takes no --model"),
    ],
)
def test_mistakes(
    study: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study)
    result = evaluate(study, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output


def test_clips_that_can_not_be_read_are_all_named(study: Path, tmp_path: Path) -> None:
    table = pd.read_csv(study / "clips.csv")
    table["path"] = [str(study / path) for path in table["path"]]
    for name, row in (("one", 6), ("two", 7)):
        (tmp_path / f"{name}.mp4").write_text("this is no video")
        table.loc[row, "path"] = str(tmp_path / f"{name}.mp4")
    table.to_csv(tmp_path / "clips.csv", index=False)
    result = evaluate(study, "--data", tmp_path / "clips.csv", "--output", tmp_path)
    assert result.exit_code == 2, result.output
    assert "one.mp4" in result.output
    assert "two.mp4" in result.output


def test_run_judges_a_study_without_interviews_once(study: Path) -> None:
    (study / "judge.yaml").write_text(
        "model: {name: small}\nevaluation: {prompts: [basic_seven], bootstrap: {resamples: 20}}\n"
    )
    protocol = ("run", study / "judge.yaml", "--device", "cpu", "--set", "training.epochs=0")
    tower = json.loads((study / "models/small/model.json").read_text())["architecture"]
    same = ("--set", f"model={json.dumps(tower)}")
    first = call(*protocol, *same)
    assert first.exit_code == 0, first.output
    assert "basic_seven" in first.stdout
    assert "extract" not in first.stderr
    again = call(*protocol, *same)
    assert "the model is there already" in again.stderr
    assert "evaluate: the results are there already" in again.stderr
    # A study with an evaluation and half of the rest is not guessed about.
    (study / "interviews").mkdir()
    refused = call(*protocol, *same)
    assert refused.exit_code == 2
    assert "data.ratings" in refused.output
    (study / "interviews").rmdir()


def test_another_protocol_has_results_of_its_own_and_no_other_data_s_figures(study: Path) -> None:
    (study / "other.yaml").write_text(
        "model: {name: small}\nevaluation: {prompts: [basic_seven], published: {uar: 12.34, "
        "source: somewhere}}\n"
    )
    plain = evaluate(study, "--protocol", study / "other.yaml")
    assert plain.exit_code == 0, plain.output
    assert "12.34" in plain.stdout
    assert (study / "evaluation" / "other" / "zero_shot" / "metrics.json").is_file()
    own = evaluate(study, "--protocol", study / "other.yaml", "--data", study / "clips.csv")
    assert own.exit_code == 0, own.output
    assert "12.34" not in own.stdout
