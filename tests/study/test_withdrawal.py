"""Someone withdraws: nothing of the study names them afterwards, whatever it is packed in."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.people import hash_people
from emoclip_clinical.records import InputError
from emoclip_clinical.study import withdrawal
from emoclip_clinical.study.mentions import Person, names_person, paths_in_rows, without_rows
from emoclip_clinical.study.protocol import open_study
from emoclip_clinical.study.synthetic import SyntheticConfig, write_study
from emoclip_clinical.study.withdrawal_plan import find_learners
from emoclip_clinical.study.withdrawal_record import append_withdrawal, has_withdrawn

WHO = "sub-003"
SMALL = SyntheticConfig(
    n_training_clips=11, n_validation_clips=11, n_test_clips=11, n_training_people=2,
    n_validation_people=1, n_test_people=1, frames_per_clip=8, n_subjects=10,
    second_visit_share=0.2, interview_seconds=2, n_population=2000,
)  # fmt: skip


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def done(*arguments: str | Path) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_model: ModelConfig) -> Path:
    """A study with everything that a study can hold of a person."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    write_study(folder, config=SMALL, workers=1)
    settings = {
        "model": {**small_model.model_dump(mode="json"), "frames_per_clip": 8},
        "training": {"epochs": 0, "threads": 1},
        "extraction": {"face": "whole_frame", "prompts": ["prompts/synthetic.yaml"]},
        "regression": {"folds": 3, "repeats": 1, "permutations": 0, "bootstrap": 0,
                       "importance": False, "inner_folds": 2},
    }  # fmt: skip
    (folder / "protocol.yaml").write_text(json.dumps(settings))
    done("run", folder / "protocol.yaml", "--device", "cpu")
    estimator = folder / "results/negative_symptoms/estimator"
    done("predict", "--study", folder, "--estimator", estimator)
    shutil.copytree(estimator, folder / "handed_over")
    (folder / "faces").mkdir()
    (folder / "faces" / f"{WHO}_ses-1.png").write_bytes(b"picture")
    (folder / "faces" / "sub-004_ses-1.png").write_bytes(b"picture")
    judged = folder / "evaluation" / "zero_shot"
    judged.mkdir(parents=True)
    (judged / "predictions.csv").write_text("clip,group\n0,003\n1,004\n")
    (judged / "metrics.json").write_text("{}")
    (folder / "exclusions.csv").write_text(
        f"participant_id,reason\n{WHO},a laugh\nsub-004,a cough\n"
    )
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "study")


def everything_in(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file with all that can be read out of it, by other readers than the code's."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        raw = path.read_bytes()
        text = f"{path.relative_to(folder)}\n{raw.decode('latin-1')}"
        text += raw.decode("utf-16-le", "ignore")
        if path.suffix == ".parquet":
            text += pd.read_parquet(path).drop(columns="embedding", errors="ignore").to_csv()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                text += "".join(packed.read(n).decode("latin-1") for n in packed.namelist())
        yield path, text


def naming(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p, text in everything_in(folder) if WHO in text}


def content(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "withdrawals.jsonl"
    }


@pytest.mark.slow
class TestWithdrawal:
    def test_nothing_names_them_afterwards(self, study: Path) -> None:
        assert len(naming(study)) > 12
        before = pd.read_parquet(study / "features/interviews.parquet")
        rows = (study / "ratings.csv").read_bytes().splitlines(keepends=True)
        result = call("withdraw", "003", "--study", study, "--sources", "--yes", "--json")
        assert result.exit_code == 0, result.output
        assert naming(study) == set()
        record = json.loads(result.stdout)
        assert record["remaining"] == {}
        assert record["estimators"] == ["handed_over", "results/negative_symptoms/estimator"]
        # What is of others is as it was.
        left = pd.read_parquet(study / "features/interviews.parquet")
        kept = before[before["participant_id"] != WHO].reset_index(drop=True)
        pd.testing.assert_frame_equal(left, kept)
        assert (study / "ratings.csv").read_bytes() == b"".join(
            row for row in rows if not row.startswith(WHO.encode())
        )
        assert (study / "faces/sub-004_ses-1.png").exists()
        assert (study / "exclusions.csv").read_text() == (
            "participant_id,reason\nsub-004,a cough\n"
        )
        predicted = pd.read_csv(study / "predictions/negative_symptoms.csv")
        assert set(predicted["participant_id"]) == set(kept["participant_id"])
        # Numbers that they were part of are gone, and made again without them.
        assert not (study / "results/negative_symptoms").exists()
        assert not (study / "evaluation/zero_shot").exists()
        done("run", study / "protocol.yaml", "--device", "cpu")
        metrics = json.loads((study / "results/negative_symptoms/metrics.json").read_text())
        assert metrics["n_subjects"] == 9
        assert naming(study) == set()

    def test_sources_are_listed_and_refused_while_they_are_there(self, study: Path) -> None:
        sources = {n for n in naming(study) if n.startswith("interviews/")}
        result = call("withdraw", WHO, "--study", study, "--yes")
        assert result.exit_code == 3
        assert naming(study) == {*sources, "ratings.csv", "truth.csv"}
        assert f"still there: recordings: {len(sources)}" in result.stderr
        assert "still there: tables of ratings: 1" in result.stderr
        for command in (
            ("extract", study / "interviews", "--study", study, "--device", "cpu"),
            ("regress", "--study", study),
            ("faces", "--study", study),
        ):
            refused = call(*command)
            assert refused.exit_code == 2
            assert "participant 'sub-003' has withdrawn consent" in refused.output
        assert not (study / "results/negative_symptoms").exists()
        # Once more, for the rest.
        assert call("withdraw", WHO, "--study", study, "--yes", "--sources").exit_code == 0
        assert naming(study) == set()

    def test_it_asks_first_and_a_dry_run_changes_nothing(self, study: Path) -> None:
        before = content(study)
        shown = done("withdraw", WHO, "--study", study, "--dry-run")
        assert "to be removed: results and evaluations: 2" in shown.stderr
        assert "yours, and left alone: recordings" in shown.stderr
        refused = call("withdraw", WHO, "--study", study)
        assert refused.exit_code == 2
        assert "--yes" in refused.output
        assert content(study) == before
        unknown = call("withdraw", "sub-03", "--study", study, "--yes")
        assert unknown.exit_code == 2
        assert "no file of this study names sub-03" in unknown.output
        assert not (study / "withdrawals.jsonl").exists()

    def test_killed_at_any_point_and_called_again_it_finishes(
        self, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = shutil.copytree(finished, tmp_path / "whole")
        withdraw(whole)
        expected = content(whole)
        for name, at in (
            ("_discard", 0), ("_discard", 2), ("_rewrite", 1), ("_filter_parquet", 1),
            ("_clean_sources", 0), ("_replace", 2), ("append_withdrawal", 1),
        ):  # fmt: skip
            folder = shutil.copytree(finished, tmp_path / f"{name}-{at}")
            with monkeypatch.context() as patch:
                patch.setattr(withdrawal, name, stopping(getattr(withdrawal, name), at))
                with pytest.raises(KeyboardInterrupt):
                    withdraw(folder)
            withdraw(folder)
            assert content(folder) == expected, (name, at)
            lines = (folder / "withdrawals.jsonl").read_text().splitlines()
            assert [json.loads(line)["state"] for line in lines] == ["begun", "begun", "done"]


def withdraw(folder: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    withdrawal.withdraw(open_study(folder), WHO, salt="salt", sources=True, now=lambda: now)


def stopping(function: Callable[..., object], at: int) -> Callable[..., object]:
    """Return the function with an interruption before its call number `at`."""
    calls = iter(range(1000))

    def stopped(*arguments: object, **more: object) -> object:
        if next(calls) == at:
            raise KeyboardInterrupt
        return function(*arguments, **more)

    return stopped


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sub-1", True), ("x,sub-1,y", True), ("sub-1_ses-2_run-1", True), ("sub-1.mp4", True),
        ("a sub-1.", True), ("sub-10", False), ("sub-1b", False), ("sub-1-2", False),
        ("sub-1.5", False), ("xsub-2", False), ("SUB-1", False), ("1", False),
    ],
)  # fmt: skip
def test_an_identifier_is_a_whole_word(text: str, named: bool) -> None:
    assert Person.of("1").is_named_in(text) is named


def test_rows_go_and_every_other_byte_stays() -> None:
    table = (
        '\ufeffparticipant_id;path;note\r\n1;a.mp4;"two\r\nlines; sub-2"\r\nsub-2;b.mp4;x\r\n'
        '10;c.mp4;"é"\n'
    ).encode()
    kept, n = without_rows(table, Person.of("10"))
    assert (n, kept) == (1, table[: table.index(b"10;")])
    assert paths_in_rows(table, Person.of("sub-10")) == ("c.mp4",)
    kept, n = without_rows(table, Person.of("2"))
    # A note that names somebody is of them too.
    assert n == 2
    assert kept.startswith(b"\xef\xbb\xbfparticipant_id")
    assert kept.endswith('10;c.mp4;"é"\n'.encode())


def test_packed_files_are_opened(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", names=np.array(["sub-7", "sub-70"]))
    pd.DataFrame({"participant_id": ["7"], "N1": [2]}).to_excel(tmp_path / "r.xlsx", index=False)
    pd.DataFrame({"interview": ["sub-7_ses-1"] * 500}).to_parquet(tmp_path / "p.parquet")
    for path in tmp_path.iterdir():
        assert names_person(path, Person.of("7"), below=tmp_path), path.name
        assert not names_person(path, Person.of("8"), below=tmp_path), path.name


def test_models_that_learned_from_them_are_named(tmp_path: Path) -> None:
    for name, people in (("theirs", ["003", "x"]), ("others", ["x"]), ("nameless", ["x", ""])):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        part = hash_people(people, salt=name).as_card()
        (folder / "model.json").write_text(json.dumps({"format": 1, "training_people": part}))
        (folder / "model.safetensors").touch()
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / "estimator.json").write_text("{}")
    found = find_learners(open_study(tmp_path), Person.of(WHO))
    assert (found.estimators, found.unknown_estimators) == ((), ("copied",))
    assert found.models == ("theirs",)
    assert found.unknown_models == ("nameless",)


def test_the_record_names_nobody_and_knows_them(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for who in ("sub-003", "sub-009"):
        append_withdrawal(tmp_path, participant_id=who, salt="s", state="done", now=now, removed={})
    text = (tmp_path / "withdrawals.jsonl").read_text()
    assert "003" not in text.replace(json.loads(text.splitlines()[0])["person"]["hashes"][0], "")
    assert has_withdrawn(tmp_path, ["sub-001", "003", "sub-009"]) == ("003", "sub-009")
    path = tmp_path / "withdrawals.jsonl"
    path.write_text(text[:-30])  # the last line was being written when the power went
    assert has_withdrawn(tmp_path, ["sub-003", "sub-009"]) == ("sub-003",)
    append_withdrawal(tmp_path, participant_id="sub-9", salt="s", state="done", now=now)
    with pytest.raises(InputError, match="line 2: can not be read"):
        has_withdrawn(tmp_path, ["sub-003"])


def test_a_link_that_bears_their_name_is_found_and_what_it_leads_to_is_left(
    tmp_path: Path,
) -> None:
    folder, archive = tmp_path / "study", tmp_path / "archive"
    (folder / "interviews").mkdir(parents=True)
    archive.mkdir()
    (archive / "tape.mp4").write_bytes(b"tape")
    (folder / "interviews" / f"{WHO}.mp4").symlink_to(archive / "tape.mp4")
    (folder / "interviews" / WHO).symlink_to(archive)
    (folder / "interviews" / "sub-0031.mp4").symlink_to(archive / "tape.mp4")
    found = withdrawal.plan_withdrawal(open_study(folder), WHO)
    assert sum(found.remaining.values()) == 2
    withdraw(folder)
    assert [p.name for p in (folder / "interviews").iterdir()] == ["sub-0031.mp4"]
    assert (archive / "tape.mp4").read_bytes() == b"tape"


def test_what_is_not_edited_is_the_users_own_and_named(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "visits.txt").write_text(f"{WHO} was late\n")
    (tmp_path / "plan.md").write_text(f"| {WHO} | 3 May |\n")
    (tmp_path / "list.csv").write_text(f"participant_id,x\n{WHO},1\nsub-004,2\n")
    (tmp_path / f"{WHO}.txt").write_text("x")
    shown = done("withdraw", WHO, "--study", tmp_path, "--sources", "--dry-run", "--json")
    own = "yours, and left alone: other files: 2: notes/visits.txt, plan.md"
    assert own in shown.stderr
    assert f"to be removed: other files: 1: {WHO}.txt" in shown.stderr
    assert "rows of them to be removed: other files: 1: list.csv" in shown.stderr
    record = json.loads(shown.stdout)
    assert record["source_files"] == ["list.csv", "notes/visits.txt", "plan.md", f"{WHO}.txt"]
    assert record["remaining_files"] == ["notes/visits.txt", "plan.md"]
    without = call("withdraw", WHO, "--study", tmp_path, "--yes")
    assert without.exit_code == 3
    still = "still there: other files: {}; remove them yourself{}\n"
    assert still.format(f"1: {WHO}.txt", ", or with --sources") in without.stderr
    assert still.format("2: notes/visits.txt, plan.md", "") in without.stderr
    for _ in range(2):
        ended = call("withdraw", WHO, "--study", tmp_path, "--sources", "--yes")
        assert ended.exit_code == 3
        assert own in ended.stderr
        assert still.format("2: notes/visits.txt, plan.md", "") in ended.stderr
        assert "or with --sources" not in ended.stderr
    assert not (tmp_path / f"{WHO}.txt").exists()
    assert (tmp_path / "list.csv").read_text() == "participant_id,x\nsub-004,2\n"
    # What was written down names nobody.
    assert "notes" not in (tmp_path / "withdrawals.jsonl").read_text()
