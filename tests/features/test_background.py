"""Decoding ahead in a thread: the same frames, a bound, and an end to decoders that hang."""

from __future__ import annotations

import math
import os
import threading
import time

import numpy as np
import pytest

from emoclip_clinical.features.background import BackgroundSampler
from emoclip_clinical.features.decoding import VideoSampler
from emoclip_clinical.features.opening import UnreadableVideoError


class Hanging(VideoSampler):
    """A decoder that stops answering after some pictures."""

    def __init__(self, path, *, after, **settings):
        super().__init__(path, **settings)
        self.after = after
        self.released = threading.Event()

    def _decoded(self):
        for i, frame in enumerate(super()._decoded()):
            if i == self.after:
                self.released.wait()
            yield frame


@pytest.fixture
def video(tmp_path, make_video, numbered):
    return make_video(
        tmp_path / "a.mp4", images=numbered(60), milliseconds=[40 * i for i in range(60)]
    )


def test_the_same_frames_and_the_same_log(video):
    with VideoSampler(video, sample_fps=5.0) as plain:
        expected = list(plain)
    with BackgroundSampler(VideoSampler(video, sample_fps=5.0), stall_seconds=30) as frames:
        assert frames.expected_seconds == pytest.approx(2.4, abs=0.05)
        assert frames.source_share == plain.source_share
        found = list(frames)
    assert [(f.slot, f.seconds) for f in found] == [(f.slot, f.seconds) for f in expected]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
    assert frames.log == plain.log
    assert not frames.stalled


def test_a_slow_reader_is_not_run_away_from(video):
    sampler = VideoSampler(video, sample_fps=25.0)
    with BackgroundSampler(sampler, stall_seconds=30) as frames:
        iterator = iter(frames)
        next(iterator)
        time.sleep(0.5)
        # Given out, waiting, in the hands of the thread, and the next candidate.
        assert sampler.n_decoded <= 1 + 8 + 2 + 1
    assert threading.active_count() < 50


def test_leaving_early_ends_the_thread(video):
    before = threading.active_count()
    with BackgroundSampler(VideoSampler(video, sample_fps=25.0), stall_seconds=30) as frames:
        next(iter(frames))
    assert threading.active_count() == before


def test_a_decoder_that_hangs_ends_the_video_with_what_was_read(video):
    sampler = Hanging(video, after=31, sample_fps=5.0)
    with BackgroundSampler(sampler, stall_seconds=0.4) as frames:
        found = list(frames)
    assert frames.stalled
    assert [f.slot for f in found] == list(range(6))
    log = frames.log
    assert log.ended_early
    assert log.end_seconds == pytest.approx(31 * 0.04, abs=1e-3)
    assert "gave no picture for 0.4 s" in log.notes[-1]
    sampler.released.set()


def test_a_decoder_that_hangs_before_the_first_picture_is_a_fault(video):
    sampler = Hanging(video, after=0, sample_fps=5.0)
    frames = BackgroundSampler(sampler, stall_seconds=0.4)
    with frames, pytest.raises(UnreadableVideoError, match="gave no picture"):
        list(frames)
    sampler.released.set()


def test_opening_that_hangs_is_a_fault(video):
    class Closed(VideoSampler):
        def __enter__(self):
            released.wait()
            return super().__enter__()

    released = threading.Event()
    with (
        pytest.raises(UnreadableVideoError, match="could not be opened"),
        BackgroundSampler(Closed(video, sample_fps=5.0), stall_seconds=0.3),
    ):
        pass
    released.set()


def test_a_slow_decoder_is_given_its_time(video):
    class Slow(VideoSampler):
        def _decoded(self):
            for frame in super()._decoded():
                time.sleep(0.03)
                yield frame

    # Pictures are sampled 1 s apart by a decoder that takes 0.75 s for them.
    with BackgroundSampler(Slow(video, sample_fps=1.0), stall_seconds=0.5) as frames:
        assert len(list(frames)) == 3
    assert not frames.stalled


def test_errors_of_the_file_come_through(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    with (
        pytest.raises(UnreadableVideoError, match="0 bytes"),
        BackgroundSampler(VideoSampler(tmp_path / "a.mp4", sample_fps=5.0), stall_seconds=30),
    ):
        pass
    os.mkfifo(tmp_path / "pipe.mp4")
    with (
        pytest.raises(UnreadableVideoError, match="not a regular file"),
        BackgroundSampler(VideoSampler(tmp_path / "pipe.mp4", sample_fps=5.0), stall_seconds=30),
    ):
        pass
    assert math.isnan(VideoSampler(tmp_path / "a.mp4", sample_fps=5.0).log.end_seconds)
