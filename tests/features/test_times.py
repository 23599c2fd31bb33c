"""Every sampled frame is the one that its time says: a counter burnt into the pictures."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from emoclip_clinical.features.decoding import VideoSampler
from emoclip_clinical.features.video_clock import last_picture_seconds

BITS = 10
BLOCK = 16


def counter(number, *, height=64):
    """Draw a number as ten black or white squares."""
    bits = [(number >> k) & 1 for k in range(BITS)]
    row = np.repeat(np.array(bits, dtype=np.uint8) * 255, BLOCK)
    return np.repeat(np.broadcast_to(row, (height, BITS * BLOCK))[..., None], 3, axis=2).copy()


def read_counter(image):
    width = image.shape[1] / BITS
    middle = image[image.shape[0] // 2, [round((k + 0.5) * width) for k in range(BITS)]]
    return sum(1 << k for k, grey in enumerate(middle.mean(axis=1)) if grey > 127)


def encode(path, *, milliseconds, codec, pixel_format="yuv420p", container_format=None, **options):
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = BITS * BLOCK, 64
        stream.pix_fmt = pixel_format
        stream.codec_context.options = options
        # Formats of constant rate keep their own clock.
        base = Fraction(1, 25) if not isinstance(milliseconds, list) else Fraction(1, 1000)
        stream.codec_context.time_base = base
        for number, time in enumerate(milliseconds):
            frame = av.VideoFrame.from_ndarray(counter(number), format="rgb24")
            frame.time_base = base
            frame.pts = time if isinstance(milliseconds, list) else number
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode())
    return path


def shown(path):
    """Return PyAV's own list of times and counters, the independent answer."""
    with av.open(str(path)) as container:
        return {
            float(f.pts * f.time_base): read_counter(f.to_ndarray(format="rgb24"))
            for f in container.decode(video=0)
        }


def sampled(path, sample_fps=5.0):
    with VideoSampler(path, sample_fps=sample_fps) as frames:
        return [(f.slot, f.seconds, read_counter(f.image)) for f in frames], frames.log


def check_against_pyav(path):
    found, log = sampled(path)
    times = shown(path)
    first = min(times)
    assert log.complete
    assert log.n_frames == len(times)
    for slot, seconds, number in found:
        time = min(times, key=lambda t: abs(t - seconds))
        assert abs(time - seconds) < 1e-3
        assert times[time] == number
        nearest = min(abs(t - first - slot / 5) for t in times)
        assert abs(seconds - first - slot / 5) == pytest.approx(nearest, abs=1e-6)
    return found


X264 = {"codec": "libx264", "crf": "10", "threads": "1", "g": "12", "bf": "2"}
X265 = {"codec": "libx265", "crf": "10", "x265-params": "log-level=none:pools=1:bframes=2"}


def test_constant_rate(tmp_path):
    path = encode(tmp_path / "a.mp4", milliseconds=[40 * i for i in range(150)], **X264)
    found = check_against_pyav(path)
    assert [number for _, _, number in found] == list(range(0, 150, 5))


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_variable_rate(tmp_path, ending):
    rng = np.random.default_rng(1)
    gaps = rng.choice([16, 33, 40, 83, 450], p=[0.3, 0.3, 0.25, 0.1, 0.05], size=149)
    times = [0, *np.cumsum(gaps).tolist()]
    path = encode(tmp_path / f"a.{ending}", milliseconds=times, **X264)
    for _, seconds, number in check_against_pyav(path):
        # The counter is the frame's number, and so knows the time that it was written with.
        assert seconds == pytest.approx(times[number] / 1000, abs=1e-3)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_start_offset(tmp_path, ending):
    times = [3000 + 40 * i for i in range(100)]
    path = encode(tmp_path / f"a.{ending}", milliseconds=times, **X264)
    for _, seconds, number in check_against_pyav(path):
        assert seconds == pytest.approx(times[number] / 1000, abs=1e-3)


def _move_edit(path, *, by):
    """Let the only edit of an MP4 file begin later, by seconds (ISO/IEC 14496-12, 8.6.6)."""
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 4
    version, count = content[at], struct.unpack_from(">I", content, at + 4)[0]
    assert (version, count) == (0, 1)
    mdhd = content.index(b"mdhd") + 4
    (timescale,) = struct.unpack_from(">I", content, mdhd + 12)
    (media_time,) = struct.unpack_from(">i", content, at + 12)
    struct.pack_into(">i", content, at + 12, media_time + round(by * timescale))
    path.write_bytes(content)


def test_edit_list_leaves_out_the_beginning(tmp_path):
    path = encode(tmp_path / "a.mp4", milliseconds=[40 * i for i in range(150)], **X264)
    _move_edit(path, by=1.0)
    found = check_against_pyav(path)
    # What the edit leaves out is not shown, and the clock starts after it.
    assert found[0][1:] == (pytest.approx(0.0, abs=1e-3), 25)
    assert [number for _, _, number in found] == list(range(25, 150, 5))


@pytest.mark.parametrize(
    ("ending", "settings"),
    [
        ("mov", X264),
        ("flv", X264),
        ("mp4", X265),
        ("mkv", X265),
        ("webm", {"codec": "libvpx-vp9", "crf": "10", "b": "0", "cpu-used": "8"}),
        ("mkv", {"codec": "libsvtav1", "crf": "20", "preset": "12", "svtav1-params": "lp=1"}),
    ],
    ids=["mov-h264", "flv-h264", "mp4-hevc", "mkv-hevc", "webm-vp9", "mkv-av1"],
)
def test_formats_with_times(tmp_path, monkeypatch, ending, settings):
    monkeypatch.setenv("SVT_LOG", "0")
    path = encode(tmp_path / f"a.{ending}", milliseconds=[40 * i for i in range(75)], **settings)
    found = check_against_pyav(path)
    for _, seconds, number in found:
        assert seconds - found[0][1] == pytest.approx(0.04 * number, abs=2e-3)


@pytest.mark.parametrize(
    ("ending", "container_format", "settings"),
    [
        ("mpg", "mpeg", {"codec": "mpeg2video", "b": "4000000", "bf": "2"}),
        ("avi", "avi", {"codec": "mpeg4", "b": "2000000"}),
        ("wmv", "asf", {"codec": "wmv2", "b": "2000000"}),
        ("asf", "asf", X264),
        ("gif", "gif", {"codec": "gif", "pixel_format": "rgb8"}),
    ],
)
def test_formats_of_constant_rate(tmp_path, ending, container_format, settings):
    path = encode(
        tmp_path / f"a.{ending}",
        milliseconds=range(75),
        container_format=container_format,
        **settings,
    )
    found, log = sampled(path)
    assert log.complete
    assert log.n_frames == 75
    for slot, seconds, number in found:
        assert seconds - log.first_seconds == pytest.approx(0.04 * number, abs=2e-3)
        assert abs(0.2 * slot - 0.04 * number) <= 0.021


@pytest.mark.parametrize("picture_seconds", [100_000, 50_000_000])
def test_a_last_picture_of_years_ends_after_seconds(tmp_path, picture_seconds):
    path = encode(
        tmp_path / "a.avi",
        milliseconds=range(60),
        container_format="avi",
        codec="mpeg4",
        b="2000000",
    )
    content = bytearray(path.read_bytes())
    # dwScale and dwRate of the stream's header: so many seconds a picture.
    struct.pack_into("<II", content, content.index(b"strh") + 8 + 20, picture_seconds, 1)
    path.write_bytes(content)
    found, log = sampled(path)
    assert len(found) == 1
    assert not log.complete
    assert log.end_seconds - log.first_seconds == 10
    assert log.notes[0].startswith("its clock jumps")


@pytest.mark.parametrize(
    ("step", "longest", "taken"),
    [(0.04, 0.04, 0.04), (3600.0, 0.04, 10.0), (9.0, 0.04, 9.0), (15.0, 15.0, 15.0), (1e9, 15, 15)],
)
def test_a_last_picture_may_last_as_long_as_another_one(step, longest, taken):
    assert last_picture_seconds(step, longest_step_seconds=longest) == taken
