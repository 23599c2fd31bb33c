"""`predict` as a user types it: after regress, on new interviews, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from emoclip_clinical.cli import app

SETTINGS = {
    "format": 1,
    "model": {"hash": "a" * 64},
    "prompts": [{"name": "basic", "hash": "b" * 64}],
    "settings_hash": "c" * 64,
    "pooled_features": ["mean_happy", "sd_happy"],
}


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def write_features(folder: Path, trait: np.ndarray, *, prefix: str, **change: object) -> Path:
    folder.mkdir(parents=True)
    names = [f"sub-{prefix}{i:03d}" for i in range(len(trait))]
    pd.DataFrame(
        {
            "participant_id": names,
            "session_id": None,
            "interview": names,
            "n_segments": 9,
            "n_ok": 9,
            "seconds": 60.0,
            "face_coverage": 1.0,
            "n_faces": 1,
            "status": "ok",
            "reason": None,
            "mean_happy": trait,
            "sd_happy": np.cos(np.arange(len(trait))),
        }
    ).to_parquet(folder / "interviews.parquet")
    (folder / "features.json").write_text(json.dumps({**SETTINGS, **change}))
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    trait = rng.normal(size=40)
    write_features(folder / "features", trait, prefix="a")
    rating = np.clip(np.round(4 + 1.5 * trait + 0.5 * rng.normal(size=40)), 1, 7).astype(int)
    names = [f"sub-a{i:03d}" for i in range(40)]
    pd.DataFrame({"participant_id": names, "N1": rating}).to_csv(
        folder / "ratings.csv", index=False
    )
    quick = ("--repeats", "2", "--permutations", "19", "--bootstrap", "100")
    done = call("regress", "--study", folder, "--target", "panss.n1", *quick)
    assert done.exit_code == 0, done.output
    return folder


def test_new_interviews_are_estimated(study: Path, tmp_path: Path) -> None:
    new = write_features(tmp_path / "new", np.array([-1.0, 0.0, 1.0, 40.0]), prefix="b")
    estimator = study / "results" / "N1" / "estimator"
    out = tmp_path / "made" / "new.csv"
    done = call("predict", "--study", study, "--estimator", estimator, "--features", new,
                "--output", out, "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out)
    assert list(table["participant_id"]) == [f"sub-b{i:03d}" for i in range(4)]
    assert list(table["out_of_range"]) == [False, False, False, True]
    assert table["predicted_unclipped"].is_monotonic_increasing
    assert list(table["status"]) == ["ok", "ok", "ok", "outside_scale"]
    ordered = table[["low", "predicted", "high"]][:3].to_numpy()
    assert (np.diff(ordered, axis=1) > 0).all()
    assert ordered.min() >= 1
    assert ordered.max() <= 7
    record = json.loads(done.stdout)
    nothing = record["predictions"][3]
    assert [nothing[k] for k in ("predicted", "low", "high")] == [None] * 3
    assert nothing["predicted_unclipped"] > 7
    assert "lies outside the target's range (1 to 7)" in nothing["reason"]
    assert record["target"] == "panss.N1"
    assert record["predictions"][1]["predicted"] == table["predicted"][1]
    assert "Research use only" in record["notice"]
    beside = json.loads(out.with_suffix(".json").read_text())
    assert beside["estimator_sha256"]
    assert str(study) not in out.with_suffix(".json").read_text()
    assert "out of range" in done.stderr


def test_training_interviews_are_known_again(study: Path) -> None:
    done = call("predict", "--study", study, "--estimator", study / "results" / "N1" / "estimator")
    assert done.exit_code == 0, done.output
    assert "too good" in done.stderr
    written = pd.read_csv(study / "predictions" / "N1.csv")
    assert written["in_training"].all()
    # The folder of its results and the file of its predictions have one name.
    assert [p.name for p in (study / "results").iterdir() if p.is_dir()] == ["N1"]
    assert not (study / "history.jsonl").read_text().count("predict")


def test_other_features_are_refused_with_every_difference(study: Path, tmp_path: Path) -> None:
    other = write_features(
        tmp_path / "other", np.zeros(2), prefix="c", model={"hash": "d" * 64},
        prompts=[{"name": "eleven", "hash": "e" * 64}],
    )  # fmt: skip
    estimator = study / "results" / "N1" / "estimator"
    done = call("predict", "--study", study, "--estimator", estimator, "--features", other)
    assert done.exit_code == 2
    assert "another model" in done.output
    assert "other prompt sets" in done.output
    assert "Traceback" not in done.output
    # Of other prompts come other columns, which is no news then.
    frame = pd.read_parquet(other / "interviews.parquet")
    named = {"mean_happy": "mean_calm", "sd_happy": "sd_calm"}
    frame.rename(columns=named).to_parquet(other / "interviews.parquet")
    settings = json.loads((other / "features.json").read_text())
    settings = {**settings, "pooled_features": list(named.values()), "model": SETTINGS["model"]}
    (other / "features.json").write_text(json.dumps(settings))
    done = call("predict", "--study", study, "--estimator", estimator, "--features", other)
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert "made with other prompt sets: the estimator was fitted to" in done.output
    table = tmp_path / "table.csv"
    table.write_text("participant_id,mean_happy\na,1\n")
    done = call("predict", "--study", study, "--estimator", estimator, "--features", table)
    assert done.exit_code == 2
    assert "no numeric feature column 'sd_happy'" in done.output
    done = call("predict", "--study", study, "--estimator", tmp_path)
    assert done.exit_code == 2
    assert "no estimator is here" in done.output


def test_the_model_card_says_what_it_is_and_is_not(study: Path) -> None:
    card = (study / "results" / "N1" / "estimator" / "model_card.md").read_text()
    metrics = json.loads((study / "results" / "N1" / "metrics.json").read_text())
    assert "Research use only" in card
    assert "panss.N1" in card
    assert f"{metrics['pearson_r']['pooled']:.3f}" in card
    assert "a" * 64 in card
    assert "sub-a0" not in card


def test_a_level_is_shown_as_it_is(study: Path, tmp_path: Path) -> None:
    made = call("regress", "--study", study, "--target", "N1", "--repeats", "2", "--permutations",
                "0", "--bootstrap", "0", "--set", "regression.prediction_level=0.975",
                "--output", tmp_path / "results")  # fmt: skip
    assert made.exit_code == 0, made.output
    (estimator,) = (tmp_path / "results").rglob("estimator")
    card = (estimator / "model_card.md").read_text()
    assert "the rating of 97.5 % of new subjects" in " ".join(card.split())
    new = write_features(tmp_path / "new", np.array([-1.0, 0.5]), prefix="b")
    done = call("predict", "--study", study, "--estimator", estimator, "--features", new,
                "--output", tmp_path / "new.csv")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "97.5 %" in done.output


def test_only_earlier_predictions_are_written_over(study: Path, tmp_path: Path) -> None:
    estimator = study / "results" / "N1" / "estimator"
    new = write_features(tmp_path / "new", np.array([-1.0, 0.5]), prefix="b")
    mine = tmp_path / "mine.csv"
    mine.write_text("participant_id,remark\nb000,called back\n")
    notes = tmp_path / "notes.json"
    notes.write_text("{}")

    def predict(output: Path, features: Path = new) -> Result:
        return call("predict", "--study", study, "--estimator", estimator, "--features", features,
                    "--output", output)  # fmt: skip

    kept = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for output, message in (
        (mine, "mine.csv would be overwritten, and is no earlier prediction"),
        (tmp_path / "notes.csv", "notes.json would be overwritten, and is no earlier prediction"),
        (notes, "--output must name a CSV file, got notes.json"),
        (new / "features.csv", "features.json is read as an input"),
        (new / "interviews.parquet", "interviews.parquet is read as an input"),
        (estimator / "estimator.csv", "estimator.json is read as an input"),
        (tmp_path, "is a folder"),
    ):
        done = predict(output)
        assert done.exit_code == 2, output
        assert message in done.output.replace("\n", " ")
    assert kept == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    out = tmp_path / "out.csv"
    assert predict(out).exit_code == 0
    first = out.read_bytes()
    # Again, over its own.
    assert predict(out).exit_code == 0
    assert out.read_bytes() == first
    # A prediction may hold features of other estimators, but is not read and written at once.
    assert "is read as an input" in predict(out, features=out).output
