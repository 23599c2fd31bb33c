"""Protocol files: every fault with its line, protocols that extend others, comments that stay."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from emoclip_clinical.records import InputError
from emoclip_clinical.study.protocol import Protocol, open_study, resolved_text
from emoclip_clinical.study.protocol_schema import protocol_schema
from emoclip_clinical.study.shipped import (
    begin_study,
    copy_protocol,
    protocol_path,
    protocol_summaries,
    shipped_protocols,
)

TEN_FAULTS = """\
version: 1
nme: typo                      # 2
seed: -1                       # 3
data:
  ratngs: table.csv            # 5
model:
  sample_fps: fast             # 7
  temporal:
    layers: 0                  # 9
training:
  batch_clips: 1               # 11
extraction:
  face: nose                   # 13
  quality: {minimum_coverage: 2}   # 14
regression:
  folds: 1                     # 16
  bootstrap: 5                 # 17
"""


def faults_of(folder: Path, **options: object) -> tuple[str, ...]:
    with pytest.raises(InputError) as raised:
        open_study(folder, **options)  # type: ignore[arg-type]
    return raised.value.faults


def test_ten_faults_are_listed_with_their_ten_lines(tmp_path: Path) -> None:
    (tmp_path / "protocol.yaml").write_text(TEN_FAULTS)
    faults = faults_of(tmp_path)
    lines = [int(re.match(r"protocol\.yaml, line (\d+): ", f)[1]) for f in faults]  # type: ignore[index]
    marked = [n for n, text in enumerate(TEN_FAULTS.splitlines(), 1) if "# " in text]
    assert lines == marked
    assert len(faults) == 10
    assert "did you mean ratings?" in faults[2]


def test_overrides_are_typed_and_all_their_faults_are_listed(tmp_path: Path) -> None:
    (tmp_path / "protocol.yaml").write_text("seed: -1\n")
    overrides = ["regression.folds=none", "nonsense", "a: [", "b=[", "regression.fold=3"]
    faults = faults_of(tmp_path, overrides=overrides)
    assert [f.split(":")[0] for f in faults] == [
        "--set takes section.key=value, got 'nonsense'",
        "--set takes section.key=value, got 'a",
        "--set b, line 1",
        "--set",
        "--set",
        "protocol.yaml, line 1",
    ]
    good = ["seed=3", "regression.folds=7", "regression.targets=[N1, P1]"]
    study = open_study(tmp_path, overrides=good)
    assert (study.protocol.seed, study.protocol.regression.folds) == (3, 7)
    assert study.protocol.regression.targets == ("N1", "P1")


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """A file extends one in a folder beside it, which extends a shipped protocol."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "group.yaml").write_text(
        "extends: new_study\nregression:\n  folds: 4   # the group's\n  targets: [N1, N2]\n"
        "model: {temporal: {layers: 3}}\n"
    )
    (tmp_path / "protocol.yaml").write_text(
        "extends: base/group.yaml\nregression:\n  targets: [P1]\n  repeats: 2   # ours\n"
    )
    return tmp_path


def test_sections_are_merged_and_lists_replaced(chain: Path) -> None:
    protocol = open_study(chain).protocol
    assert protocol.regression.targets == ("P1",)
    assert (protocol.regression.folds, protocol.regression.repeats) == (4, 2)
    # Of the shipped one, two files below.
    assert protocol.name == "my-study"
    assert protocol.regression.permutations == 1000
    assert protocol.model.temporal.layers == 3
    text = resolved_text(chain / "protocol.yaml")
    assert "# the group's" in text
    assert "# ours" in text
    assert Protocol.model_validate(YAML(typ="safe").load(text)) == protocol


def test_faults_name_the_file_that_they_stand_in(chain: Path) -> None:
    group = chain / "base" / "group.yaml"
    group.write_text(group.read_text() + "seed: x\nextraction: {face: nose}\n")
    own = chain / "protocol.yaml"
    own.write_text(own.read_text() + "extraction: {pooling: []}\n")
    faults = faults_of(chain, overrides=["regression.folds=1"])
    assert [f.split(": ")[0] for f in faults] == [
        "--set",
        "group.yaml, line 6",
        "group.yaml, line 7",
        "protocol.yaml, line 5",
    ]
    # A value that is set above hides the fault below it.
    own.write_text(own.read_text() + "seed: 1\n")
    assert not any("seed" in f for f in faults_of(chain))


def test_circles_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for name, other in (("protocol", "b"), ("b", "c"), ("c", "b")):
        (tmp_path / f"{name}.yaml").write_text(f"seed: 1\nextends: {other}.yaml\n")
    (fault,) = faults_of(tmp_path)
    assert fault == (
        "c.yaml, line 2: extends goes round in a circle: protocol.yaml → b.yaml → c.yaml → b.yaml"
    )
    (tmp_path / "protocol.yaml").write_text("extends: nowhere.yaml\n")
    assert "protocol.yaml, line 1: extends: no file" in faults_of(tmp_path)[0]
    (tmp_path / "protocol.yaml").write_text("extends: [a, b]\n")
    assert "must name a shipped protocol or a file, got ['a', 'b']" in faults_of(tmp_path)[0]


def test_copies_and_new_studies_keep_every_byte(tmp_path: Path) -> None:
    for name in shipped_protocols():
        copied = copy_protocol(name, tmp_path / f"{name}.yaml")
        assert copied.read_bytes() == protocol_path(name).read_bytes()
        assert open_study(tmp_path, protocol_file=copied).protocol
    with pytest.raises(InputError, match="is there already"):
        copy_protocol("demo", tmp_path / "demo.yaml")
    begun = begin_study(tmp_path / "new", protocol="demo")
    assert begun[0].read_bytes() == protocol_path("demo").read_bytes()
    assert all(summary for _, summary in protocol_summaries())


def test_a_copy_that_would_not_find_what_it_extends_is_refused(chain: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    with pytest.raises(InputError, match=r"extends 'base/group\.yaml', which is not there"):
        copy_protocol(chain / "protocol.yaml", other / "protocol.yaml")


def test_the_schema_describes_every_key_and_names_those_of_the_models() -> None:
    schema = protocol_schema()
    bare = []

    def walk(node: object, path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                if not value.get("description"):
                    bare.append(f"{path}.{key}")
            for key, value in node.items():
                walk(value, f"{path}.{key}")

    walk(schema, "")
    assert bare == []
    assert set(schema["properties"]) == {"extends", *Protocol.model_fields}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("regression.targets=score", "should be a list, got 'score'; write [score]"),
        ("regression.confounds='age,sex'", "should be a list, got 'age,sex'; write [age, sex]"),
        ("regression.confounds='*age'", "should be a list, got '*age'"),
        ("regression.targets={a: 1}", "should be a list"),
        ("regression.alphas=[]", "should have at least 1 entry, got []"),
        ("regression.alphas=[a]", "regression.alphas.0 should be a number, got 'a'"),
        ("regression.folds=2.5", "should be an integer, got 2.5"),
        ("regression.folds=null", "should be an integer, got null"),
        ("regression.importance=maybe", "should be true or false, got 'maybe'"),
        ("regression.site=3", "should be text, got 3"),
        ("regression.where=3", "should be a section of keys and values, got 3"),
        ("regression.where={str: [1]}", "regression.where.str should be text or a number, got [1]"),
        ("regression.published=[{value: 1}]", "regression.published.0.source is missing"),
        ("model.tower=x", "should be a section with keys of its own, got 'x'"),
        ("data.clips=3", "should be a file's name or a section with keys of its own, got 3"),
    ],
)
def test_a_wrong_kind_of_value_is_told_in_the_words_of_a_protocol(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        open_study(tmp_path, overrides=[override], needs=[])
    (fault,) = caught.value.faults
    key = override.partition("=")[0]
    assert fault.startswith(f"--set: {key}")
    assert fault.endswith(message)
