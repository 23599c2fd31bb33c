"""Several targets of a study: the faults of all are told before the first one is estimated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.study.protocol import open_study
from emoclip_clinical.study.regress import run_regress

N_PEOPLE = 12
SMALL = "folds: 3, repeats: 1, inner_folds: 2, permutations: 19, bootstrap: 0, importance: false"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a study with a target that can be estimated, and three that can not."""
    rng = np.random.default_rng(0)
    people = [f"p{k:02d}" for k in range(N_PEOPLE)]
    features = pd.DataFrame(rng.normal(size=(N_PEOPLE, 2)), columns=["f", "g"])
    features.assign(participant_id=people).to_csv(tmp_path / "features.csv", index=False)
    rated = pd.DataFrame({"participant_id": people, "N1": np.arange(N_PEOPLE) % 5 + 1})
    rated["P1"] = 1
    rated["N2"] = [1, 3] + [None] * (N_PEOPLE - 2)
    # Of nobody in the features.
    rated["P2"] = None
    rated.loc[N_PEOPLE] = ["p99", None, None, None, 4]
    rated.to_csv(tmp_path / "ratings.csv", index=False)
    return tmp_path


def faults_of(folder: Path, targets: str, more: str = "") -> tuple[str, ...]:
    """Return why the targets are refused, and see that none was estimated or written."""
    (folder / "protocol.yaml").write_text(
        f"data: {{features: features.csv}}\nregression: {{targets: [{targets}], {SMALL}{more}}}\n"
    )
    told: list[object] = []
    with pytest.raises(InputError) as caught:
        run_regress(open_study(folder), progress=lambda *state: told.append(state))
    assert told == []
    assert not (folder / "results").exists()
    return caught.value.faults


CONSTANT = "target panss.P1: all ratings are 1; nothing to estimate"


def test_a_fault_of_the_last_target_is_told_before_the_long_work(folder: Path) -> None:
    assert faults_of(folder, "N1, P1") == (CONSTANT,)


def test_each_fault_names_its_target(folder: Path) -> None:
    few = "target panss.N2: 3 folds need at least 3 subjects, got 2"
    assert faults_of(folder, "N2, N1, P1") == (few, CONSTANT)
    assert faults_of(folder, "N2") == ("3 folds need at least 3 subjects, got 2",)


def test_a_fault_of_all_targets_is_told_once(folder: Path) -> None:
    (fault,) = faults_of(folder, "N1, P1", ", subgroups: [sax]")
    assert fault.startswith("subgroups: there is no rating column 'sax'")


def test_a_target_without_a_visit_is_named(folder: Path) -> None:
    (fault, *_) = faults_of(folder, "N1, P2")
    assert fault.startswith("target panss.P2: ")


def test_a_refused_look_is_a_look(folder: Path) -> None:
    faults_of(folder, "N1, P1")
    assert len((folder / "history.jsonl").read_text().splitlines()) == 1
