"""The history: what a chain shows, what marks show, and that two processes do not break it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from emoclip_clinical.study.history import read_history, record_look
from emoclip_clinical.study.witnesses import lost_marks

MOMENT = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)


def look(study: Path, target: str = "N1") -> None:
    mark = record_look(study, command="regress", targets=[target], settings_sha256="0", now=MOMENT)
    result = study / "results" / target
    result.mkdir(parents=True, exist_ok=True)
    (result / "provenance.json").write_text(json.dumps({"history": mark.as_record()}))


def sealed(line: str) -> bool:
    """Recompute a line's hash from its documented form: canonical JSON of all but the hash."""
    entry = json.loads(line)
    wanted = entry.pop("hash")
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode()).hexdigest() == wanted


def test_lines_are_chained_and_the_first_names_the_study(tmp_path: Path) -> None:
    for _ in range(3):
        look(tmp_path)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert all(map(sealed, lines))
    assert [e["previous"] for e in entries] == ["0" * 64, entries[0]["hash"], entries[1]["hash"]]
    assert [("study" in e) for e in entries] == [True, False, False]
    history = read_history(tmp_path)
    assert history.sound
    assert history.mark.length == 3


def test_two_studies_do_not_share_an_id(tmp_path: Path) -> None:
    ids = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        look(tmp_path / name)
        ids.add(read_history(tmp_path / name).mark.study)
    assert len(ids) == 2


def test_a_history_that_was_cut_stays_broken(tmp_path: Path) -> None:
    for target in ("N1", "N2", "N3"):
        look(tmp_path, target)
    path = tmp_path / "history.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    # What is left is a chain, but results remember more; the next line says so.
    assert read_history(tmp_path).sound
    look(tmp_path, "N1")
    look(tmp_path, "N2")
    look(tmp_path, "N3")
    assert not read_history(tmp_path).sound
    last = json.loads(path.read_text().splitlines()[2])
    assert last["lost"] == ["1 result", "1 note"]


def test_a_look_without_a_result_is_missed_when_it_is_cut_off(tmp_path: Path) -> None:
    look(tmp_path)
    path = tmp_path / "history.jsonl"
    before = path.read_bytes()
    record_look(tmp_path, command="validate", targets=[], settings_sha256="0", now=MOMENT)
    path.write_bytes(before)
    assert read_history(tmp_path).sound
    assert lost_marks(tmp_path, read_history(tmp_path)) == ("1 note",)
    look(tmp_path)
    assert not read_history(tmp_path).sound


def test_a_name_may_hold_what_ends_a_line_elsewhere(tmp_path: Path) -> None:
    for _ in range(2):
        record_look(
            tmp_path, command="r", targets=["a\u2028b\x85c"], settings_sha256="0", now=MOMENT
        )
    assert read_history(tmp_path).sound


def test_a_line_that_a_crash_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    look(tmp_path)
    path = tmp_path / "history.jsonl"
    path.write_text(path.read_text() + '{"time": "2026')
    look(tmp_path)
    assert len(path.read_text().splitlines()) == 3
    assert not read_history(tmp_path).sound
    assert len(read_history(tmp_path).entries) == 2


@pytest.mark.slow
def test_commands_at_once_do_not_break_the_chain(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom datetime import UTC, datetime\nfrom pathlib import Path\n"
        "from emoclip_clinical.study.history import record_look\n"
        "for k in range(20):\n"
        "    record_look(Path(sys.argv[1]), command='regress', targets=['N1'],\n"
        "                settings_sha256='0', now=datetime(2026, 1, 1, tzinfo=UTC))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    history = read_history(tmp_path)
    assert len(history.entries) == 60
    assert history.sound
