"""What a user types: the plain calls, the likely mistakes, and the exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.regression.config import RegressionConfig

PANSS = [*(f"P{i}" for i in range(1, 8)), *(f"N{i}" for i in range(1, 8))]


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(result: Result) -> str:
    """Return the messages of a refusal: exit code 2 and no traceback."""
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study with features and ratings of 40 participants; N1 follows the first feature."""
    rng = np.random.default_rng(0)
    names = [f"sub-{i:03d}" for i in range(40)]
    features = pd.DataFrame(rng.normal(size=(40, 4)), columns=list("abcd"))
    features.insert(0, "participant_id", names)
    features.to_csv(tmp_path / "features.csv", index=False)
    ratings = pd.DataFrame(rng.integers(1, 8, (40, len(PANSS))), columns=PANSS)
    trait = features["a"] + 0.5 * rng.normal(size=40)
    ratings["N1"] = np.clip(np.round(4 + 1.5 * trait), 1, 7).astype(int)
    ratings["note"] = "x"
    ratings.insert(0, "participant_id", names)
    ratings.to_csv(tmp_path / "ratings.csv", index=False)
    return tmp_path


def regress(study: Path, *more: str | Path) -> Result:
    quick = ("--repeats", "2", "--permutations", "99", "--bootstrap", "200")
    return call("regress", "--study", study, "--features", study / "features.csv", *quick, *more)


def test_help_is_there_for_every_command() -> None:
    names = re.findall(r"^│ ([a-z]+) ", call("--help").output, flags=re.MULTILINE)
    assert {"demo", "init", "validate", "doctor", "train", "extract", "regress", "run"} <= set(
        names
    )
    for name in names:
        result = call(name, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.output


def test_help_shows_the_defaults_of_the_settings() -> None:
    settings = RegressionConfig()
    lines = call("regress", "--help").output.replace("│", " ")
    shown = {entry.split()[0]: entry for entry in re.split(r"\n\s+--(?=[a-z])", lines)[1:]}
    for name in ("model", "cv", "folds", "repeats", "permutations", "bootstrap"):
        assert f"[default: ({getattr(settings, name)})]" in " ".join(shown[name].split()), name
    assert "default" not in shown["where"]
    assert "The headline interval, of r within folds, needs none" in " ".join(
        shown["bootstrap"].split()
    )
    hint = " ".join(shown["set"].split())
    for name in ("raters", "missing_items", "impute"):
        field = RegressionConfig.model_fields[name]
        assert f"regression.{name}={field.default}" in hint
        assert all(choice in hint for choice in get_args(field.annotation)), name
    said = " ".join(call("predict", "--help").output.split())
    assert f"(regression.prediction_level, {settings.prediction_level})" in said


def test_power_says_which_criteria_its_number_answers() -> None:
    without = call("power", "--predictors", "10", "--r-squared", "0.16").output
    assert call("power").output == without
    assert "a model of 10 predictors, R² 0.16 (Riley" in without
    rows = [line.split() for line in without.splitlines() if line.strip()]
    assert ["mean", "not", "known"] in [row[:3] for row in rows]
    assert "all but mean" in without
    assert "every criterion but mean holds" in without
    known = call("power", "--predictors", "10", "--r-squared", "0.16", "--mean", "21",
                 "--sd", "6").output  # fmt: skip
    assert "every criterion holds" in known
    assert "not known" not in known


def test_long_numbers_of_sites_are_sites_of_their_own(study: Path) -> None:
    codes = [1100001, 1100002, 2100001, 2100002]
    ratings = pd.read_csv(study / "ratings.csv")
    ratings["site"] = np.arange(40) % 4
    ratings["site"] = ratings["site"].map(dict(enumerate(codes)))
    ratings.to_csv(study / "ratings.csv", index=False)
    result = regress(study, "--target", "N1", "--cv", "leave_one_site_out", "--json")
    assert result.exit_code == 0, result.output
    folds = pd.read_csv(study / "results" / "N1" / "folds.csv")
    assert folds["n_test_subjects"].tolist() == [10, 10, 10, 10]
    made = json.loads(result.stdout)["N1"]
    groups = [g["level"] for g in made["subgroups"] if g["variable"] == "site"]
    assert groups == list(map(str, codes))


def test_a_planted_effect_is_found_and_written(study: Path) -> None:
    result = regress(study, "--target", "N1", "--target", "N2", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["N1"]["pearson_r"]["pooled"] > 0.6
    assert summary["N1"]["pearson_r"]["p_permutation"] == pytest.approx(0.01)
    for target in ("N1", "N2"):
        folder = study / "results" / target
        written = json.loads((folder / "metrics.json").read_text())
        assert written == summary[target]
        predictions = pd.read_csv(folder / "predictions.csv")
        assert list(predictions) == [
            "participant_id", "session_id", "repeat", "fold", "observed", "predicted",
        ]  # fmt: skip
        assert len(predictions) == 80
        assert (folder / "report.html").read_text(encoding="utf-8").lstrip().startswith("<!")
        provenance = (folder / "provenance.json").read_text()
        assert str(study) not in provenance
        assert json.loads(provenance)["inputs"]["ratings"]


def test_every_look_at_ratings_is_recorded(study: Path) -> None:
    from emoclip_clinical.study.history import read_history

    regress(study, "--target", "N1")
    regress(study, "--target", "N2")
    history = read_history(study)
    assert [entry["targets"] for entry in history.entries] == [["N1"], ["N2"]]
    assert history.sound
    path = study / "history.jsonl"
    path.write_text(path.read_text().replace('"N1"', '"N3"'))
    assert not read_history(study).sound


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="N3"), "N3"),
        (lambda t: t.assign(N1=[9, *t["N1"][1:]]), "item N1 must be an integer from 1 to 7, got 9"),
        (
            lambda t: t.assign(N2=[2.5, *t["N2"][1:]]),
            "item N2 must be an integer from 1 to 7, got 2.5",
        ),
        (lambda t: pd.concat([t, t[:1]]), "sub-000"),
        (
            lambda t: t.assign(participant_id="x" + t["participant_id"].str[4:]),
            "no visit in common",
        ),
        (lambda t: t.drop(columns="participant_id"), "column 'participant_id' is missing"),
        (lambda t: t[:4], "5 folds need at least 5 subjects, got 4"),
        (lambda t: t.assign(**dict.fromkeys(PANSS, 3)), "nothing to estimate"),
    ],
)
def test_ratings_that_can_not_be_used(
    study: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    path = study / "ratings.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)
    assert message in refused(regress(study, "--target", "negative_symptoms"))
    assert not (study / "results").exists()


def test_windows_bytes_are_named_by_row_and_column(study: Path) -> None:
    path = study / "ratings.csv"
    path.write_bytes(path.read_bytes().replace(b",x\n", b",\xe9\n", 1))
    message = refused(regress(study, "--target", "N1"))
    assert "byte 0xe9 in row 2" in message
    assert "'note'" in message
    assert regress(study, "--target", "N1", "--set", "data.encoding=cp1252").exit_code == 0


def test_what_spreadsheets_write_is_read(study: Path) -> None:
    plain = regress(study, "--target", "N1", "--json").stdout
    path = study / "ratings.csv"
    text = path.read_text()
    for changed in ("\ufeff" + text.replace(",", ";"), text.replace(",", "\t")):
        path.write_text(changed, encoding="utf-8")
        result = regress(study, "--target", "N1", "--json")
        assert result.exit_code == 0
        assert result.stdout == plain


def test_a_missing_rating_and_strangers_are_warnings(study: Path) -> None:
    path = study / "ratings.csv"
    table = pd.read_csv(path).astype({"N1": object})
    table.loc[0, "N1"] = "n/a"
    table.loc[1, "participant_id"] = "sub-elsewhere"
    table.to_csv(path, index=False)
    result = regress(study, "--target", "N1")
    assert result.exit_code == 0
    assert "warning" in result.stderr
    written = json.loads((study / "results/N1/metrics.json").read_text())
    assert written["n_subjects"] == 38
    assert len(pd.read_csv(study / "results/N1/excluded.csv")) == 3


def test_models_schemes_and_confounds_by_option(study: Path) -> None:
    table = pd.read_csv(study / "ratings.csv")
    table["age"], table["site"] = range(len(table)), [f"s{k % 3}" for k in range(len(table))]
    table.to_csv(study / "ratings.csv", index=False)
    words = (
        "--target", "N1", "--model", "pls", "--compare", "ridge", "--cv", "leave_one_site_out",
        "--site", "site", "--json", "--permutations", "0", "--confounds",
    )  # fmt: skip
    assert "'site' can not be a confound" in refused(regress(study, *words, "age, site"))
    found = regress(study, *words, "age")
    assert found.exit_code == 0, found.output
    record = json.loads(found.stdout)["N1"]
    assert (record["model"], record["cv"]["scheme"], record["cv"]["folds"]) == (
        "pls", "leave_one_site_out", 3,
    )  # fmt: skip
    assert record["confounds"]["names"] == ["age"]
    assert {"pls", "ridge", "dummy", "covariates_only"} <= {m["name"] for m in record["models"]}
    assert "no permutations were asked for" in found.stderr
    assert "no such column" in refused(regress(study, "--target", "N1", "--confounds", "weight"))
    assert "remove_confounds needs confounds" in refused(
        regress(study, "--target", "N1", "--remove-confounds")
    )
    assert "regression.model" in refused(regress(study, "--target", "N1", "--model", "lasso"))


def test_the_table_fits_a_narrow_terminal(study: Path) -> None:
    shown = regress(study, "--target", "N1", "--target", "N2").stdout.splitlines()
    assert max(map(len, shown)) <= 80
    assert any("pooled" in line and "interval" in line for line in shown)


def test_an_unknown_target_suggests_near_names(study: Path) -> None:
    assert "negative_symptoms" in refused(regress(study, "--target", "negativ_symptoms"))


def test_where_selects_and_its_mistakes_are_explained(study: Path) -> None:
    assert "--where takes column=value, got 'N1'" in refused(
        regress(study, "--target", "N2", "--where", "N1")
    )
    assert "nowhere" in refused(regress(study, "--target", "N2", "--where", "nowhere=1"))


def test_a_protocol_with_three_faults_lists_the_three(study: Path) -> None:
    (study / "protocol.yaml").write_text(
        "regression:\n  fold: 5\n  repeats: many\ndata:\n  clips: gone.csv\n"
    )
    message = refused(call("train", "--study", study))
    assert "protocol.yaml, line 2: unknown key regression.fold; did you mean folds?" in message
    assert "protocol.yaml, line 3: regression.repeats" in message
    assert "got 'many'" in message
    assert "protocol.yaml, line 5: data.clips: no such file" in message


def test_validate_lists_the_faults_of_all_files(study: Path) -> None:
    (study / "interviews").mkdir()
    (study / "interviews" / "somebody.mp4").touch()
    path = study / "ratings.csv"
    table = pd.read_csv(path)
    table.loc[0, "N1"] = 9
    table.to_csv(path, index=False)
    message = refused(call("validate", "--study", study))
    assert "somebody.mp4" in message
    assert "got 9" in message


@pytest.mark.parametrize("there", [False, True])
def test_a_table_in_the_place_of_the_folder_is_pointed_at(study: Path, *, there: bool) -> None:
    (study / "tapes").mkdir()
    for k in range(40):
        (study / "tapes" / f"{k}.mp4").write_text(str(k))
    rows = [f"tapes/{k}.mp4,sub-{k:03d}" for k in range(40)]
    (study / "interviews.csv").write_text("\n".join(["path,participant_id", *rows]))
    (study / "protocol.yaml").write_text("regression: {targets: [N1]}")
    if there:
        (study / "interviews").mkdir()
    check = ("validate", "--without-values", "--study", study)
    extract = ("extract", study / "interviews", "--study", study, "--model", study)
    for command in (check, extract, ("run", study / "protocol.yaml", "--only", "extract")):
        assert "set data.interviews: interviews.csv" in refused(call(*command)), command
    assert "40 interviews" in call(*check, "--set", "data.interviews=interviews.csv").output


def test_init_makes_a_protocol_that_is_valid_and_keeps_one_that_is_there(tmp_path: Path) -> None:
    from emoclip_clinical.study.protocol import Protocol, open_study

    begun = call("init", tmp_path / "new")
    assert begun.exit_code == 0
    # The first command that it leads to leaves the study as confirmatory as it was.
    assert "run `emoclip-clinical validate --without-values`" in " ".join(begun.output.split())
    made = open_study(tmp_path / "new").protocol
    assert made == Protocol(name="my-study")
    assert "is there already" in refused(call("init", tmp_path / "new"))


def test_a_setting_of_ours_says_once_what_came(tmp_path: Path) -> None:
    said = refused(call("extract", tmp_path, "--study", tmp_path, "--patient", "Left"))
    wanted = "largest, longest, left, right, track:<k> (k from 1) or reference"
    assert said.strip() == f"error: --set: extraction.patient must be {wanted}, got 'Left'"


def test_the_shipped_protocols_are_valid(tmp_path: Path) -> None:
    from emoclip_clinical.study.protocol import open_study
    from emoclip_clinical.study.shipped import shipped_protocol

    for name in ("demo", "new_study"):
        (tmp_path / "protocol.yaml").write_text(shipped_protocol(name))
        open_study(tmp_path)


class TestExtract:
    """Refusals and part failures of `extract`, with a model of a second's making."""

    @pytest.fixture
    def modelled(self, tmp_path: Path, small_model: ModelConfig) -> Path:
        (tmp_path / "protocol.yaml").write_text(
            json.dumps(
                {
                    "model": small_model.model_dump(mode="json"),
                    "extraction": {"face": "whole_frame"},
                }
            )
        )
        result = call("train", "--study", tmp_path, "--epochs", "0", "--pretrained", "none")
        assert result.exit_code == 0, result.output
        (tmp_path / "interviews").mkdir()
        return tmp_path

    def test_no_such_folder_and_an_empty_one(self, modelled: Path) -> None:
        assert "gone" in refused(call("extract", modelled / "gone", "--study", modelled))
        refused(call("extract", modelled / "interviews", "--study", modelled))

    def test_one_bad_video_does_not_stop_the_others(
        self, modelled: Path, write_video: Callable[..., Path]
    ) -> None:
        folder = modelled / "interviews"
        frames = np.random.default_rng(0).integers(0, 256, (150, 64, 64, 3), dtype=np.uint8)
        whole = write_video(folder / "sub-good.mp4", frames)
        (folder / "sub-text.mp4").write_text("this is no video")
        content = whole.read_bytes()
        (folder / "sub-cut.mp4").write_bytes(content[: len(content) // 2])
        result = call("extract", folder, "--study", modelled, "--json")
        assert result.exit_code == 3, result.output
        summary = json.loads(result.stdout)
        status = {i["interview"]: i["status"] for i in summary["interviews"]}
        assert status["sub-good"] == "ok"
        assert status["sub-text"] == "failed"
        table = pd.read_parquet(modelled / "features" / "interviews.parquet")
        assert set(table["interview"]) == {"sub-good", "sub-text", "sub-cut"}
        again = call("extract", folder, "--study", modelled, "--json")
        assert json.loads(again.stdout)["n_kept"] >= 1

    def test_an_interview_without_a_score_is_done_in_part(
        self, modelled: Path, write_video: Callable[..., Path]
    ) -> None:
        folder = modelled / "interviews"
        grey = np.full((60, 64, 64, 3), 128, dtype=np.uint8)
        grey[:, ::2] = np.random.default_rng(0).integers(0, 256, (60, 32, 64, 3), dtype=np.uint8)
        write_video(folder / "sub-good.mp4", grey)
        write_video(folder / "sub-dark.mp4", np.zeros_like(grey))
        bright = ("--set", "extraction.quality.minimum_brightness=40")
        found = call("extract", folder, "--study", modelled, "--json", *bright)
        assert found.exit_code == 3, found.output
        summary = json.loads(found.stdout)
        assert summary["n_unscored"] == 1
        assert (summary["n_failed"], summary["n_partial"]) == (0, 0)
        assert {i["interview"]: i["n_ok"] > 0 for i in summary["interviews"]} == {
            "sub-dark": False,
            "sub-good": True,
        }
        ran = call("run", modelled / "protocol.yaml", "--only", "extract", *bright)
        assert ran.exit_code == 3, ran.output
        assert "sub-dark: low_coverage: none of" in ran.output
        assert call("extract", folder, "--study", modelled).exit_code == 0

    def test_without_a_model_it_says_how_to_make_one(self, tmp_path: Path) -> None:
        (tmp_path / "sub-a.mp4").touch()
        message = refused(call("extract", tmp_path / "sub-a.mp4", "--study", tmp_path))
        assert "emoclip-clinical train" in message

    def test_an_unknown_setting_is_explained(self, modelled: Path) -> None:
        message = refused(
            call("extract", modelled / "interviews", "--study", modelled, "--face", "nose")
        )
        assert "extraction.face" in message
        assert "'nose'" in message
