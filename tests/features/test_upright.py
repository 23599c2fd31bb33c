"""Turned and mirrored videos, against the standard's own formula, point by point."""

from __future__ import annotations

import gc
import struct

import numpy as np
import pytest

from emoclip_clinical.features.decoding import VideoSampler
from emoclip_clinical.features.pictures import PictureReader

ONE = 1 << 16
# a, b, c, d of ISO/IEC 14496-12, 6.2.2.
MATRICES = {
    "as it is": (1, 0, 0, 1),
    "quarter turn right": (0, 1, -1, 0),
    "half turn": (-1, 0, 0, -1),
    "quarter turn left": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down mirrored": (1, 0, 0, -1),
    "mirrored and turned right": (0, 1, 1, 0),
    "mirrored and turned left": (0, -1, -1, 0),
}


def set_matrix(path, matrix):
    """Write a matrix into the track header of an MP4 file (ISO/IEC 14496-12, 8.3.2)."""
    a, b, c, d = (ONE * value for value in matrix)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4
    assert content[at] == 0  # version
    struct.pack_into(">9i", content, at + 40, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def shown_by_slow_loop(stored, matrix):
    a, b, c, d = matrix
    height, width = stored.shape[:2]
    places = {}
    for y in range(height):
        for x in range(width):
            places[a * x + c * y, b * x + d * y] = stored[y, x]
    left, top = min(p for p, _ in places), min(q for _, q in places)
    shown = np.zeros_like(stored if a else stored.swapaxes(0, 1))
    for (p, q), colour in places.items():
        shown[q - top, p - left] = colour
    return shown


@pytest.mark.parametrize("name", MATRICES)
def test_all_eight_matrices(tmp_path, make_video, name):
    stored = np.zeros((64, 96, 3), dtype=np.uint8)
    stored[:, 48:] = 250
    stored[:16, :32] = 120
    path = make_video(
        tmp_path / "a.mp4", images=[stored] * 5, milliseconds=[40 * i for i in range(5)]
    )
    set_matrix(path, MATRICES[name])
    with VideoSampler(path, sample_fps=5.0) as frames:
        sampled = next(iter(frames)).image
    with PictureReader(path) as reader:
        looked_up = reader.at(0.0).image
    expected = shown_by_slow_loop(stored, MATRICES[name])
    for image in (sampled, looked_up):
        assert image.shape == expected.shape
        assert np.abs(image.astype(int) - expected).mean() < 5


def test_frames_are_let_go_without_the_garbage_collector(tmp_path, make_video, numbered):
    path = make_video(
        tmp_path / "a.mp4", images=numbered(30), milliseconds=[40 * i for i in range(30)]
    )
    set_matrix(path, MATRICES["half turn"])
    gc.collect()
    gc.disable()
    try:
        with VideoSampler(path, sample_fps=25.0) as frames:
            assert sum(1 for _ in frames) == 30
        left = sum(type(thing).__name__ == "VideoFrame" for thing in gc.get_objects())
    finally:
        gc.enable()
    assert left <= 1
