"""Crops by hand, and against a turn that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from emoclip_clinical.features.crop import crop_face, eye_tilt
from emoclip_clinical.features.faces import Face


def test_crop_is_a_square_around_the_face_with_black_outside():
    image = np.random.default_rng(0).integers(1, 255, size=(60, 80, 3), dtype=np.uint8)
    inside = crop_face(image, Face(30, 20, 10, 20, 1.0), margin=0.25)
    # Side 20 * 1.5 = 30 around the centre (35, 30).
    np.testing.assert_array_equal(inside, image[15:45, 20:50])
    corner = crop_face(image, Face(-10, -10, 20, 20, 1.0), margin=0.0)
    np.testing.assert_array_equal(corner[10:, 10:], image[:10, :10])
    assert corner[:10].max() == corner[:, :10].max() == 0
    assert crop_face(image, Face(200, 200, 10, 10, 1.0), margin=0.0).max() == 0


def dots(*points, size=(200, 200)):
    image = np.full((*size, 3), 40, dtype=np.uint8)
    for x, y in points:
        image[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5] = 255
    return image


def centre_of_light(square, half):
    columns = (
        slice(0, square.shape[1] // 2) if half == "left" else slice(square.shape[1] // 2, None)
    )
    light = np.clip(square[:, columns, 0].astype(float) - 60, 0, None)
    rows, cols = np.indices(light.shape)
    return (cols * light).sum() / light.sum() + (columns.start or 0), (
        rows * light
    ).sum() / light.sum()


@pytest.mark.parametrize("degrees", [-30, -7, 12, 40])
def test_a_tilted_face_is_turned_until_its_eyes_are_level(degrees):
    angle = math.radians(degrees)
    arm = np.array([math.cos(angle), math.sin(angle)]) * 25
    left, right = (np.array([100.0, 90.0]) + s * arm for s in (-1, 1))
    face = Face(60, 60, 80, 80, 1.0, ((left[0], left[1]), (right[0], right[1])))
    assert eye_tilt(face) == pytest.approx(angle)
    square = crop_face(dots(left, right), face, margin=0.25, upright=True)
    assert square.shape == (120, 120, 3)
    # The box's middle (100, 100) is the square's middle, and the turn is about it.
    (x1, y1), (x2, y2) = centre_of_light(square, "left"), centre_of_light(square, "right")
    assert y1 == pytest.approx(y2, abs=1.5)  # the dots are drawn on whole pixels
    assert x2 - x1 == pytest.approx(50, abs=1.5)
    offset = np.array([100.0, 90.0]) - 100.0
    turned = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    np.testing.assert_allclose([(x1 + x2) / 2, y1], turned @ offset + 59.5, atol=1.0)


def test_a_turned_crop_agrees_with_turning_the_whole_picture():
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(0, 255, size=(20, 20, 3), dtype=np.uint8))
    image = np.asarray(small.resize((200, 200), Image.Resampling.BICUBIC))
    eyes = ((80.0, 80.0), (120.0, 100.0))
    face = Face(70, 70, 60, 60, 1.0, eyes)
    degrees = math.degrees(math.atan2(20, 40))
    whole = Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR)
    ours = crop_face(image, face, margin=0.0, upright=True).astype(float)
    expected = np.asarray(whole)[70:130, 70:130].astype(float)
    assert np.abs(ours - expected).mean() < 1.0


def test_without_eyes_nothing_is_turned():
    image = np.random.default_rng(0).integers(0, 255, size=(60, 60, 3), dtype=np.uint8)
    face = Face(10, 10, 30, 30, 1.0)
    np.testing.assert_array_equal(
        crop_face(image, face, margin=0.1, upright=True), crop_face(image, face, margin=0.1)
    )


def test_a_turned_face_at_the_border_is_black_outside():
    image = np.full((60, 60, 3), 200, dtype=np.uint8)
    face = Face(-20, 10, 40, 40, 1.0, ((-10.0, 20.0), (10.0, 30.0)))
    square = crop_face(image, face, margin=0.0, upright=True)
    assert square[20, 2].max() == 0
    assert square[20, 35].min() == 200
