"""A run that is killed at any step and begun again ends as if nothing had happened."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from emoclip_clinical.core import training, training_state
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.features import extraction_run, store
from emoclip_clinical.study import evaluate, graph, regress
from emoclip_clinical.study.protocol import Study, open_study
from emoclip_clinical.study.run import plan_study, run_study
from emoclip_clinical.study.synthetic import SyntheticConfig, write_study

SMALL = SyntheticConfig(
    n_training_clips=11, n_validation_clips=11, n_test_clips=11, n_training_people=2,
    n_validation_people=1, n_test_people=1, frames_per_clip=8, n_subjects=10,
    second_visit_share=0, interview_seconds=2, n_population=2000,
)  # fmt: skip
CLOCK = datetime(2026, 1, 1, tzinfo=UTC)
RESULTS = ("models/small/model.json", "models/small/model.safetensors",
           "evaluation/zero_shot/metrics.json", "evaluation/zero_shot/predictions.csv",
           "features/segments.parquet", "features/embeddings.parquet",
           "features/interviews.parquet", "features/features.json",
           "results/N1/metrics.json", "results/N1/predictions.csv", "results/N1/folds.csv",
           "results/N2/metrics.json", "results/N2/predictions.csv")  # fmt: skip
WORK = {
    "epoch": (training_state.TrainingState, "save"),
    "model": (training, "save_checkpoint"),
    "judged": (evaluate, "write_evaluation"),
    "interview": (extraction_run, "read_interview"),
    "merged": (store.PartStore, "merge"),
    "target": (regress, "write_results"),
    "recorded": (graph.StepRecords, "remember"),
}
"""What a run does, each counted when it is finished."""

# Before which unit of which work the process is killed.
KILLS = (("epoch", 1), ("model", 0), ("recorded", 0), ("judged", 0), ("interview", 4),
         ("merged", 0), ("recorded", 2), ("target", 1), ("recorded", 3))  # fmt: skip


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, small_model: ModelConfig) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "study"
    write_study(folder, config=SMALL, workers=1)
    settings = {
        "model": {**small_model.model_dump(mode="json"), "frames_per_clip": 8},
        "training": {"epochs": 3, "batch_clips": 6, "threads": 1},
        "extraction": {"face": "whole_frame", "prompts": ["prompts/synthetic.yaml"]},
        "evaluation": {"bootstrap": {"resamples": 0}},
        "regression": {"targets": ["N1", "N2"], "folds": 2, "repeats": 1, "permutations": 0,
                       "bootstrap": 0, "importance": False, "inner_folds": 2},
    }  # fmt: skip
    (folder / "protocol.yaml").write_text(json.dumps(settings))
    return folder


def marked(name: str, function: Callable[..., object], marks: Path, kill: str) -> object:
    """Return the function with a mark on the disk after each call, and a kill before one."""

    def counted(*arguments: object, **more: object) -> object:
        n = marks.read_text().split().count(name) if marks.exists() else 0
        if kill == f"{name}-{n}":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **more)
        with marks.open("a") as file:
            file.write(f"{name}\n")
        return result

    return counted


def work(folder: Path, marks: Path, kill: str) -> None:
    """Run the study in a process of its own, counting what it does."""
    for name, (owner, attribute) in WORK.items():
        setattr(owner, attribute, marked(name, getattr(owner, attribute), marks, kill))
    end = run_study(open_study(folder), device="cpu", now=lambda: CLOCK)
    end.raise_failures()


def run(folder: Path, marks: Path, kill: str = "") -> int | None:
    # A forked process has everything imported.
    process = multiprocessing.get_context("fork").Process(target=work, args=(folder, marks, kill))
    process.start()
    process.join()
    return process.exitcode


def counts(marks: Path) -> Counter[str]:
    return Counter(marks.read_text().split())


def results(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in RESULTS:
        yield name, (folder / name).read_bytes()


@pytest.mark.slow
def test_killed_at_every_step_it_ends_alike_and_does_nothing_twice(
    fresh: Path, tmp_path: Path
) -> None:
    whole = shutil.copytree(fresh, tmp_path / "whole")
    assert run(whole, tmp_path / "marks-whole") == 0
    expected = counts(tmp_path / "marks-whole")
    assert expected["interview"] == 10
    assert expected["target"] == 2
    assert expected["recorded"] == 5

    # One study is killed at one point after the other, and goes on each time.
    folder, marks = shutil.copytree(fresh, tmp_path / "killed"), tmp_path / "marks"
    for name, n in KILLS:
        assert run(folder, marks, f"{name}-{n}") == -signal.SIGKILL, (name, n)
    assert run(folder, marks) == 0
    assert dict(results(folder)) == dict(results(whole))
    found = counts(marks)
    # The targets of a family have p values in common, so that they are estimated together.
    assert found["target"] == expected["target"] + 1
    # Killed after the tables were merged and before the record: interviews are kept, tables
    # are merged again.
    assert found["merged"] == expected["merged"] + 1
    for name in ("epoch", "model", "judged", "interview", "recorded"):
        assert found[name] == expected[name], name
    assert all(d.verdict == "skip" for d in plan_study(open_study(folder)))
    logs = "".join(p.read_text() for p in (folder / ".emoclip/logs").iterdir())
    assert "extract: begins" in logs
    assert "report: done" in logs
    assert ".mp4" not in logs
    assert str(tmp_path) not in logs


def planned(study: Study) -> dict[str, str]:
    return {d.step: f"{d.verdict}: {'; '.join(d.reasons)}" for d in plan_study(study)}


@pytest.mark.slow
def test_a_changed_input_runs_what_follows_from_it(fresh: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fresh, tmp_path / "study")
    run_study(open_study(folder), device="cpu", only="train", now=lambda: CLOCK).raise_failures()
    run_study(open_study(folder), device="cpu", first="extract").raise_failures()
    told = planned(open_study(folder))
    assert told["train"] == told["regress"] == told["report"] == "skip: "
    assert told["evaluate"] == "run: none of its outputs is there"
    # One video is replaced by another, so that its bytes differ.
    shutil.copy(folder / "interviews/sub-002_interview.mp4",
                folder / "interviews/sub-001_interview.mp4")  # fmt: skip
    told = planned(open_study(folder))
    assert told["extract"] == "run: input interview sub-001 changed"
    assert told["regress"] == "perhaps: it reads what extract will write"
    # Settings that have nothing to do with the interviews run no extraction.
    other = open_study(folder, overrides=["regression.repeats=2", "training.epochs=2"])
    told = planned(other)
    assert told["train"] == "run: setting training.epochs: 3 → 2"
    # A deleted cache computes nothing anew that can vouch for itself.
    shutil.copy(fresh / "interviews/sub-001_interview.mp4",
                folder / "interviews/sub-001_interview.mp4")  # fmt: skip
    shutil.rmtree(folder / ".emoclip")
    told = planned(open_study(folder))
    assert told["train"] == told["regress"] == "skip: " or told["regress"].startswith("perhaps")
    done = run_study(open_study(folder), device="cpu", only=None)
    ends = {end.step: end.ending for end in done.ends}
    assert (ends["train"], ends["regress"]) == ("skipped", "skipped")
    assert done.extracted is not None
    assert done.extracted.n_kept == 10


@pytest.mark.slow
def test_a_step_that_fails_leaves_the_others_going(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from emoclip_clinical.cli import app

    folder = shutil.copytree(fresh, tmp_path / "study")
    log = tmp_path / "run.log"
    words = ["--set", "evaluation.prompts=[gone.yaml]", "--device", "cpu", "--log", str(log)]
    failed = CliRunner().invoke(app, ["run", str(folder / "protocol.yaml"), *words])
    assert failed.exit_code == 2, failed.output
    assert "gone.yaml" in failed.stderr
    assert (folder / "results/N1/report.html").is_file()
    text = log.read_text()
    assert "evaluate: failed: bad input, 1 faults" in text
    assert "gone.yaml" not in text
    # One interview that can not be read: done in part, and tried again next time.
    (folder / "interviews/sub-099.mp4").write_text("this is no video")
    partly = CliRunner().invoke(
        app, ["run", str(folder / "protocol.yaml"), "--from", "extract", "--device", "cpu"]
    )
    assert partly.exit_code == 3, partly.output
    assert planned(open_study(folder))["extract"].startswith("run")
