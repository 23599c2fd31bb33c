"""Files that are broken in every way: the cohort goes on, and what is readable is kept."""

from __future__ import annotations

import re

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.extract import extract

FAST_START = {"movflags": "faststart"}


@pytest.fixture
def make(make_video, lively, tmp_path):
    (tmp_path / "in").mkdir()

    def write(name, *, seed=3, count=300, **settings):
        return make_video(
            tmp_path / "in" / name,
            images=lively(count, seed=seed),
            milliseconds=[40 * i for i in range(count)],
            **settings,
        )

    return write


def cut(path, share):
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
    return path


def noise(path, *, start, length):
    content = bytearray(path.read_bytes())
    at = round(len(content) * start)
    content[at : at + length] = np.random.default_rng(0).bytes(length)
    path.write_bytes(content)
    return path


def sound_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 16000), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def decodable(path):
    """Return the times of the pictures that FFmpeg itself can still decode, whatever the way."""
    times = []
    with av.open(str(path)) as container:
        packets = container.demux(video=0)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                return times
            try:
                times += [f.time for f in packet.decode() if not f.is_corrupt]
            except av.error.FFmpegError:
                continue


def late_sound(path):
    """Append a piece of sound to a FLV file whose beginning says that there is none."""
    content = bytearray(path.read_bytes())
    assert content[:3] == b"FLV"
    content[4] &= ~0x04
    sound = b"\x2f" + bytes(100)
    tag = b"\x08" + len(sound).to_bytes(3, "big") + bytes(7) + sound
    path.write_bytes(content + tag + len(tag).to_bytes(4, "big"))
    return path


def mpeg2(path, *, images):
    """Encode with a description of the colours before each group of pictures."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 10
        stream.codec_context.options = {"seq_disp_ext": "1", "b": "4000000"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def colours_of_no_standard(path, *, group):
    """Damage one description of colours (ITU-T H.262, 6.2.2.4): no such matrix is known."""
    content = bytearray(path.read_bytes())
    begin = b"\x00\x00\x01\xb5"
    found = [m.start() for m in re.finditer(re.escape(begin) + b"[\x20-\x2f]", bytes(content))]
    content[found[group] + 7] = 65
    path.write_bytes(content)
    return path


def run(folder, embedder, prompts, output, **settings):
    config = ExtractionConfig(face="whole_frame", batch_frames=7, **settings)
    result = extract(
        [folder], embedder=embedder, config=config, prompt_sets=[prompts], output=output
    )
    interviews = pd.read_parquet(output / "interviews.parquet").set_index("interview")
    return result, interviews, pd.read_parquet(output / "segments.parquet")


def test_every_kind_of_damage_in_one_cohort(make, embedder, prompts, tmp_path):
    make("sub-00.mp4")
    cut(make("sub-01.mp4", options=FAST_START), 0.6)
    cut(make("sub-02.mkv"), 0.6)
    noise(make("sub-03.mkv"), start=0.4, length=3000)
    noise(make("sub-04.mp4", options=FAST_START), start=0.4, length=3000)
    make("sub-05.mp4").write_bytes(b"")
    cut(make("sub-06.mp4"), 0.6)
    sound_only(tmp_path / "in" / "sub-07.mp4")
    Image.new("RGB", (64, 48)).save(tmp_path / "in" / "sub-08.jpg")
    (tmp_path / "in" / "sub-08.jpg").rename(tmp_path / "in" / "sub-08.mp4")
    result, interviews, segments = run(tmp_path / "in", embedder, prompts, tmp_path / "f")
    failed = ["sub-05", "sub-06", "sub-07", "sub-08"]
    assert interviews["status"].to_dict() == {
        "sub-00": "ok",
        **dict.fromkeys(["sub-01", "sub-02", "sub-03", "sub-04"], "partial"),
        **dict.fromkeys(failed, "failed"),
    }
    assert (result.n_failed, result.n_partial) == (4, 4)
    for name, word in (
        ("sub-01", "before the duration in its header"),
        ("sub-02", "before the duration in its header"),
        ("sub-03", "steady, but for 0.5 s there are none"),
        ("sub-04", "damaged packets or pictures skipped"),
        ("sub-05", "0 bytes"),
        ("sub-06", "moov"),
        ("sub-07", "sound"),
        ("sub-08", "not a video"),
    ):
        assert re.search(word, interviews.loc[name, "reason"]), interviews.loc[name, "reason"]
    # What follows the damage is there too: the last of six windows of 2 s.
    for name in ("sub-03", "sub-04"):
        rows = segments[segments["interview"] == name]
        assert rows["segment"].tolist() == list(range(6))
        assert rows["status"].iloc[-1] == "ok"
    assert not set(failed) & set(segments["interview"])


def test_what_pyav_raises_besides_its_own_errors_stops_nothing(
    make, lively, embedder, prompts, tmp_path
):
    make("sub-00.mp4")
    late_sound(make("sub-01.flv", count=150))
    colours_of_no_standard(
        mpeg2(tmp_path / "in" / "sub-02.ts", images=lively(150, seed=3)), group=7
    )
    result, interviews, segments = run(tmp_path / "in", embedder, prompts, tmp_path / "f")
    assert interviews["status"].to_dict() == {
        "sub-00": "ok",
        "sub-01": "ok",
        "sub-02": "partial",
    }
    assert (result.n_failed, result.n_partial) == (0, 1)
    # Ten of 150 pictures can not be shown: two of those sampled at 0, 5, 10, ...
    lost = segments[segments["interview"] == "sub-02"]
    assert (lost["n_frames"].sum(), set(lost["status"])) == (28, {"ok"})
    assert interviews["reason"]["sub-02"].endswith("skipped: 2")
    # All of the pictures are there.
    assert (segments.loc[segments["interview"] == "sub-01", "n_frames"] == 10).all()


def test_mutated_files_never_stop_a_run(make_video, lively, tmp_path):
    from emoclip_clinical.features.decoding import VideoSampler
    from emoclip_clinical.features.opening import UnreadableVideoError

    pictures = lively(60, seed=1)
    ends = set()
    for ending in ("ts", "mkv", "mp4", "avi", "flv"):
        whole = make_video(
            tmp_path / f"a.{ending}", images=pictures, milliseconds=[40 * i for i in range(60)]
        ).read_bytes()
        for seed in range(12):
            rng = np.random.default_rng(seed)
            content = bytearray(whole)
            for place in rng.integers(0, len(content), size=int(rng.integers(1, 12))):
                content[place] = int(rng.integers(0, 256))
            path = tmp_path / f"b.{ending}"
            path.write_bytes(content)
            try:
                with VideoSampler(path, sample_fps=5.0) as frames:
                    list(frames)
            except UnreadableVideoError:
                ends.add("unreadable")
            else:
                assert frames.log.end_seconds > frames.log.first_seconds
                ends.add("read")
    assert "read" in ends


def test_an_error_that_nobody_foresaw_is_one_interviews_fault(
    make, embedder, prompts, tmp_path, monkeypatch
):
    for name in ("sub-00.mp4", "sub-01.mp4", "sub-02.mp4"):
        make(name, count=60)
    whole = type(embedder).prepare
    n_prepared = []

    def failing(self, frame):
        n_prepared.append(frame)
        if len(n_prepared) == 13:
            raise KeyError(str(tmp_path))
        return whole(self, frame)

    monkeypatch.setattr(type(embedder), "prepare", failing)
    result, interviews, _ = run(tmp_path / "in", embedder, prompts, tmp_path / "f")
    assert interviews["status"].tolist() == ["ok", "failed", "ok"]
    assert interviews["reason"]["sub-01"] == "reading it ended in an unforeseen error (KeyError)"
    monkeypatch.undo()
    again, interviews, _ = run(tmp_path / "in", embedder, prompts, tmp_path / "f")
    assert (result.n_failed, again.n_failed, again.n_kept) == (1, 0, 2)


def test_a_model_that_fails_ends_the_run(make, embedder, prompts, tmp_path, monkeypatch):
    make("sub-00.mp4", count=60)

    def failing(self, frames):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(type(embedder), "encode_prepared", failing)
    with pytest.raises(RuntimeError, match="the device is gone"):
        run(tmp_path / "in", embedder, prompts, tmp_path / "f")


@pytest.mark.parametrize("share", [0.3, 0.75])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_nothing_of_the_readable_part_is_lost(make, embedder, prompts, tmp_path, ending, share):
    path = cut(make(f"sub-01.{ending}", options=FAST_START if ending == "mp4" else None), share)
    times = decodable(path)
    _, interviews, segments = run(path, embedder, prompts, tmp_path / "f")
    end = max(times) + 0.04
    assert interviews.loc["sub-01", "seconds"] == pytest.approx(end - times[0], abs=1e-3)
    assert segments["onset"].iloc[-1] + segments["duration"].iloc[-1] >= end - 1.0 - 1e-3
    assert set(segments["status"]) == {"ok"}
    slots = {round(t * 5) for t in times if abs(t * 5 - round(t * 5)) < 0.11}
    assert segments["n_frames"].sum() >= sum(
        slot / 5 < segments["onset"].iloc[-1] + segments["duration"].iloc[-1] - 1e-3
        for slot in slots
    )


def test_a_hole_is_a_segment_with_its_reason(make, embedder, prompts, tmp_path):
    path = make("sub-01.mkv")
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size, p.pts) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for place, size, pts in packets:
        if 4000 <= pts < 6000:
            # The container's own header of a block, about 8 bytes, is left alone.
            content[place + 8 : place + size] = bytes(size - 8)
    path.write_bytes(content)
    _, interviews, segments = run(path, embedder, prompts, tmp_path / "f")
    hole = segments[segments["segment"] == 2].iloc[0]
    assert hole["status"] == "decode_error"
    assert re.search(r"frames could be read; damaged packets or pictures: \d+", hole["reason"])
    scores = segments.filter(regex="^(emotion|cosine)_")
    assert scores.loc[hole.name].isna().all()
    assert segments["status"].tolist() == ["ok", "ok", "decode_error", "ok", "ok", "ok"]
    assert (segments.loc[segments["status"] == "ok", "reason"] == "").all()
    assert interviews.loc["sub-01", "status"] == "partial"


def test_a_decoder_that_hangs_does_not_stop_the_cohort(
    make, embedder, prompts, tmp_path, monkeypatch
):
    import threading

    from emoclip_clinical.features.decoding import VideoSampler

    for name in ("sub-01.mp4", "sub-02.mp4", "sub-03.mp4"):
        make(name, count=150)
    whole = VideoSampler._decoded
    never = threading.Event()

    def hanging(self):
        for i, frame in enumerate(whole(self)):
            if self.path.stem == "sub-02" and i == 110:
                never.wait()
            yield frame

    monkeypatch.setattr(VideoSampler, "_decoded", hanging)
    result, interviews, segments = run(
        tmp_path / "in", embedder, prompts, tmp_path / "f", stall_seconds=0.5
    )
    never.set()
    assert interviews["status"].tolist() == ["ok", "partial", "ok"]
    assert "gave no picture" in interviews.loc["sub-02", "reason"]
    assert (segments["interview"] == "sub-02").sum() == 2
    # It may have been the disk: the next run tries again.
    monkeypatch.undo()
    again, interviews, _ = run(tmp_path / "in", embedder, prompts, tmp_path / "f")
    assert (result.n_kept, again.n_kept) == (0, 2)
    assert set(interviews["status"]) == {"ok"}
