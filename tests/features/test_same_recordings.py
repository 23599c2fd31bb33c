"""One recording under two names."""

from __future__ import annotations

import shutil

import numpy as np

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.extract import extract
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.same_recordings import same_files, same_recordings
from emoclip_clinical.records import InterviewKey


def source(interview, sha="aa", *, start=None, stop=None, patient="longest", track=None):
    return {
        "patient_track": track,
        "interview": interview,
        "sha256": sha,
        "start_seconds": start,
        "stop_seconds": stop,
        "patient": patient,
    }


def test_pairs_are_named_by_whose_they_are():
    twice = same_recordings(
        [
            source("sub-01_ses-1"),
            source("sub-02_ses-1"),
            source("sub-01_ses-2"),
            source("sub-03", "bb"),
            # Another part of the file, another person in it, or no file that could be read.
            source("sub-04", "cc", stop=5.0),
            source("sub-04", "cc", start=5.0),
            source("sub-05", "dd", patient="left", track=1),
            source("sub-06", "dd", patient="right", track=2),
            source("sub-07", None),
            source("sub-08", None),
        ]
    )
    assert twice.of_two == (
        "sub-01_ses-1 and sub-02_ses-1 are the same recording of two participants",
        "sub-02_ses-1 and sub-01_ses-2 are the same recording of two participants",
    )
    assert twice.of_one == ("sub-01_ses-1 and sub-01_ses-2 are the same recording, twice",)


def test_parts_that_overlap_are_one_recording():
    def two(first, second):
        return same_recordings([source("sub-01", **first), source("sub-02", **second)]).of_two

    same = ("sub-01 and sub-02 are the same recording of two participants",)
    overlap = ("sub-01 and sub-02 overlap in one recording of two participants",)
    assert two({}, {"start": 0.0}) == same
    assert two({"stop": 9.9}, {"stop": 9.8}) == overlap
    assert two({"start": 5.0}, {}) == overlap
    assert two({"start": 5.0, "stop": 9.0}, {"start": 9.0}) == ()


def test_two_rules_that_choose_one_person_are_one_recording():
    left, right = {"patient": "left"}, {"patient": "right"}

    def two(first, second):
        return len(same_recordings([source("a", **first), source("b", **second)]).of_two)

    assert two({**left, "track": 1}, {**right, "track": 1}) == 1
    assert two({**left, "track": 1}, {**right, "track": 2}) == 0
    assert two({**left, "track": 1}, right) == 0
    # In another part the same number may be somebody else.
    assert two({**left, "track": 1}, {**right, "track": 1, "stop": 60.0}) == 0


def test_files_are_compared_by_what_they_hold(tmp_path):
    for name, content in (("a", b"film"), ("b", b"film"), ("c", b"else"), ("d", b"longer")):
        (tmp_path / name).write_bytes(content)

    def interview(participant, name, patient=""):
        return Interview(InterviewKey(participant), tmp_path / name, patient=patient)

    found = [interview(f"sub-{name}", name) for name in "abcd"]
    assert same_files(found, patient="longest").of_two == (
        "sub-a and sub-b are the same recording of two participants",
    )
    # The rule of the run is the rule of an interview that names none.
    found = [interview("sub-a", "a", "left"), interview("sub-b", "b")]
    assert same_files(found, patient="longest").of_two == ()
    assert len(same_files(found, patient="left").of_two) == 1
    gone = [interview("sub-a", "absent"), *found]
    assert len(same_files(gone, patient="left").of_two) == 1


def test_extract_warns_of_them(make_video, embedder, prompts, tmp_path):
    images = [np.full((48, 64, 3), level, dtype=np.uint8) for level in (40, 80, 120)]
    film = make_video(tmp_path / "sub-01.mp4", images=images, milliseconds=[0, 200, 400])
    shutil.copy(film, tmp_path / "sub-02.mp4")
    result = extract(
        [tmp_path / "sub-01.mp4", tmp_path / "sub-02.mp4"],
        embedder=embedder,
        config=ExtractionConfig(face="whole_frame"),
        prompt_sets=[prompts],
        output=tmp_path / "features",
    )
    assert "sub-01 and sub-02 are the same recording of two participants" in result.warnings
