"""Steps by hand: what runs, why, and what a failure stops."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from emoclip_clinical.file_hashes import FileHashes
from emoclip_clinical.records import InputError
from emoclip_clinical.study.graph import (
    Basis,
    Decision,
    Step,
    StepRecords,
    changes,
    chosen_steps,
    plan_steps,
    run_steps,
)
from emoclip_clinical.study.provenance import tree_sha256


class Kitchen:
    """Three steps over files: a and b read a source each, c reads what both wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ran = folder, []
        self.settings = {"b.salt": 1}
        self.code = "1"
        self.broken: dict[str, Exception] = {}
        self.honest = False
        for name in ("first", "second"):
            (folder / name).write_text(name)

    def step(self, name: str, sources: tuple[str, ...], reads: tuple[str, ...]) -> Step:
        target = self.folder / f"{name}.out"

        def run() -> bool:
            self.ran.append(name)
            if name in self.broken:
                raise self.broken[name]
            target.write_text("+".join((self.folder / s).read_text() for s in sources))
            return True

        def basis() -> Basis:
            inputs = {s: tree_sha256(self.folder / s) for s in sources}
            own = {k: v for k, v in self.settings.items() if k.startswith(name)}
            return Basis(inputs, own, self.code)

        return Step(name, reads, basis, {"dish": target}, lambda: self.honest, run)

    def steps(self) -> tuple[Step, ...]:
        return (
            self.step("a", ("first",), ()),
            self.step("b", ("second",), ()),
            self.step("c", ("a.out", "b.out"), ("a", "b")),
        )

    def records(self) -> StepRecords:
        return StepRecords(self.folder / "records", hashes=FileHashes(self.folder / "hashes.json"))

    def run(self, **more: object) -> dict[str, str]:
        self.ran.clear()
        ends = run_steps(self.steps(), records=self.records(), **more)
        return {end.step: end.ending for end in ends}

    def plan(self) -> dict[str, Decision]:
        return {d.step: d for d in plan_steps(self.steps(), records=self.records())}


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


def test_what_is_done_is_not_done_again(kitchen: Kitchen) -> None:
    assert set(kitchen.run().values()) == {"done"}
    assert set(kitchen.run().values()) == {"skipped"}
    assert kitchen.ran == []
    assert {d.verdict for d in kitchen.plan().values()} == {"skip"}


@pytest.mark.parametrize(
    ("change", "ran", "reason"),
    [
        (lambda k: (k.folder / "first").write_text("new"), ["a", "c"], "input first changed"),
        (lambda k: k.settings.update({"b.salt": 2}), ["b"], "setting b.salt: 1 → 2"),
        (lambda k: (k.folder / "b.out").unlink(), ["b"], "none of its outputs is there"),
        (
            lambda k: (k.folder / "b.out").write_text("spilt"),
            ["b"],
            "output dish is not as it was written",
        ),
        (
            lambda k: setattr(k, "code", "2"),
            ["a", "b", "c"],
            "version of emoclip-clinical: 1 → 2",
        ),
    ],
)
def test_a_change_runs_what_depends_on_it_and_says_why(
    kitchen: Kitchen, change: Callable[[Kitchen], object], ran: list[str], reason: str
) -> None:
    kitchen.run()
    change(kitchen)
    plan = kitchen.plan()
    assert plan[ran[0]].verdict == "run"
    assert plan[ran[0]].reasons == (reason,)
    assert plan["c"].verdict == "perhaps"
    assert kitchen.ran == [*"abc"]  # planning runs nothing
    kitchen.run()
    # c runs only where what it reads has other bytes now, or the code changed.
    assert kitchen.ran == ran


def test_a_failure_stops_only_what_needs_it(kitchen: Kitchen) -> None:
    kitchen.run()
    before = (kitchen.folder / "c.out").read_bytes()
    (kitchen.folder / "first").write_text("new")
    kitchen.settings["b.salt"] = 5
    kitchen.broken["a"] = InputError("spoilt")
    assert kitchen.run() == {"a": "failed", "b": "done", "c": "blocked"}
    assert (kitchen.folder / "c.out").read_bytes() == before
    kitchen.broken.clear()
    assert kitchen.run() == {"a": "done", "b": "skipped", "c": "done"}


def test_an_interruption_goes_through_at_once(kitchen: Kitchen) -> None:
    kitchen.broken["b"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        kitchen.run()
    assert kitchen.ran == ["a", "b"]
    kitchen.broken.clear()
    assert kitchen.run() == {"a": "skipped", "b": "done", "c": "done"}


def test_half_written_outputs_of_other_settings_are_not_believed(kitchen: Kitchen) -> None:
    kitchen.run()
    kitchen.settings["b.salt"] = 2
    (kitchen.folder / "b.out").write_text("half of the new dish")  # as a kill leaves it
    kitchen.settings["b.salt"] = 1
    assert kitchen.run()["b"] == "done"
    assert (kitchen.folder / "b.out").read_text() == "second"


def test_records_may_be_deleted_where_outputs_vouch_for_themselves(kitchen: Kitchen) -> None:
    kitchen.run()
    for path in (kitchen.folder / "records").iterdir():
        path.unlink()
    assert kitchen.plan()["a"].reasons == ("there is no record of an earlier run",)
    kitchen.honest = True
    assert set(kitchen.run().values()) == {"skipped"}
    kitchen.honest = False
    assert set(kitchen.run().values()) == {"skipped"}, "the records are there again"


def test_from_and_only(kitchen: Kitchen) -> None:
    kitchen.run()
    steps = kitchen.steps()
    assert [s.name for s in chosen_steps(steps, first="b")] == ["b", "c"]
    assert [s.name for s in chosen_steps(steps, only="b")] == ["b"]
    assert kitchen.run(forced="b") == {"a": "skipped", "b": "done", "c": "skipped"}
    with pytest.raises(InputError, match="has the steps a, b, c, got 'd'"):
        chosen_steps(steps, first="d")
    with pytest.raises(InputError, match="can not be given together"):
        chosen_steps(steps, first="a", only="b")


def test_reasons_show_numbers_but_no_text() -> None:
    then = Basis({"x": "1", "y": "2"}, {"n": 1, "file": "ann.csv", "on": True}, "1")
    now = Basis({"x": "1", "z": "2"}, {"n": 2.5, "file": "bob.csv", "on": None}, "1")
    assert changes(then, now) == (
        "input y is gone", "input z is new", "setting file changed", "setting n: 1 → 2.5",
        "setting on: true → null",
    )  # fmt: skip
    many = Basis({str(i): "1" for i in range(9)}, {}, "1")
    assert changes(Basis({}, {}, "1"), many)[-1] == "and 3 more"


class TestFileHashes:
    def test_a_file_is_read_once_while_it_stays_the_same(self, tmp_path: Path) -> None:
        video = tmp_path / "sub-ann.mp4"
        video.write_bytes(b"frames")
        later = os.stat(video).st_mtime + 100
        memory = tmp_path / "hashes.json"

        def fresh() -> FileHashes:
            return FileHashes(memory, wall_seconds=lambda: later)

        hashes = fresh()
        assert hashes.file(video) == hashlib.sha256(b"frames").hexdigest()
        hashes.save()
        again = fresh()
        assert again.file(video) == hashlib.sha256(b"frames").hexdigest()
        assert again.n_read == 0
        video.write_bytes(b"FRAMES")
        assert again.file(video) == hashlib.sha256(b"FRAMES").hexdigest()
        assert "ann" not in memory.read_text()

    def test_a_file_that_is_just_being_written_is_not_remembered(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"1")
        hashes = FileHashes(tmp_path / "h.json", wall_seconds=lambda: os.stat(path).st_mtime + 1)
        hashes.file(path)
        hashes.save()
        assert json.loads((tmp_path / "h.json").read_text()) == {}

    def test_a_damaged_memory_is_an_empty_one(self, tmp_path: Path) -> None:
        (tmp_path / "h.json").write_text("{")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "x").write_text("1")
        hashes = FileHashes(tmp_path / "h.json")
        folder, nothing = tmp_path / "folder", tmp_path / "nothing"
        assert tree_sha256(folder, hashes) == tree_sha256(folder)
        assert tree_sha256(nothing, hashes) is None
