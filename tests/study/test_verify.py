"""Freeze, change one key or one byte of one input, verify: it names exactly what changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from emoclip_clinical.features.interviews import find_interviews
from emoclip_clinical.records import InputError
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.study.freezing import freeze, write_preregistration
from emoclip_clinical.study.history import read_history
from emoclip_clinical.study.lock import read_lock
from emoclip_clinical.study.preregistration import _analysis
from emoclip_clinical.study.protocol import Protocol, open_study
from emoclip_clinical.study.protocol_diff import compare
from emoclip_clinical.study.regress import run_regress
from emoclip_clinical.study.run import run_study
from emoclip_clinical.study.verify import verify_result
from tests.study.locked_study import PEOPLE, build, write_ratings

RESULT = Path("results") / "mood.total"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was frozen, rated and analysed."""
    folder = build(tmp_path_factory.mktemp("finished"))
    freeze(folder)
    write_ratings(folder)
    run_regress(open_study(folder))
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(finished, tmp_path / "study"))


def changes(study: Path) -> tuple[str, ...]:
    return verify_result(study, study / RESULT, rerun=False).changes


def flip(path: Path, place: int = -1) -> None:
    """Change one bit of one byte."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def test_nothing_differs_and_the_analysis_comes_out_again(study: Path) -> None:
    before = read_history(study).mark.length
    found = verify_result(study, study / RESULT)
    assert found.same
    assert (found.changes, found.numbers, found.exact, found.notes) == ((), (), True, ())
    # Making it again is recorded, and as a repetition does no harm.
    history = read_history(study)
    assert history.mark.length == before + 1
    assert history.entries[-1]["command"] == "verify"
    (again,) = run_regress(open_study(study))
    assert again.standing.kind == "matches_lock"
    written = json.loads((study / RESULT / "provenance.json").read_text())
    assert written["standing"] == again.standing.as_record()
    assert set(written["standing"]) == {"kind", "statement", "earlier_looks", "differences"}


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("folds: 3", "folds: 4", "regression.folds: 3 → 4"),
        ("targets: [mood.total]", "targets: [M1]",
         'regression.targets: ["mood.total"] → ["M1"]'),
        ("version: 1", "version: 1\nseed: 7", "seed: 0 → 7"),
        ("features: features.csv", "features: features.csv\n  encoding: utf-8",
         'data.encoding: null → "utf-8"'),
        ("extraction: {prompts: [own.yaml]}",
         "extraction: {prompts: [own.yaml], quality: {minimum_coverage: 0.5}}",
         "extraction.quality.minimum_coverage: 0.4 → 0.5"),
    ],
)  # fmt: skip
def test_one_changed_key_is_named(study: Path, old: str, new: str, difference: str) -> None:
    replace(study / "protocol.yaml", old, new)
    assert changes(study) == (f"settings in protocol.yaml now, from the lock's: {difference}",)


INPUTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "video": (
        lambda s: flip(s / "interviews" / f"{PEOPLE[4]}_clinic tape.mp4"),
        [f"interviews: {PEOPLE[4]}: sha256 "],
    ),
    "new video": (
        lambda s: (s / "interviews" / "sub-777.mp4").write_bytes(b"x") and None,
        ["interviews: sub-777 is new"],
    ),
    "lost video": (
        lambda s: (s / "interviews" / f"{PEOPLE[4]}_clinic tape.mp4").unlink(),
        [f"interviews: {PEOPLE[4]} is gone"],
    ),
    "features": (
        lambda s: replace(s / "features.csv", "1", "2"),
        ["features: table ", "features: content "],
    ),
    "weights": (
        lambda s: flip(s / "models" / "emoclip" / "model.safetensors"),
        ["model: model.safetensors "],
    ),
    "model card": (
        lambda s: replace(s / "models" / "emoclip" / "model.json", ": {}", ":  {}"),
        ["model: model.json "],
    ),
    "scale": (
        lambda s: replace(s / "mood.yaml", "name: one", "name: onf"),
        ["scales: mood ", "scales: file 1 ", "scales: content "],
    ),
    "prompts": (
        lambda s: replace(s / "own.yaml", "calm face", "cal face"),
        ["prompts: own "],
    ),
    "clips": (lambda s: replace(s / "clips.csv", "a smile", "a smild"), ["clips: manifest "]),
    "ratings": (lambda s: flip(s / "ratings.csv", -2), ["ratings: content "]),
    "a row of the ratings": (
        lambda s: replace(s / "ratings.csv", f"{PEOPLE[5]},", "sub-555,"),
        [f"ratings: no row of {PEOPLE[5]}", "ratings: content "],
    ),
    "no lock": (lambda s: (s / "protocol.lock").unlink(), ["lock: protocol.lock is gone"]),
    "lock": (
        lambda s: replace(s / "protocol.lock", "Our plan", "Our plam"),
        ["lock: protocol.lock is not as "],
    ),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_one_changed_byte_of_each_input_is_named(study: Path, kind: str) -> None:
    change, expected = INPUTS[kind]
    change(study)
    found = changes(study)
    assert len(found) == len(expected), found
    for text, beginning in zip(found, expected, strict=True):
        assert text.startswith(beginning)
    # Whatever changed, no file is named.
    assert "clinic tape" not in " ".join(found)


def test_a_changed_input_is_not_analysed_again(study: Path) -> None:
    flip(study / "ratings.csv", -2)
    before = read_history(study).mark.length
    found = verify_result(study, study / RESULT)
    assert found.numbers is None
    assert "not run again, since its inputs are others now" in found.notes[-1]
    assert read_history(study).mark.length == before


def test_numbers_that_were_edited_are_named(study: Path) -> None:
    path = study / RESULT / "predictions.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[3, "predicted"] += "1"
    table.to_csv(path, index=False, lineterminator="\n")
    metrics = study / RESULT / "metrics.json"
    record = json.loads(metrics.read_text())
    record["mae"] += 0.5
    metrics.write_text(json.dumps(record))
    found = verify_result(study, study / RESULT)
    assert found.changes == ()
    assert found.numbers is not None
    row, mae = found.numbers
    assert row.startswith(f"predictions.csv: {table['participant_id'][3]}, repeat 0: predicted ")
    assert mae.startswith("metrics.json: mae: ")


@pytest.mark.slow
def test_other_versions_are_a_note_and_bring_a_tolerance(study: Path) -> None:
    path = study / RESULT / "provenance.json"
    record = json.loads(path.read_text())
    record["packages"]["numpy"] = "1.0"
    path.write_text(json.dumps(record))
    table = study / RESULT / "predictions.csv"
    rows = pd.read_csv(table)
    rows["predicted"] += 0.001
    rows.to_csv(table, index=False)
    found = verify_result(study, study / RESULT)
    assert found.same
    assert not found.exact
    assert found.notes[0].startswith("version: numpy: 1.0 → ")
    rows["predicted"] += 0.1
    rows.to_csv(table, index=False)
    assert not verify_result(study, study / RESULT).same


def test_what_is_no_result_is_refused(study: Path) -> None:
    with pytest.raises(InputError, match="is no result"):
        verify_result(study, study / "results")
    (study / RESULT / "provenance.json").write_text("{}")
    with pytest.raises(InputError, match=r"damaged: it has no inputs, protocol"):
        verify_result(study, study / RESULT)


def test_the_lock_holds_settings_in_full_with_comments_and_names_nobody(study: Path) -> None:
    text = (study / "protocol.lock").read_text()
    lock = read_lock(study / "protocol.lock")
    assert lock is not None
    assert lock.settings == open_study(study).protocol.model_dump(mode="json")
    assert Protocol.model_validate(lock.settings) == open_study(study).protocol
    for comment in ("# Our plan, in our words.", "# made elsewhere", "# the sum of both"):
        assert comment in text
    assert lock.interviews is not None
    assert len(lock.interviews) == len(find_interviews([study / "interviews"]))
    assert not [name for name in (*PEOPLE, "clinic tape", str(study)) if name in text]
    assert lock.absent == (
        "ratings: there are none yet; the lock holds the columns and the 18 visits that must come",
    )


def test_the_same_study_gives_the_same_lock(tmp_path: Path) -> None:
    from tests.study.locked_study import MOMENT

    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        folder = build(tmp_path / name)
        made.append(freeze(folder, now=lambda: MOMENT, new_id=lambda: "ab" * 16))
    assert made[0].sha256 == made[1].sha256
    assert made[0].path.read_bytes() == made[1].path.read_bytes()


def test_a_plan_is_frozen_once(study: Path) -> None:
    with pytest.raises(InputError, match="a plan is frozen once"):
        freeze(study)
    again = freeze(study, overwrite=True)
    assert again.n_earlier_looks == 1
    (made,) = run_regress(open_study(study), overwrite=True)
    assert made.standing.kind == "exploratory"


def test_a_look_around_does_not_replace_what_kept_to_the_lock(study: Path) -> None:
    before = {p: p.read_bytes() for p in (study / RESULT).rglob("*") if p.is_file()}
    looks = len(read_history(study).looks)
    other = open_study(study, overrides=["regression.repeats=1"])
    refused = "mood.total holds a result that keeps to its lock, and would now be exploratory: 1"
    with pytest.raises(InputError, match=refused):
        run_regress(other)
    ran = run_study(other, only="regress")
    with pytest.raises(InputError, match=refused):
        ran.raise_failures()
    assert {p: p.read_bytes() for p in before} == before
    assert len(read_history(study).looks) == looks
    # Nothing was looked at yet, and elsewhere is room; here not, even for the locked analysis.
    assert run_regress(open_study(study))[0].standing.kind == "matches_lock"
    (elsewhere,) = run_regress(other, output=study / "around")
    assert elsewhere.standing.kind == "exploratory"
    with pytest.raises(InputError, match="1 earlier look"):
        run_regress(open_study(study))
    # An exploratory result may be replaced, and the other once that is said.
    run_regress(other, output=study / "around")
    run_regress(other, overwrite=True)
    run_regress(other)


def test_a_preregistration_spells_out_the_choices(study: Path) -> None:
    write_preregistration(study, study / "plan.md")
    text = (study / "plan.md").read_text()
    lock = read_lock(study / "protocol.lock")
    assert lock is not None
    for said in (
        "**[to be filled in]**",
        "`mood.total`: sum of M1, M2 of A scale of mood",
        "3 folds of subjects, drawn anew 2 times",
        "19 permutations",
        "Ratings did not exist; those of 18 visits are to come.",
        lock.sha256,
        "| `regression.inner_folds` | `2` | Folds of the inner tuning. |",
    ):
        assert said in text
    for key in Protocol.model_fields["regression"].default.model_dump():
        assert f"`regression.{key}`" in text


def test_a_preregistration_tells_the_tower_of_the_locked_model(tmp_path: Path) -> None:
    study = build(tmp_path)
    card = study / "models" / "emoclip" / "model.json"

    def said() -> str:
        freeze(study, overwrite=True)
        return written()

    def written() -> str:
        write_preregistration(study, study / "plan.md")
        text = (study / "plan.md").read_text()
        return text.split("## What it is estimated from")[1].split("##")[0]

    content = json.loads(card.read_text())
    # As a model that was trained with --set, or imported: the protocol knows nothing of it.
    content["architecture"] = {"name": "emoclip", "tower": {"name": "ward-convnet"}}
    card.write_text(json.dumps(content))
    assert "scored by the model `emoclip` (tower ward-convnet) against" in said()
    content["weights_sha256"] = "1" * 64
    card.write_text(json.dumps(content))
    assert "the model `emoclip` (tower **[to be filled in]**)" in written()
    shutil.rmtree(study / "models")
    assert "did not exist when the plan was locked: `emoclip`, tower ViT-B-32-quickgelu" in said()


def test_a_preregistration_tells_of_permutations_within_left_out_sites() -> None:
    text = " ".join(_analysis(RegressionConfig(cv="leave_one_site_out"), 0))
    assert "permutations of the ratings over subjects, within the sites of `site`;" in text
    text = " ".join(_analysis(RegressionConfig(repeats=1), 0))
    assert "folds of subjects, drawn once." in text
    assert "within the sites" not in text


def test_two_protocols_are_compared_in_words(study: Path) -> None:
    other = study / "other.yaml"
    other.write_text((study / "protocol.yaml").read_text().replace("folds: 3", "folds: 4", 1))
    found = compare(str(study / "protocol.yaml"), str(other))
    assert found.settings == ("regression.folds: 3 → 4",)
    assert not found.same
    assert compare("demo", "demo").same
    assert compare(str(study / "protocol.lock"), str(study / "protocol.lock")).same


@pytest.mark.slow
def test_two_results_are_compared_in_words(study: Path) -> None:
    run_regress(open_study(study, overrides=["regression.folds=4"]), output=study / "four")
    found = compare(str(study / RESULT), str(study / "four" / "mood.total"))
    assert found.settings == ("regression.folds: 3 → 4",)
    assert found.inputs == ()
    (standing,) = found.standing
    assert "→ exploratory: 1 thing differs from the lock" in standing
    figures = {pair.name: pair for pair in found.figures}
    old = json.loads((study / RESULT / "metrics.json").read_text())
    new = json.loads((study / "four" / "mood.total" / "metrics.json").read_text())
    assert figures["mae"].first == old["mae"]
    assert figures["pearson_r.p_permutation"].second == new["pearson_r"]["p_permutation"]
    with pytest.raises(InputError, match="a result is compared with a result"):
        compare(str(study / RESULT), "demo")
