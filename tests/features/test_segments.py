"""Windows against a slow loop over all frames; quality and movement by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import laplace

from emoclip_clinical.features.faces import Face
from emoclip_clinical.features.quality import (
    movement,
    segment_quality,
    sharpness_and_brightness,
)
from emoclip_clinical.features.quality_config import QualityConfig
from emoclip_clinical.features.segments import (
    FrameRecord,
    Grid,
    Window,
    WindowCutter,
    stack_vectors,
)
from emoclip_clinical.records import InputError


def cut(grid, slots, *, first=0.0, total):
    cutter = WindowCutter(grid)
    windows = []
    for slot in slots:
        record = FrameRecord(slot=slot, seconds=first + slot / grid.sample_fps)
        windows += cutter.add(record, first_seconds=first)
    return windows + list(cutter.finish(first_seconds=first, end_seconds=first + total))


def expected_windows(*, fps, window, stride, total):
    """Say in plain words which windows there are."""
    found = []
    index = 0
    forgiven = 0.5 / fps + 1e-6
    while True:
        onset = index * stride
        length = min(window, total - onset)
        if index > 0:
            if length < window / 2 - forgiven:
                break
            if stride <= window and found[-1][0] + window >= total - forgiven:
                break
        found.append((onset, length))
        index += 1
    return found


@pytest.mark.parametrize("stride", [2.0, 1.0, 0.7, 3.0])
@pytest.mark.parametrize("total", [0.4, 1.0, 1.9, 2.0, 2.8, 3.0, 3.4, 7.99, 20.0])
def test_windows_equal_a_plain_loop(stride, total):
    fps, window, first = 5.0, 2.0, 7.25
    rng = np.random.default_rng(round(total * 100))
    n_slots = math.ceil(total * fps - 1e-9)
    slots = sorted({0, *rng.choice(n_slots, size=math.ceil(0.7 * n_slots), replace=False).tolist()})
    windows = cut(Grid(fps, window, stride), slots, first=first, total=total)
    expected = expected_windows(fps=fps, window=window, stride=stride, total=total)
    assert [w.index for w in windows] == list(range(len(expected)))
    for got, (onset, length) in zip(windows, expected, strict=True):
        assert got.onset == pytest.approx(first + onset)
        assert got.duration == pytest.approx(length)
        # With a stride that is not whole slots, a window begins at its first whole slot.
        lowest = math.ceil(onset * fps - 1e-6)
        assert [r.slot for r in got.records] == [s for s in slots if lowest <= s < lowest + 10]


@pytest.mark.parametrize("window", [3.5, 3.3, 1.0, 0.25])
@pytest.mark.parametrize("stride", [3.5, 3.3, 0.7, 1.0])
def test_a_window_holds_the_frames_from_its_onset_to_before_its_end(window, stride):
    grid, total = Grid(5.0, window, stride), 30.0
    windows = cut(grid, range(150), total=total)
    for got in windows:
        onset = got.index * stride
        # A thousandth of a second stands for equal: times are sums of tenths.
        inside = [s for s in range(150) if onset - 1e-3 <= s / 5 < onset + window - 1e-3]
        assert [r.slot for r in got.records] == inside
        assert got.n_slots <= grid.slots_per_window
        assert got.first_slot == inside[0]
        if onset + window <= total:
            assert got.n_slots == len(inside)
    if window == stride:
        seen = [r.slot for got in windows for r in got.records]
        assert seen == list(range(len(seen)))
        assert len(seen) > 130


def test_a_short_video_is_one_segment():
    (window,) = cut(Grid(5.0, 10.0, 10.0), [0, 1], total=0.4)
    assert (window.duration, window.n_slots, len(window.records)) == (0.4, 2, 2)


def test_a_gap_longer_than_a_window_leaves_empty_windows():
    windows = cut(Grid(5.0, 1.0, 1.0), [0, 1, 2, 3, 4, 20, 21, 22, 23, 24], total=5.0)
    assert [len(w.records) for w in windows] == [5, 0, 0, 0, 5]


def test_overlapping_windows_share_the_frames():
    windows = cut(Grid(5.0, 2.0, 1.0), range(20), total=4.0)
    assert windows[0].records[5] is windows[1].records[0]


def test_windows_shorter_than_a_frame_are_refused():
    with pytest.raises(InputError) as caught:
        Grid(5.0, 0.1, 0.05)
    assert len(caught.value.faults) == 2


def test_frames_take_their_slots_and_gaps_are_masked():
    one = np.ones(3, dtype=np.float32)
    records = (
        FrameRecord(11, 2.2, vector=one),
        FrameRecord(12, 2.4),
        FrameRecord(14, 2.8, vector=2 * one),
    )
    vectors, valid = stack_vectors([Window(1, 2.0, 1.0, 10, 5, records)], n_slots=5, width=3)
    assert valid.tolist() == [[False, True, False, False, True]]
    np.testing.assert_array_equal(vectors[0], np.outer([0, 1, 0, 0, 2], one))


HALF = QualityConfig(minimum_coverage=0.5)


def window_with(n_seen, n_read, *, n_slots=10):
    face = Face(1.0, 2.0, 3.0, 4.0, 0.8)
    seen = [
        FrameRecord(i, i / 5, face=face, vector=np.ones(2, np.float32), sharpness=i, brightness=9.0)
        for i in range(n_seen)
    ]
    unseen = [FrameRecord(i, i / 5) for i in range(n_seen, n_read)]
    return Window(0, 0.0, n_slots / 5, 0, n_slots, (*seen, *unseen))


@pytest.mark.parametrize(
    ("n_seen", "n_read", "status"),
    [
        (10, 10, "ok"),
        (5, 10, "ok"),
        (4, 10, "low_coverage"),
        (0, 10, "no_face"),
        (0, 0, "decode_error"),
        (4, 4, "decode_error"),
        (5, 6, "ok"),
        (3, 5, "low_coverage"),
    ],
)
def test_status(n_seen, n_read, status):
    quality = segment_quality(
        window_with(n_seen, n_read), faces_wanted=True, thresholds=HALF, source_share=1.0
    )
    assert quality.status == status
    assert (quality.reason == "") == (status == "ok")
    assert quality.n_frames == n_read
    # Frames that could not be read show no face.
    assert quality.face_coverage == (n_seen / 10 if n_read else None)
    if n_read:
        # What pooling by face_seconds weighs with: 0.2 s for each frame that was seen.
        assert 2.0 * quality.face_coverage == pytest.approx(0.2 * n_seen)
    if n_seen:
        assert (quality.FaceRectX, quality.FaceRectHeight, quality.FaceScore) == (1.0, 4.0, 0.8)
        assert quality.sharpness == np.median(range(n_seen))
    else:
        assert quality.FaceRectX is quality.sharpness is quality.brightness is None


def test_a_video_with_few_frames_a_second_is_not_called_damaged():
    quality = segment_quality(
        window_with(4, 4), faces_wanted=True, thresholds=HALF, source_share=0.4
    )
    assert quality.status == "ok"


def test_movement_by_hand():
    def record(slot, vector, shot=0):
        return FrameRecord(slot, slot * 0.2, vector=np.array(vector, np.float32), shot=shot)

    # From (1, 0) to (0, 1), whatever the lengths: sqrt(2) in 0.2 s; then rest; then a gap.
    records = (record(0, [5, 0]), record(1, [0, 2]), record(2, [0, 1]), record(4, [1, 0]))
    assert movement(records) == pytest.approx((math.sqrt(2) / 0.2 + 0) / 2)
    assert movement((record(0, [1, 0]), record(2, [0, 1]))) is None
    # From one framing to another is a cut, and no movement.
    framings = (*records[:3], record(3, [1, 1], shot=1), record(4, [1, 1], shot=1))
    assert movement(framings) == pytest.approx((math.sqrt(2) / 0.2 + 0 + 0) / 3)


def test_sharpness_equals_scipy():
    picture = np.random.default_rng(0).integers(0, 255, size=(3, 20, 30), dtype=np.uint8)
    grey = np.tensordot([0.299, 0.587, 0.114], picture.astype(float), axes=1)
    sharpness, brightness = sharpness_and_brightness(picture)
    assert sharpness == pytest.approx(laplace(grey)[1:-1, 1:-1].var(), rel=1e-4)
    assert brightness == pytest.approx(grey.mean(), rel=1e-5)
