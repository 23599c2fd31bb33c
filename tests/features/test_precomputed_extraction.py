"""Boxes of another tool and reference pictures, from the files to the tables."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emoclip_clinical.features import face_setup
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.decoding import VideoSampler
from emoclip_clinical.features.extract import extract

RED, BLUE = (200, 40, 40), (40, 60, 200)
PLACES = {"red": (20.0, 30.0, 40.0, 50.0), "blue": (150.0, 30.0, 44.0, 55.0)}


@pytest.fixture
def study(tmp_path, make_video):
    """Two coloured people in one video, and the table of their boxes."""
    image = np.full((120, 240, 3), 120, dtype=np.uint8)
    for (left, top, width, height), colour in zip(PLACES.values(), (RED, BLUE), strict=True):
        image[:, int(left) - 15 : int(left + width) + 15] = colour
        image[int(top) : int(top + height / 2), int(left) : int(left + width)] //= 2
    make_video(
        tmp_path / "sub-01.mp4", images=[image] * 20, milliseconds=[200 * k for k in range(20)]
    )
    rows = [
        {"seconds": 0.2 * k, **dict(zip(("left", "top", "width", "height"), place, strict=True))}
        for k in range(20)
        for place in PLACES.values()
    ]
    (tmp_path / "boxes").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "boxes" / "sub-01.csv", index=False)
    return tmp_path


def run(study, embedder, prompts, **settings):
    config = ExtractionConfig(face="precomputed", boxes_folder=str(study / "boxes"), **settings)
    result = extract(
        [study / "sub-01.mp4"],
        embedder=embedder,
        config=config,
        prompt_sets=[prompts],
        output=study / "f",
    )
    segments = pd.read_parquet(study / "f" / "segments.parquet")
    (interview,) = pd.read_parquet(study / "f" / "interviews.parquet").to_dict("records")
    return result, segments, interview


@pytest.mark.parametrize(("patient", "name"), [("left", "red"), ("largest", "blue")])
def test_boxes_are_followed_as_they_are(study, embedder, prompts, patient, name):
    _, segments, interview = run(study, embedder, prompts, patient=patient)
    columns = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]
    assert set(segments["status"]) == {"ok"}
    np.testing.assert_allclose(segments[columns], [PLACES[name]] * len(segments))
    assert (interview["n_people"], interview["face_coverage"]) == (2, 1.0)
    assert interview["patient_margin"] > 0


def test_changed_boxes_are_read_again(study, embedder, prompts):
    assert run(study, embedder, prompts)[0].n_kept == 0
    assert run(study, embedder, prompts)[0].n_kept == 1
    path = study / "boxes" / "sub-01.csv"
    path.write_text(path.read_text().replace("20.0", "21.0"))
    assert run(study, embedder, prompts)[0].n_kept == 0


def test_boxes_that_can_not_be_used_are_the_interviews_reason(study, embedder, prompts):
    (study / "boxes" / "sub-01.csv").write_text("seconds,left\n0,1\n")
    result, _, interview = run(study, embedder, prompts)
    assert result.n_failed == 1
    assert interview["reason"].startswith("its table of boxes: wanted the columns")


def test_a_decoder_that_hangs_in_the_first_of_two_readings_is_told(
    study, embedder, prompts, monkeypatch
):
    path = study / "boxes" / "sub-01.csv"
    boxes = pd.read_csv(path)
    # The one on the right comes later, so that the first guess is wrong.
    boxes[(boxes["left"] < 100) | (boxes["seconds"] > 0.9)].to_csv(path, index=False)
    _, segments, interview = run(study, embedder, prompts, patient="right")
    assert (interview["status"], segments["status"].iloc[-1]) == ("ok", "ok")
    whole = VideoSampler._decoded
    never = threading.Event()
    readings = []

    def hanging(self):
        readings.append(self)
        for i, frame in enumerate(whole(self)):
            if self is readings[0] and i == 11:
                never.wait()
            yield frame

    monkeypatch.setattr(VideoSampler, "_decoded", hanging)
    settings = {"patient": "right", "stall_seconds": 0.5}
    (study / "f").rename(study / "whole")
    result, segments, interview = run(study, embedder, prompts, **settings)
    never.set()
    assert len(readings) == 2
    assert (result.n_partial, interview["status"]) == (1, "partial")
    assert "gave no picture for 0.5 s" in interview["reason"]
    # Where the faces are not known there is no segment, and none that says "no face".
    assert set(segments["status"]) == {"ok"}
    assert interview["seconds"] == pytest.approx(2.2)
    monkeypatch.undo()
    again, segments, interview = run(study, embedder, prompts, **settings)
    assert (again.n_kept, interview["status"], segments["status"].iloc[-1]) == (0, "ok", "ok")


class ByColour:
    """Stands in for a network that compares faces."""

    def embed(self, image):
        centre = image[image.shape[0] // 2 :, image.shape[1] // 4 : -image.shape[1] // 4]
        mean = centre.reshape(-1, 3).mean(axis=0) - 100
        return None if np.ptp(image) == 0 else mean / np.linalg.norm(mean)


@pytest.mark.parametrize(("colour", "left"), [(RED, 20.0), (BLUE, 150.0)])
def test_a_reference_picture_names_the_patient(study, embedder, prompts, monkeypatch, colour, left):
    monkeypatch.setattr(face_setup, "load_uniface_identity", lambda **_: ByColour())
    picture = np.full((60, 60, 3), colour, dtype=np.uint8)
    picture[:10] = 0
    (study / "pictures").mkdir()
    Image.fromarray(picture).save(study / "pictures" / "sub-01.png")
    settings = {"patient": "reference", "reference_folder": str(study / "pictures")}
    _, segments, interview = run(study, embedder, prompts, **settings)
    assert segments["FaceRectX"].tolist() == pytest.approx([left] * len(segments))
    assert interview["patient_rule"] == "reference"
    assert interview["patient_margin"] > 0.2
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(study / "pictures" / "sub-01.png")
    _, _, interview = run(study, embedder, prompts, **settings)
    assert interview["reason"] == "no face was found in its reference picture"
