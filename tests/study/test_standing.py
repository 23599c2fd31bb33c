"""What is said of a result: locks before outcomes, looks, attacks on the history, stamps."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.study.checks import validate_study
from emoclip_clinical.study.freezing import add_stamp, freeze
from emoclip_clinical.study.history import read_history
from tests.study.locked_study import (
    MOMENT,
    PEOPLE,
    build,
    look,
    ratings,
    standing_of,
    write_ratings,
)

MATCHES = "matches the lock; no earlier look recorded in this folder"


def clock():
    return MOMENT - timedelta(days=1)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study that was frozen before there were ratings; they have come as they were to."""
    build(tmp_path)
    freeze(tmp_path, now=clock)
    write_ratings(tmp_path)
    return tmp_path


def test_a_lock_made_before_ratings_stays_valid_when_they_come(study: Path) -> None:
    standing = standing_of(study)
    assert standing.kind == "matches_lock"
    assert standing.statement == MATCHES
    assert (standing.earlier_looks, standing.differences) == (0, ())
    # More columns, raters and people without a video change nothing that was planned.
    table = ratings(study).assign(age="40")
    table.loc[len(table)] = ["sub-999", "1", "1", "30"]
    write_ratings(study, table)
    assert standing_of(study).kind == "matches_lock"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda t: t.drop(index=3), f"ratings: no row of {PEOPLE[3]}"),
        (lambda t: t.drop(columns="M2"), "column 'M2' is missing from the ratings"),
    ],
)
def test_ratings_that_come_otherwise_are_told(study: Path, change, difference: str) -> None:
    write_ratings(study, change(ratings(study)))
    standing = standing_of(study)
    assert standing.kind == "exploratory"
    assert difference in " ".join([standing.statement, *standing.differences])


def test_a_template_without_values_is_a_structure(tmp_path: Path) -> None:
    build(tmp_path)
    write_ratings(tmp_path, ratings(tmp_path, empty=True))
    freeze(tmp_path, now=clock)
    validate_study(tmp_path)
    assert read_history(tmp_path).looks == ()
    write_ratings(tmp_path)
    assert standing_of(tmp_path).statement == MATCHES
    write_ratings(tmp_path, ratings(tmp_path).assign(age="40"))
    assert standing_of(tmp_path).differences == ("ratings: column age is new",)
    write_ratings(tmp_path, ratings(tmp_path).drop(index=[0]))
    assert standing_of(tmp_path).differences == (f"ratings: the row of {PEOPLE[0]} is gone",)


def test_values_are_locked_only_where_that_is_asked_for(tmp_path: Path) -> None:
    build(tmp_path)
    with pytest.raises(InputError, match="--with-values needs ratings"):
        freeze(tmp_path, with_values=True)
    write_ratings(tmp_path)
    freeze(tmp_path, now=clock)
    assert "had values already when the lock was written" in standing_of(tmp_path).statement
    other = ratings(tmp_path)
    other.loc[0, "M1"] = "7" if other.loc[0, "M1"] != "7" else "6"
    write_ratings(tmp_path, other)
    assert standing_of(tmp_path).kind == "matches_lock"
    freeze(tmp_path, now=clock, with_values=True, overwrite=True)
    write_ratings(tmp_path)
    (difference,) = standing_of(tmp_path).differences
    assert difference.startswith("ratings: values ")


def test_a_plan_that_was_not_frozen_is_exploratory(tmp_path: Path) -> None:
    build(tmp_path)
    write_ratings(tmp_path)
    standing = standing_of(tmp_path)
    assert standing.kind == "exploratory"
    assert standing.statement.startswith("exploratory: there is no lock")


def test_a_changed_setting_is_exploratory_and_paths_are_not_told(study: Path) -> None:
    (study / "secret.csv").write_bytes((study / "ratings.csv").read_bytes())
    standing = standing_of(study, "regression.folds=4", "data.ratings=secret.csv")
    assert standing.kind == "exploratory"
    assert set(standing.differences) == {"data.ratings: changed", "regression.folds: 3 → 4"}


def test_the_same_analysis_again_is_no_news_and_another_one_is(study: Path) -> None:
    look(study)
    again = standing_of(study)
    assert again.kind == "matches_lock"
    assert again.statement == f"{MATCHES}, except this same analysis, run once before"
    look(study, "regression.folds=4", command="run")
    after = standing_of(study)
    assert after.kind == "exploratory"
    assert after.earlier_looks == 1
    assert "1 earlier look at this target (run 1)" in after.statement


def test_a_change_of_ratings_after_the_first_look_is_exploratory(study: Path) -> None:
    look(study)
    changed = ratings(study)
    changed.loc[2, "M2"] = "1" if changed.loc[2, "M2"] != "1" else "2"
    write_ratings(study, changed)
    assert standing_of(study).earlier_looks == 1
    assert standing_of(study).kind == "exploratory"


def test_validate_is_a_look_unless_it_reads_no_value(study: Path) -> None:
    validate_study(study, values=False)
    assert standing_of(study).statement == MATCHES
    validate_study(study)
    standing = standing_of(study)
    assert standing.kind == "exploratory"
    assert "(validate 1)" in standing.statement


def test_looks_count_by_what_they_looked_at(study: Path) -> None:
    look(study, "regression.targets=[M2]")  # an item of the target
    assert standing_of(study).earlier_looks == 1
    write_ratings(study, ratings(study).assign(age="40"))
    assert standing_of(study, "regression.targets=[age]").earlier_looks == 0


def test_a_look_before_the_lock_counts_even_at_the_same_settings(tmp_path: Path) -> None:
    build(tmp_path)
    write_ratings(tmp_path)
    look(tmp_path)
    frozen = freeze(tmp_path, now=clock)
    assert frozen.n_earlier_looks == 1
    assert standing_of(tmp_path).kind == "exploratory"
    assert standing_of(tmp_path).earlier_looks == 1


def edit_line(study: Path) -> None:
    path = study / "history.jsonl"
    path.write_text(path.read_text().replace('"regress"', '"rEgress"', 1))


def cut_tail(study: Path) -> None:
    path = study / "history.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def drop_middle(study: Path) -> None:
    path = study / "history.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[2:]]))


def delete(study: Path) -> None:
    (study / "history.jsonl").unlink()


def replace_by_fresh(study: Path) -> None:
    delete(study)
    look(study)


def take_from_other_folder(study: Path) -> None:
    other = study.parent / "other"
    other.mkdir()
    build(other)
    write_ratings(other)
    freeze(other, now=clock)
    look(other)
    look(other)
    shutil.copy(other / "history.jsonl", study / "history.jsonl")


def forge_with_the_same_id(study: Path) -> None:
    """Write a sound chain anew, with the study's id and the lock's line, but without the look."""
    from emoclip_clinical.study.provenance import json_sha256

    path = study / "history.jsonl"
    first, second = map(json.loads, path.read_text().splitlines()[:2])
    second["targets"] = ["P7"]
    second.pop("hash")
    second["hash"] = json_sha256(second)
    path.write_text(json.dumps(first) + "\n" + json.dumps(second) + "\n")


ATTACKS = (edit_line, cut_tail, drop_middle, delete, replace_by_fresh, take_from_other_folder,
           forge_with_the_same_id)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_on_the_history_make_results_exploratory_for_good(study: Path, attack) -> None:
    inside = study / "copy"
    shutil.copytree(study, inside)
    study = inside
    look(study)
    assert standing_of(study).kind == "matches_lock"
    attack(study)
    standing = standing_of(study)
    assert standing.kind == "exploratory"
    assert "history" in standing.statement
    # Going on as if nothing had happened does not heal it.
    look(study)
    look(study)
    assert standing_of(study).kind == "exploratory"


def test_a_lock_that_was_edited_is_not_believed(study: Path) -> None:
    path = study / "protocol.lock"
    path.write_text(path.read_text().replace("folds: 3", "folds: 4", 1))
    standing = standing_of(study, "regression.folds=4")
    assert standing.differences == ()
    assert "the lock was changed after it was written" in standing.statement


def test_confirmatory_takes_a_registration_before_the_first_look(study: Path) -> None:
    before = (study / "protocol.lock").read_bytes()
    with pytest.raises(InputError, match="takes a DOI"):
        add_stamp(study / "protocol.lock", registration="somewhere")
    add_stamp(study / "protocol.lock", registration="10.17605/OSF.IO/ABCDE", now=clock)
    assert (study / "protocol.lock").read_bytes() == before
    standing = standing_of(study)
    assert standing.kind == "confirmatory"
    assert standing.statement.startswith(MATCHES)
    assert "declared by the user and not checked here" in standing.statement
    assert standing_of(study, "regression.folds=4").kind == "exploratory"
    # Noted after the look, it says nothing about what was planned before it.
    look(study)
    add_stamp(
        study / "protocol.lock",
        registration="https://osf.io/abcde",
        now=lambda: MOMENT + timedelta(days=1),
    )
    late = standing_of(study, now=MOMENT + timedelta(days=2))
    assert late.kind == "matches_lock"
    assert "later than the first look" in late.statement


def test_a_stamp_of_another_lock_is_refused(study: Path) -> None:
    add_stamp(study / "protocol.lock", registration="10.17605/OSF.IO/ABCDE", now=clock)
    stamp = study / "protocol.lock.stamp.json"
    record = json.loads(stamp.read_text())
    stamp.write_text(json.dumps({**record, "lock_sha256": "0" * 64}))
    assert "is of another lock" in standing_of(study).statement
    assert standing_of(study).kind == "exploratory"
