"""Contact sheets: what they show, and what they must not."""

from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.contact_sheet import (
    draw_contact_sheet,
    unrecognisable,
    write_contact_sheets,
)
from emoclip_clinical.features.decoding import VideoSampler
from emoclip_clinical.features.face_scan import (
    PICTURES_SHOWN,
    FacePicture,
    FaceScan,
    ScenePicture,
)
from emoclip_clinical.features.face_setup import FaceSetup
from emoclip_clinical.features.patient import PatientChoice
from emoclip_clinical.features.people import Person
from emoclip_clinical.records import InputError

SMALL = ExtractionConfig(detection_side_pixels=320)


@pytest.fixture(scope="module")
def interviews(assets, make_video, tmp_path_factory):
    """Two people side by side, the left one for longer; and a file that is no video."""
    folder = tmp_path_factory.mktemp("secret-folder")
    shots = []
    for name in ("openwillis_not_expressive.mp4", "videoretalking_face1.mp4"):
        with VideoSampler(assets / "videos" / name, sample_fps=5.0) as frames:
            pictures = [Image.fromarray(frame.image) for frame in frames]
        width, height = pictures[0].size
        middle = ((width - height) // 2, 0, (width + height) // 2, height)
        shots.append([np.asarray(p.crop(middle).resize((240, 240))) for p in pictures])
    images = [
        np.concatenate([a, b if k < 18 else np.full_like(b, 90)], axis=1)
        for k, (a, b) in enumerate(zip(shots[0][:30], shots[1][:30], strict=True))
    ]
    times = [200 * k for k in range(len(images))]
    make_video(folder / "sub-01_secret-name.mp4", images=images, milliseconds=times)
    (folder / "sub-02.mp4").write_text("no video at all\n" * 10)
    return folder


def test_sheets_and_outcomes(interviews, tmp_path):
    calls = []
    good, bad = write_contact_sheets(
        [interviews],
        config=SMALL,
        sample_fps=5.0,
        output=tmp_path / "faces",
        progress=lambda *call: calls.append(call),
    )
    assert calls == [("faces", 1, 2), ("faces", 2, 2)]
    assert [path.name for path in (tmp_path / "faces").iterdir()] == ["sub-01.png"]
    assert (bad.path, bad.scan) == (None, None)
    assert "text" in bad.reason
    scan = good.scan
    assert (scan.choice.n_people, scan.choice.margin) == (2, pytest.approx(0.4, abs=0.1))
    assert scan.persons[scan.choice.person - 1].centre_share < 0.5
    for person in scan.persons:
        times = [picture.seconds for picture in scan.pictures[person.number]]
        assert 2 <= len(times) <= PICTURES_SHOWN
        assert times == sorted(times)
    assert len(scan.scenes) <= PICTURES_SHOWN
    assert {len(scene.boxes) for scene in scan.scenes} == {1, 2}
    with Image.open(good.path) as picture:
        assert (picture.format, picture.info) == ("PNG", {})


def test_an_error_that_nobody_foresaw_is_one_interviews_fault(
    make_video, numbered, tmp_path, monkeypatch
):
    for name in ("sub-01.mp4", "sub-02.mp4"):
        make_video(tmp_path / name, images=numbered(10), milliseconds=range(0, 400, 40))
    whole = FaceSetup.follower

    def failing(self, interview, **settings):
        if interview.key.name == "sub-01":
            raise KeyError(str(tmp_path))
        return whole(self, interview, **settings)

    monkeypatch.setattr(FaceSetup, "follower", failing)
    bad, good = write_contact_sheets(
        [tmp_path], config=SMALL, sample_fps=5.0, output=tmp_path / "faces"
    )
    assert (bad.path, bad.reason) == (None, "reading it ended in an unforeseen error (KeyError)")
    assert good.path.is_file()


def test_a_decoder_that_hangs_is_given_up(make_video, numbered, tmp_path, monkeypatch):
    for name in ("sub-01.mp4", "sub-02.mp4", "sub-03.mp4"):
        make_video(tmp_path / name, images=numbered(50), milliseconds=[40 * i for i in range(50)])
    whole = VideoSampler._decoded
    never = threading.Event()

    def hanging(self):
        for i, frame in enumerate(whole(self)):
            if (self.path.stem, i) in {("sub-01", 0), ("sub-02", 30)}:
                never.wait()
            yield frame

    monkeypatch.setattr(VideoSampler, "_decoded", hanging)
    outcomes = write_contact_sheets(
        [tmp_path],
        config=SMALL.model_copy(update={"stall_seconds": 0.5}),
        sample_fps=5.0,
        output=tmp_path / "faces",
    )
    never.set()
    wanted = "the decoder gave no picture for 0.5 s"
    assert (outcomes[0].path, wanted in outcomes[0].reason) == (None, True)
    assert outcomes[1].path.is_file()
    assert outcomes[1].warning.startswith("sub-02: ")
    assert wanted in outcomes[1].warning
    assert wanted not in outcomes[2].warning


def test_a_full_disk_is_told(make_video, numbered, tmp_path, monkeypatch):
    make_video(tmp_path / "sub-01.mp4", images=numbered(10), milliseconds=range(0, 400, 40))

    def full(handle):
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"can not write to .*faces: No space left on device"):
        write_contact_sheets(
            [tmp_path / "sub-01.mp4"], config=SMALL, sample_fps=5.0, output=tmp_path / "faces"
        )
    assert list((tmp_path / "faces").iterdir()) == []


def test_sheets_repeat_to_the_byte(interviews, tmp_path):
    sheets = []
    for name in ("one", "two"):
        (outcome,) = write_contact_sheets(
            [interviews / "sub-01_secret-name.mp4"],
            config=SMALL,
            sample_fps=5.0,
            output=tmp_path / name,
        )
        sheets.append(outcome.path.read_bytes())
    assert sheets[0] == sheets[1]


@pytest.fixture
def scan():
    rng = np.random.default_rng(0)

    def noise(height, width):
        return rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)

    return FaceScan(
        choice=PatientChoice("longest", person=2, n_people=2, margin=0.5, tracks=frozenset({1})),
        persons=(Person(1, (0,), 10.0, 0.3, 0.2), Person(2, (1,), 20.0, 0.4, 0.7)),
        doubtful_seconds=1.0,
        tracked_seconds=25.0,
        pictures={k: tuple(FacePicture(t, noise(112, 112)) for t in (1.0, 2.5)) for k in (1, 2)},
        scenes=(ScenePicture(3661.5, noise(200, 300), ((1, (0.6, 0.2, 0.2, 0.5)),)),),
    )


def stands_on(sheet, image):
    """Tell whether a picture's corner stands anywhere on the sheet, pixel for pixel."""
    whole, corner = np.asarray(sheet), image[:8, :8]
    rows, columns = np.nonzero((whole[:-8, :-8] == corner[0, 0]).all(axis=2))
    return any(
        (whole[r : r + 8, c : c + 8] == corner).all() for r, c in zip(rows, columns, strict=True)
    )


def test_faces_are_only_there_when_asked_for(scan):
    pictures = [picture.image for group in scan.pictures.values() for picture in group]
    pictures.append(scan.scenes[0].image)
    blurred = draw_contact_sheet(scan, title="sub-01")
    shown = draw_contact_sheet(scan, title="sub-01", show_faces=True)
    assert blurred.size == shown.size
    assert not any(stands_on(blurred, image) for image in pictures)
    assert all(stands_on(shown, image) for image in pictures)


def test_the_patients_row_is_framed(scan):
    sheet = np.asarray(draw_contact_sheet(scan, title="sub-01"))
    framed = np.flatnonzero((sheet == (20, 130, 70)).all(axis=2)[:, 3])
    # The frame stands around the lower of the two rows.
    assert framed.min() > sheet.shape[0] / 2
    assert framed.max() - framed.min() > 120


def test_blurring_keeps_no_more_than_the_averages():
    image = np.random.default_rng(0).integers(0, 256, size=(90, 90, 3), dtype=np.uint8)
    coarse = unrecognisable(image, squares=9)
    by_hand = image.reshape(9, 10, 9, 10, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(coarse[::10, ::10], by_hand, atol=1)
    assert len(np.unique(coarse.reshape(-1, 3), axis=0)) <= 81


def test_a_face_that_fills_the_picture_is_blurred_more(scan):
    close = replace(scan.scenes[0], boxes=((1, (0.1, 0.0, 0.8, 1.0)),))
    sheet = np.asarray(draw_contact_sheet(replace(scan, scenes=(close,)), title="sub-01"))
    line = sheet[62 + 190, 12 : 12 + 300].astype(int)
    changes = (np.diff(line, axis=0) != 0).any(axis=1).sum()
    # At most six squares along the face, so about seven along the picture, and the box's edges.
    assert 3 < changes <= 7 + 4


def edges_across(scan, place):
    """Count the changes of colour along one line of one of the whole pictures."""
    sheet = np.asarray(draw_contact_sheet(scan, title="sub-01"))
    left = 12 + place * (300 + 12)
    line = sheet[62 + 190, left : left + 300].astype(int)
    return (np.diff(line, axis=0) != 0).any(axis=1).sum()


def test_a_face_that_was_missed_is_blurred_like_the_largest(scan):
    close = replace(scan.scenes[0], boxes=((1, (0.1, 0.0, 0.8, 1.0)),))
    far = replace(scan.scenes[0], boxes=((1, (0.9, 0.0, 0.05, 0.05)),))
    missed = replace(scan.scenes[0], boxes=())
    scenes = replace(scan, scenes=(close, far, missed))
    # At most six along what fills a picture, in each of the three.
    assert edges_across(scenes, 1) <= 7
    assert edges_across(scenes, 2) <= 5
    assert edges_across(replace(scan, scenes=(missed,)), 0) <= 5
    # Small faces only are no reason to blur so much.
    assert edges_across(replace(scan, scenes=(far,)), 0) > 20


def test_an_interview_without_anyone():
    nobody = FaceScan(PatientChoice("longest"), (), 0.0, 0.0, {}, ())
    assert draw_contact_sheet(nobody, title="sub-01").height > 100


def test_whole_frames_have_no_faces_to_show(interviews, tmp_path):
    with pytest.raises(InputError, match="whole_frame"):
        write_contact_sheets(
            [interviews],
            config=ExtractionConfig(face="whole_frame"),
            sample_fps=5.0,
            output=tmp_path,
        )


def test_the_command_names_no_source(interviews, tmp_path):
    study = tmp_path / "study"
    runner = CliRunner()
    assert runner.invoke(app, ["init", str(study)]).exit_code == 0
    arguments = ["faces", str(interviews), "--study", str(study)]
    settings = ["--json", "--set", "extraction.detection_side_pixels=320"]
    result = runner.invoke(app, [*arguments, "--patient", "left", *settings])
    assert result.exit_code == 3, result.output
    first, second = json.loads(result.stdout)
    assert (first["interview"], first["patient_rule"], first["n_people"]) == ("sub-01", "left", 2)
    assert second["reason"]
    assert (study / "faces" / "sub-01.png").is_file()
    assert "secret" not in result.output
    refused = runner.invoke(app, [*arguments, "--patient", "middle"])
    assert refused.exit_code == 2
    assert "track:<k>" in refused.output
