"""Results beside the viewer: read whole, or named as what can not be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emoclip_clinical.serving.viewer.cohort import Cohort, open_cohort
from emoclip_clinical.study.protocol import open_study

KEYS = "participant_id,session_id"
MOMENTS = "interview,segment,onset,duration,influence,rank"


def opened(study: Path, *, hide_estimates: bool = False) -> Cohort:
    """Open a study, and everything that its page would ask for."""
    cohort = open_cohort(open_study(study), hide_estimates=hide_estimates)
    cohort.overview()
    for name in cohort.interviews.index:
        cohort.timeline(str(name))
    return cohort


def unread(cohort: Cohort) -> list[str]:
    return [w for w in cohort.warnings if "can not be read" in w]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metrics.json", b"null"),
        ("metrics.json", b"[]"),
        ("metrics.json", b'{"target": '),
        ("metrics.json", b"\xff\xfe"),
        ("metrics.json", None),
        ("predictions.csv", b""),
        ("predictions.csv", b"\xff\xfe"),
        ("predictions.csv", b"a,b\n1,2\n"),
        ("predictions.csv", f"{KEYS},predicted\nsub-01,,abc\n".encode()),
        ("predictions.csv", f"{KEYS},predicted\nsub-01,,\n".encode()),
        ("predictions.csv", f"{KEYS},predicted\nsub-01,,inf\n".encode()),
        ("predictions.csv", None),
        ("moments.csv", b""),
        ("moments.csv", b"\xff\xfe"),
        ("moments.csv", b"a,b\n1,2\n"),
        ("moments.csv", f"{MOMENTS}\nsub-01,3,x,2.0,0.3,1\n".encode()),
        ("moments.csv", f"{MOMENTS}\nsub-01,3,6.0,2.0,,1\n".encode()),
        ("moments.csv", f"{MOMENTS}\nsub-01,,6.0,2.0,0.3,1\n".encode()),
        ("moments.csv", f"{MOMENTS}\nsub-01,3,6.0,2.0,0.3,{10**20}\n".encode()),
    ],
)
def test_a_damaged_result_is_named_and_the_others_are_shown(
    study: Path, file: str, content: bytes | None
) -> None:
    shutil.copytree(study / "results" / "N1", study / "results" / "P1")
    (study / "results" / "P1" / "metrics.json").write_text('{"target": "P1"}')
    whole = opened(study)
    assert ([e.target for e in whole.estimates], unread(whole)) == (["N1", "P1"], [])
    damaged = study / "results" / "P1" / file
    if content is None:
        damaged.unlink()
    else:
        damaged.write_bytes(content)
    cohort = opened(study)
    assert [e.target for e in cohort.estimates] == ["N1"]
    wanted = "the result of P1 can not be read and is not shown; run regress again"
    assert unread(cohort) == [wanted]
    assert unread(opened(study, hide_estimates=True)) == []


def test_a_result_without_moments_and_a_folder_without_a_result_are_no_damage(study: Path) -> None:
    moments = study / "results" / "N1" / "moments.csv"
    moments.write_text(f"{MOMENTS}\n")
    (study / "results" / "notes").mkdir()
    (study / "results" / "index.html").write_text("x")
    for _ in range(2):
        cohort = opened(study)
        assert ([e.target for e in cohort.estimates], unread(cohort)) == (["N1"], [])
        assert cohort.estimates[0].moments_of("sub-01") == []
        moments.unlink(missing_ok=True)
