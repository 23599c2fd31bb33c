"""Times and pictures against PyAV's own frames and slow loops."""

from __future__ import annotations

import math
from pathlib import Path

import av
import numpy as np
import pytest

from emoclip_clinical.features.decoding import VideoSampler
from emoclip_clinical.features.opening import UnreadableVideoError


def sample(path, **settings):
    with VideoSampler(path, sample_fps=settings.pop("sample_fps", 5.0), **settings) as frames:
        sampled = list(frames)
        return sampled, frames.log


def every_frame(path):
    with av.open(str(path)) as container:
        return [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def nearest_by_slow_loop(times, sample_fps, end):
    chosen = {}
    for slot in range(math.ceil((times[-1] - times[0]) * sample_fps) + 2):
        instant = times[0] + slot / sample_fps
        distance, index = min((abs(t - instant), i) for i, t in enumerate(times))
        if distance < 0.5 / sample_fps and instant < end - 1e-6:
            chosen[slot] = index
    return chosen


def level(image):
    return round(float(image.mean()) / 4)


def test_constant_rate_gives_every_fifth_frame(tmp_path, make_video, numbered):
    path = make_video(
        tmp_path / "a.mp4", images=numbered(60), milliseconds=[40 * i for i in range(60)]
    )
    sampled, log = sample(path)
    assert [frame.slot for frame in sampled] == list(range(12))
    assert [level(frame.image) for frame in sampled] == list(range(0, 60, 5))
    assert log.first_seconds == 0
    assert log.end_seconds == pytest.approx(2.4, abs=1e-3)
    assert log.complete


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi"])
def test_containers_agree_with_their_own_clock(tmp_path, make_video, numbered, ending):
    path = make_video(
        tmp_path / f"a.{ending}", images=numbered(50), milliseconds=[40 * i for i in range(50)]
    )
    sampled, log = sample(path)
    assert log.n_frames == 50
    assert log.complete
    assert [level(frame.image) for frame in sampled] == list(range(0, 50, 5))
    assert log.end_seconds - log.first_seconds == pytest.approx(2.0, abs=1e-3)
    for frame in sampled:
        assert frame.seconds == pytest.approx(log.first_seconds + frame.slot / 5, abs=1e-3)
    # AVI alone has no presentation times.
    if ending != "avi":
        times = [time for time, _ in every_frame(path)]
        assert log.first_seconds == pytest.approx(times[0], abs=1e-3)
        assert {frame.seconds for frame in sampled} <= set(times)


@pytest.mark.parametrize("seed", range(4))
def test_variable_rate_is_sampled_by_time(tmp_path, make_video, numbered, seed):
    rng = np.random.default_rng(seed)
    gaps = rng.choice([15, 33, 50, 90, 700], p=[0.3, 0.3, 0.2, 0.15, 0.05], size=59)
    milliseconds = [0, *np.cumsum(gaps).tolist()]
    path = make_video(tmp_path / "a.mkv", images=numbered(60), milliseconds=milliseconds)
    sampled, log = sample(path)
    expected = nearest_by_slow_loop([ms / 1000 for ms in milliseconds], 5.0, log.end_seconds)
    assert {frame.slot: level(frame.image) for frame in sampled} == expected


def test_rate_near_the_sampling_rate_survives_rounded_times(tmp_path, make_video, numbered):
    # 30 frames a second in whole milliseconds: 0, 33, 67, 100, ...
    milliseconds = [round(1000 * i / 30) for i in range(60)]
    path = make_video(tmp_path / "a.mkv", images=numbered(60), milliseconds=milliseconds)
    sampled, _ = sample(path, sample_fps=30.0)
    assert [frame.slot for frame in sampled] == list(range(60))


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_start_offset_is_kept(tmp_path, make_video, numbered, ending):
    path = make_video(
        tmp_path / f"a.{ending}",
        images=numbered(25),
        milliseconds=[10_000 + 40 * i for i in range(25)],
    )
    sampled, log = sample(path)
    assert log.first_seconds == pytest.approx(10.0, abs=1e-3)
    assert log.end_seconds == pytest.approx(11.0, abs=1e-3)
    assert sampled[0].seconds == pytest.approx(10.0, abs=1e-3)


def test_part_of_a_video(tmp_path, make_video, numbered):
    path = make_video(
        tmp_path / "a.mp4", images=numbered(100), milliseconds=[40 * i for i in range(100)]
    )
    sampled, log = sample(path, start_seconds=1.0, stop_seconds=2.0)
    assert [level(frame.image) for frame in sampled] == [25, 30, 35, 40, 45]
    assert (log.first_seconds, log.end_seconds) == pytest.approx((1.0, 2.0), abs=1e-3)
    assert log.complete
    with pytest.raises(UnreadableVideoError, match="between start_seconds and stop_seconds"):
        sample(path, start_seconds=50.0)


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_is_applied(tmp_path, make_video, degrees):
    stored = np.zeros((64, 96, 3), dtype=np.uint8)
    stored[:20, :30] = 250
    path = make_video(
        tmp_path / "a.mp4",
        images=[stored] * 5,
        milliseconds=[40 * i for i in range(5)],
        prepare=lambda stream: stream.set_display_rotation(degrees),
    )
    shown = sample(path)[0][0].image
    # set_display_rotation counts counter-clockwise, as np.rot90 does.
    expected = np.rot90(stored, k=degrees // 90)
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 5


def test_pixels_that_are_not_square_are_stretched(tmp_path, make_video, numbered):
    def anamorphic(stream):
        stream.codec_context.sample_aspect_ratio = 2

    path = make_video(
        tmp_path / "a.mp4", images=numbered(5), milliseconds=range(0, 200, 40), prepare=anamorphic
    )
    assert sample(path)[0][0].image.shape == (64, 192, 3)


def test_damaged_packets_are_skipped_and_counted(tmp_path, make_video, lively):
    path = make_video(
        tmp_path / "a.mkv", images=lively(100, seed=1), milliseconds=[40 * i for i in range(100)]
    )
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1200] = np.random.default_rng(0).bytes(1200)
    path.write_bytes(content)
    sampled, log = sample(path)
    assert log.n_damaged > 0
    assert not log.complete
    assert "damaged" in log.notes[0]
    assert len(sampled) >= 12
    # What came after the damage keeps its place in time.
    assert sampled[-1].seconds == pytest.approx(sampled[-1].slot / 5, abs=0.021)
    assert sampled[-1].slot == 19


def test_damage_outside_the_wanted_part_takes_nothing_from_it(tmp_path, make_video, lively):
    path = make_video(
        tmp_path / "a.mkv", images=lively(200, seed=1), milliseconds=[40 * i for i in range(200)]
    )
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size, p.pts) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for place, size, pts in packets:
        if 2000 <= pts < 2400:
            content[place + 8 : place + size] = bytes(size - 8)
    path.write_bytes(content)
    assert not sample(path)[1].complete
    for part in ((4.0, 6.0), (None, 1.0), (2.8, None)):
        sampled, log = sample(path, start_seconds=part[0], stop_seconds=part[1])
        assert (log.complete, log.n_damaged, log.notes) == (True, 0, [])
        assert len(sampled) == round(5 * ((part[1] or 8.0) - (part[0] or 0.0)))
    # A part that begins among the damaged pictures has lost some.
    sampled, log = sample(path, start_seconds=2.04, stop_seconds=4.0)
    assert not log.complete
    assert log.first_seconds == pytest.approx(2.4, abs=1e-3)


def test_truncated_file_keeps_what_is_readable(tmp_path, make_video, lively):
    path = make_video(
        tmp_path / "a.mp4",
        images=lively(250, seed=2),
        milliseconds=[40 * i for i in range(250)],
        options={"movflags": "faststart"},
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sampled, log = sample(path)
    assert log.ended_early
    assert any("before the duration in its header" in note for note in log.notes)
    assert 10 <= len(sampled) < 50


def test_truncated_file_without_index_says_so(tmp_path, make_video, lively):
    path = make_video(
        tmp_path / "a.mp4", images=lively(50, seed=2), milliseconds=[40 * i for i in range(50)]
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableVideoError, match="moov"):
        sample(path)


def test_files_that_are_no_videos_say_what_they_are(tmp_path, make_video, numbered):
    (tmp_path / "text.mp4").write_text("This is a letter, not a video.\n" * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "folder.mp4").mkdir()
    make_video(tmp_path / "real.mp4", images=numbered(10), milliseconds=range(0, 400, 40))
    # FFmpeg would follow a playlist to other files, or to the network.
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile real.mp4\n")
    (tmp_path / "list.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nreal.mp4\n#EXT-X-ENDLIST\n"
    )
    for name, reason in (
        ("text", "text"),
        ("empty", "0 bytes"),
        ("noise", "not a video"),
        ("folder", "folder"),
        ("missing", "does not exist"),
        ("concat", "text"),
        ("list", "text"),
    ):
        with pytest.raises(UnreadableVideoError, match=reason) as caught:
            sample(tmp_path / f"{name}.mp4")
        assert str(tmp_path) not in str(caught.value)


def test_a_colon_in_a_relative_name_is_no_protocol(tmp_path, make_video, numbered, monkeypatch):
    path = make_video(tmp_path / "a.mp4", images=numbered(10), milliseconds=range(0, 400, 40))
    path.rename(tmp_path / "sub-1:b.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(sample(Path("sub-1:b.mp4"))[0]) == 2


def test_sound_alone_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 16000), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UnreadableVideoError, match="only sound"):
        sample(path)


@pytest.mark.parametrize(
    "name", ["cremad_1001_DFA_HAP_XX.flv", "pyfeat_face_noface.mov", "videoretalking_face1.mp4"]
)
def test_real_videos_agree_with_their_containers(assets, name):
    path = assets / "videos" / name
    times = [time for time, _ in every_frame(path)]
    sampled, log = sample(path)
    assert log.complete
    assert log.n_frames == len(times)
    assert log.first_seconds == pytest.approx(times[0], abs=1e-3)
    assert times[-1] < log.end_seconds < times[-1] + 0.1
    chosen = nearest_by_slow_loop(times, 5.0, log.end_seconds)
    assert [frame.slot for frame in sampled] == list(chosen)
    for frame in sampled:
        instant = times[0] + frame.slot / 5
        # Two frames can be equally near but for rounding.
        assert abs(frame.seconds - instant) == pytest.approx(
            abs(times[chosen[frame.slot]] - instant), abs=1e-9
        )
        assert frame.seconds in times
