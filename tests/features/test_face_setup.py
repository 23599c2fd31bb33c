"""Detectors behind one door, and what a run needs before its first video."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from emoclip_clinical.features.centerface import CenterFace, centerface_weights
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.face_setup import describe_faces, face_setup, load_detector
from emoclip_clinical.features.faces import overlap
from emoclip_clinical.features.following import FollowingLog
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.opening import UnreadableVideoError
from emoclip_clinical.features.uniface_detector import UnifaceDetector, UnifaceIdentity
from emoclip_clinical.features.yunet import YuNet
from emoclip_clinical.records import InputError, InterviewKey


@pytest.fixture(scope="module")
def two_people(assets):
    picture = Image.open(assets / "stills" / "face_recognition_two_people.jpg").convert("RGB")
    return np.asarray(picture)


@pytest.fixture
def yunet_weights(assets):
    return assets / "models" / "yunet_n_dynamic.onnx"


def test_yunet_agrees_with_opencv_called_directly(two_people, yunet_weights):
    cv2 = pytest.importorskip("cv2")
    height, width = two_people.shape[:2]
    share = 480 / max(height, width)
    size = (round(width * share), round(height * share))
    small = cv2.resize(two_people, size, interpolation=cv2.INTER_AREA)[:, :, ::-1].copy()
    direct = cv2.FaceDetectorYN.create(str(yunet_weights), "", size, 0.5, 0.3, 5000)
    rows = direct.detect(small)[1]
    rows = rows[np.argsort(-rows[:, 14])]
    found = YuNet(yunet_weights).detect(two_people)
    assert len(found) == len(rows) == 2
    for face, row in zip(found, rows / np.r_[np.full(14, share), 1.0], strict=True):
        got = (face.left, face.top, face.width, face.height)
        np.testing.assert_allclose(got, row[:4], rtol=1e-2)
        np.testing.assert_allclose(np.ravel(face.eyes), row[4:8], rtol=1e-2)
        assert face.score == pytest.approx(row[14], abs=1e-6)


def test_detectors_agree_on_two_people(two_people, yunet_weights):
    ours = CenterFace(centerface_weights()).detect(two_people)
    theirs = YuNet(yunet_weights).detect(two_people)
    for face in ours:
        best = max(theirs, key=lambda other: overlap(face, other))
        assert overlap(face, best) > 0.5
        np.testing.assert_allclose(face.eyes, best.eyes, atol=0.15 * face.width)
    assert YuNet(yunet_weights).detect(np.zeros((100, 100, 3), np.uint8)) == ()


def test_yunet_needs_its_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        YuNet(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(InputError, match="not a network that OpenCV reads"):
        YuNet(tmp_path / "text.onnx")


class FakeNetwork:
    """Answers as uniface's detectors do; keeps what it was given."""

    def __init__(self, *faces):
        self.faces = faces

    def detect(self, image):
        self.image = image
        return list(self.faces)


def uniface_face(left, score):
    points = np.array(
        [[left + 3, 8], [left + 9, 8], [left + 6, 12], [left + 4, 16], [left + 8, 16]]
    )
    box = np.array([left, 2.0, left + 12, 22.0])
    return SimpleNamespace(bbox=box, confidence=score, landmarks=points.astype(float))


def test_uniface_is_asked_in_bgr_and_read_in_our_terms():
    network = FakeNetwork(uniface_face(5.0, 0.7), uniface_face(40.0, 0.9))
    image = np.zeros((30, 60, 3), np.uint8)
    image[..., 0] = 200
    first, second = UnifaceDetector(network).detect(image)
    assert network.image[0, 0].tolist() == [0, 0, 200]
    assert (first.left, first.top, first.width, first.height) == (40.0, 2.0, 12.0, 20.0)
    assert (second.score, second.eyes) == (0.7, ((8.0, 8.0), (14.0, 8.0)))


def test_identity_takes_the_best_face():
    class Recogniser:
        def get_normalized_embedding(self, image, landmarks):
            self.asked = landmarks
            return np.array([0.6, 0.8])

    recogniser = Recogniser()
    detector = UnifaceDetector(FakeNetwork(uniface_face(5.0, 0.7), uniface_face(40.0, 0.9)))
    vector = UnifaceIdentity(detector, recogniser).embed(np.zeros((30, 60, 3), np.uint8))
    np.testing.assert_array_equal(vector, [0.6, 0.8])
    assert recogniser.asked[0].tolist() == [43.0, 8.0]
    empty = UnifaceIdentity(UnifaceDetector(FakeNetwork()), recogniser)
    assert empty.embed(np.zeros((30, 60, 3), np.uint8)) is None


def test_uniface_fetches_nothing_unasked(tmp_path, monkeypatch):
    uniface = pytest.importorskip("uniface")
    monkeypatch.setenv("UNIFACE_CACHE_DIR", str(tmp_path))
    for name in ("RetinaFace", "MobileFace"):
        assert callable(getattr(uniface, name))
    with pytest.raises(InputError, match="fetch_weights"):
        load_detector(ExtractionConfig(detector="uniface"))
    assert list(tmp_path.iterdir()) == []
    described = describe_faces(ExtractionConfig(detector="uniface"))
    assert len(described["detector_sha256"]) == 64


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"face": "precomputed"}, "boxes_folder"),
        ({"detector": "yunet"}, "yunet_weights"),
        ({"patient": "reference"}, "reference_folder"),
        ({"patient": "tallest"}, "track:<k>"),
    ],
)
def test_settings_that_miss_their_companion_are_refused(settings, wanted):
    with pytest.raises(ValidationError, match=wanted):
        ExtractionConfig(**settings)


def test_paths_start_at_the_study_and_stay_out_of_the_description(tmp_path):
    config = ExtractionConfig(face="precomputed", boxes_folder="secret_boxes", boxes_fps=25)
    located = config.located(tmp_path)
    assert located.boxes_folder == str(tmp_path / "secret_boxes")
    assert located.yunet_weights is None
    assert "secret" not in str(describe_faces(located))
    assert describe_faces(ExtractionConfig(face="whole_frame")) == {"face": "whole_frame"}


def interview(number, patient=""):
    return Interview(InterviewKey(f"sub-{number:02d}"), path=None, patient=patient)


def test_every_missing_file_is_listed_before_any_video(tmp_path):
    (tmp_path / "sub-01.csv").write_text("seconds,left,top,width,height\n0,1,1,9,9\n")
    (tmp_path / "sub-02.jpg").write_bytes(b"")
    config = ExtractionConfig(
        face="precomputed", boxes_folder=str(tmp_path), reference_folder=str(tmp_path)
    )
    setup = face_setup(config, detector=load_detector(config))
    people = [interview(1), interview(2, "reference"), interview(3, "reference")]
    with pytest.raises(InputError) as caught:
        setup.prepared(people, fetch_weights=False)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["sub-02", "sub-03", "sub-03"]
    assert setup.prepared([interview(1)], fetch_weights=False) is setup
    assert setup.sources(interview(1, "left"))["patient"] == "left"
    assert setup.sources(interview(1))["patient"] == "longest"
    (tmp_path / "sub-01.csv").write_text("seconds,left\n0,1\n")
    with pytest.raises(UnreadableVideoError, match="its table of boxes: wanted the columns"):
        setup.follower(interview(1), log=FollowingLog())
