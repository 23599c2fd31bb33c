"""Is the written study whole, the same each time, and made of different people?"""

import csv
import hashlib
from pathlib import Path

import av
import numpy as np
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.study.synthetic import (
    SyntheticConfig,
    draw_clip,
    plan_clips,
    write_study,
)
from emoclip_clinical.study.synthetic.appearance import draw_identity, draw_scene
from emoclip_clinical.study.synthetic.seeds import Stream, generator

SMALL = SyntheticConfig(
    n_training_clips=22, n_validation_clips=11, n_test_clips=11, n_training_people=5,
    n_validation_people=2, n_test_people=2, n_subjects=3, second_visit_share=0.34,
    interview_seconds=4.0, n_population=2000,
)  # fmt: skip


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "one"
    write_study(folder, config=SMALL, workers=1)
    return folder


def test_bytes_do_not_depend_on_the_number_of_workers(study, tmp_path):
    write_study(tmp_path / "two", config=SMALL, workers=2)
    assert _hashes(study) == _hashes(tmp_path / "two")


def test_a_seed_changes_every_video_and_table(study, tmp_path):
    write_study(tmp_path / "other", config=SMALL.model_copy(update={"seed": 1}), workers=1)
    first, other = _hashes(study), _hashes(tmp_path / "other")
    assert len(first) == len(other)
    assert {name for name in first if first[name] == other.get(name)} == {"prompts/synthetic.yaml"}


def test_progress_reaches_its_total(tmp_path):
    calls = []
    write_study(
        tmp_path / "s", config=SMALL, workers=1,
        progress=lambda task, done, total: calls.append((done, total)),
    )  # fmt: skip
    done, totals = zip(*calls, strict=True)
    assert list(done) == sorted(done)
    assert set(totals) == {44 + 4}
    assert done[-1] == 48


def test_people_of_the_splits_and_of_the_interviews_are_different(study):
    rows = _rows(study / "clips.csv")
    people = {
        split: {row["group"] for row in rows if row["split"] == split}
        for split in ("train", "validation", "test")
    }
    assert [len(groups) for groups in people.values()] == [5, 2, 2]
    assert not people["train"] & (people["validation"] | people["test"])
    assert not people["validation"] & people["test"]
    config = SyntheticConfig()
    faces = [
        draw_identity(generator(config.seed, Stream.CLIP_PERSON, split, person))
        for split, n in enumerate(
            (config.n_training_people, config.n_validation_people, config.n_test_people)
        )
        for person in range(n)
    ]
    faces += [
        draw_identity(generator(config.seed, Stream.INTERVIEW, 0, subject))
        for subject in range(config.n_subjects)
    ]
    assert len(set(faces)) == len(faces)


def test_clips_are_balanced_and_named_as_the_manifest_says(study):
    rows = _rows(study / "clips.csv")
    assert list(rows[0]) == ["path", "caption", "label", "group", "split"]
    assert {row["path"] for row in rows} == {f"clips/{p.name}" for p in (study / "clips").iterdir()}
    for split in ("train", "validation", "test"):
        singles = [r["label"] for r in rows if r["split"] == split and "_" not in r["label"]]
        counts = [singles.count(label) for label in set(singles)]
        assert max(counts) - min(counts) <= 1


def test_videos_have_the_length_rate_and_frames_that_were_drawn(study):
    for path in (study / "interviews").iterdir():
        with av.open(str(path)) as container:
            times = [float(frame.time) for frame in container.decode(video=0)]
            assert container.streams.video[0].codec_context.name == "h264"
        np.testing.assert_allclose(times, np.arange(50) / 12.5, atol=1e-6)
    plan = plan_clips(SMALL)[0]
    drawn = draw_clip(plan, config=SMALL)
    with av.open(str(study / "clips" / f"{plan.name}.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate) == 6.25
    decoded = np.stack(frames).astype(int)
    assert decoded.shape == drawn.frames.shape == (16, 64, 64, 3)
    assert np.abs(decoded - drawn.frames).mean() < 8


def test_tables_agree_with_each_other_and_with_the_videos(study):
    ratings, truth = _rows(study / "ratings.csv"), _rows(study / "truth.csv")
    keys = [(row["participant_id"], row["session_id"]) for row in ratings]
    assert keys == [(row["participant_id"], row["session_id"]) for row in truth]
    assert {p.name for p in (study / "interviews").iterdir()} == {
        f"{participant}_{session}_interview.mp4" for participant, session in keys
    }
    items = [f"{s}{n}" for s, last in (("P", 7), ("N", 7), ("G", 16)) for n in range(1, last + 1)]
    assert list(ratings[0]) == ["participant_id", "session_id", *items, "age", "sex", "site"]
    for rated, planted in zip(ratings, truth, strict=True):
        assert int(planted["negative_symptoms"]) == sum(int(rated[f"N{n}"]) for n in range(1, 8))
        assert 0.7 < float(planted["population_r"]) < 0.9


def test_a_study_is_not_written_over_another(study):
    before = _hashes(study)
    with pytest.raises(InputError) as caught:
        write_study(study, config=SMALL, workers=1)
    assert len(caught.value.faults) == 2
    assert _hashes(study) == before


def test_a_study_that_fails_leaves_no_half_behind(tmp_path):
    def stop(task: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_study(tmp_path / "s", config=SMALL, workers=1, progress=stop)
    assert not (tmp_path / "s" / "clips").exists()
    assert not (tmp_path / "s" / "clips.csv").exists()


def test_scene_and_identity_are_drawn_without_the_trait():
    """Neither function is handed a subject's trait or an emotion: their seeds are numbers."""
    rng = generator(0, Stream.INTERVIEW, 1, 3)
    assert draw_scene(rng) == draw_scene(generator(0, Stream.INTERVIEW, 1, 3))
    assert draw_identity(generator(0, Stream.INTERVIEW, 0, 3)) != draw_identity(
        generator(0, Stream.INTERVIEW, 0, 4)
    )
