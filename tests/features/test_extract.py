"""Folders to tables: contract, faults, resumption, determinism; real faces where they are."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical import file_hashes
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.decoding import VideoSampler
from emoclip_clinical.features.extract import extract
from emoclip_clinical.features.faces import Face
from emoclip_clinical.features.repooling import open_pooled_folder
from emoclip_clinical.features.scale_out import ScaleOut
from emoclip_clinical.records import InputError
from emoclip_clinical.regression.feature_files import read_feature_files

WHOLE = ExtractionConfig(face="whole_frame", batch_frames=7)
TABLES = ("segments.parquet", "embeddings.parquet", "interviews.parquet", "features.json")


@pytest.fixture(scope="module")
def encoded_videos(tmp_path_factory, make_video, lively):
    folder = tmp_path_factory.mktemp("encoded")
    for seed, (name, count) in enumerate((("sub-01", 130), ("sub-02_ses-1", 60), ("sub-03", 100))):
        make_video(
            folder / f"{name}.mp4",
            images=lively(count, seed=seed),
            milliseconds=[40 * i for i in range(count)],
        )
    return folder


@pytest.fixture
def videos(tmp_path, encoded_videos):
    return Path(shutil.copytree(encoded_videos, tmp_path / "interviews"))


def run(paths, embedder, prompts, output, config=WHOLE, **settings):
    return extract(
        paths if isinstance(paths, list) else [paths],
        embedder=embedder,
        config=config,
        prompt_sets=[prompts],
        output=output,
        **settings,
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def test_tables_follow_the_contract(videos, embedder, prompts, tmp_path):
    calls = []
    result = run(
        videos, embedder, prompts, tmp_path / "f", progress=lambda *call: calls.append(call)
    )
    assert (result.n_failed, result.n_partial, result.n_kept, result.warnings) == (0, 0, 0, ())
    assert calls == [("extract", i, 3) for i in (1, 2, 3)]  # none is long enough for more
    segments = pd.read_parquet(tmp_path / "f" / "segments.parquet")
    assert segments.columns[:19].tolist() == [
        *("participant_id", "session_id", "interview", "segment", "onset", "duration"),
        *("n_frames", "face_coverage"),
        *("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"),
        *("sharpness", "brightness", "head_motion", "movement", "status", "reason"),
    ]
    # 5.2 s, 2.4 s and 4 s in windows of 2 s: a rest of 1.2 s is kept, one of 0.4 s is not.
    assert segments["interview"].tolist() == [*["sub-01"] * 3, "sub-02_ses-1", *["sub-03"] * 2]
    assert segments["session_id"].tolist() == [*[""] * 3, "ses-1", *[""] * 2]
    np.testing.assert_allclose(segments["onset"], [0, 2, 4, 0, 0, 2], atol=1e-3)
    np.testing.assert_allclose(segments["duration"], [2, 2, 1.2, 2, 2, 2], atol=1e-3)
    assert segments["n_frames"].tolist() == [10, 10, 6, 10, 10, 10]
    assert set(segments["status"]) == {"ok"}
    assert segments["face_coverage"].isna().all()
    interviews = pd.read_parquet(tmp_path / "f" / "interviews.parquet")
    described = json.loads((tmp_path / "f" / "features.json").read_text())
    assert interviews.columns[22:].tolist() == described["pooled_features"]
    assert described["model"]["temperature"] == embedder.temperature
    assert [entry["interview"] for entry in described["inputs"]] == interviews["interview"].tolist()
    assert str(tmp_path) not in json.dumps(described)


def test_the_towers_are_named_and_no_video_is_read_again_for_it(
    videos, embedder, prompts, tmp_path
):
    def described():
        return json.loads((tmp_path / "f" / "features.json").read_text())

    run(videos / "sub-01.mp4", embedder, prompts, tmp_path / "f")
    before = described()
    assert before["tower"] == {"name": None, "pretrained": None, "temporal": None}
    tower = {"name": "ours", "pretrained": "none", "definition": {"embed_dim": 8}, "text": True}
    embedder.card = {"architecture": {"tower": tower, "temporal": {"kind": "mean", "layers": 2}}}
    assert run(videos / "sub-01.mp4", embedder, prompts, tmp_path / "f").n_kept == 1
    made_of = {"name": "ours", "pretrained": "none", "temporal": "mean"}
    assert described() == {**before, "tower": made_of}


def test_scores_equal_a_slow_loop_over_frames(videos, embedder, prompts, tmp_path):
    run(videos / "sub-01.mp4", embedder, prompts, tmp_path / "f")
    with VideoSampler(videos / "sub-01.mp4", sample_fps=5.0) as frames:
        pictures = [(f.slot, embedder.prepare(f.image)) for f in frames]
    expected = []
    for window in range(3):
        chosen = np.stack([p for slot, p in pictures if 10 * window <= slot < 10 * window + 10])
        vectors = embedder.encode_prepared(chosen)[None]
        expected.append(embedder.encode_sequences(vectors, np.ones(vectors.shape[:2], bool))[0])
    embeddings = pd.read_parquet(tmp_path / "f" / "embeddings.parquet")
    np.testing.assert_allclose(np.stack(embeddings["embedding"]), expected, atol=1e-6)
    classes, _ = embedder.encode_prompts(prompts)
    segments = pd.read_parquet(tmp_path / "f" / "segments.parquet")
    np.testing.assert_allclose(
        segments["cosine_two__frown"], np.stack(expected) @ classes[1], atol=1e-6
    )


def test_each_frame_is_encoded_once_in_full_batches(videos, embedder, prompts, tmp_path):
    config = ExtractionConfig(face="whole_frame", batch_frames=8, stride_seconds=0.5)
    run(videos / "sub-01.mp4", embedder, prompts, tmp_path / "f", config=config)
    # 26 frames, in batches of one size; the last one is filled up.
    assert embedder.n_pictures == 26
    assert embedder.batches == [8, 8, 8, 8]


def test_an_interview_that_fails_is_recorded_and_the_others_go_on(
    videos, embedder, prompts, tmp_path
):
    (videos / "sub-04.mp4").write_text("no video at all\n" * 20)
    (videos / "sub-05.mov").write_bytes(b"")
    result = run(videos, embedder, prompts, tmp_path / "f")
    assert result.n_failed == 2
    interviews = pd.read_parquet(tmp_path / "f" / "interviews.parquet").set_index("interview")
    assert interviews["status"].tolist() == ["ok", "ok", "ok", "failed", "failed"]
    assert "text" in interviews.loc["sub-04", "reason"]
    assert "0 bytes" in interviews.loc["sub-05", "reason"]
    assert interviews.loc["sub-04"].drop(["participant_id", "session_id"])["n_segments"] == 0
    segments = pd.read_parquet(tmp_path / "f" / "segments.parquet")
    assert set(segments["interview"]) == {"sub-01", "sub-02_ses-1", "sub-03"}
    # A file that is repaired is read at the next start; the others are kept.
    (videos / "sub-04.mp4").write_bytes((videos / "sub-01.mp4").read_bytes())
    again = run(videos, embedder, prompts, tmp_path / "f")
    assert (again.n_failed, again.n_kept) == (1, 3)


def test_a_truncated_video_is_partial_and_keeps_its_segments(
    make_video, lively, embedder, prompts, tmp_path
):
    path = make_video(
        tmp_path / "sub-01.mp4",
        images=lively(250, seed=5),
        milliseconds=[40 * i for i in range(250)],
        options={"movflags": "faststart"},
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = run(path, embedder, prompts, tmp_path / "f")
    assert result.n_partial == 1
    (outcome,) = result.interviews
    assert outcome.n_ok >= 1
    assert "header" in outcome.reason


def test_workers_and_repetition_change_no_byte(videos, embedder, prompts, tmp_path):
    run(videos, embedder, prompts, tmp_path / "one")
    run(videos, embedder, prompts, tmp_path / "three", scale=ScaleOut(workers=3))
    run(videos, embedder, prompts, tmp_path / "one")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "three")
    embedder.n_encoded = 0
    assert run(videos, embedder, prompts, tmp_path / "one").n_kept == 3
    assert embedder.n_encoded == 0
    assert run(videos, embedder, prompts, tmp_path / "one", overwrite=True).n_kept == 0
    assert embedder.n_encoded > 0
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "three")


def test_other_settings_never_mix(videos, embedder, prompts, tmp_path):
    run(videos, embedder, prompts, tmp_path / "f")
    other = ExtractionConfig(face="whole_frame", window_seconds=1.0)
    result = run(videos / "sub-01.mp4", embedder, prompts, tmp_path / "f", config=other)
    assert result.n_kept == 0
    assert "sub-02_ses-1, sub-03" in result.warnings[0]
    segments = pd.read_parquet(tmp_path / "f" / "segments.parquet")
    assert set(segments["interview"]) == {"sub-01"}
    # Another model, or a change to one video, is noticed too.
    run(videos, embedder, prompts, tmp_path / "f")
    (videos / "sub-03.mp4").write_bytes((videos / "sub-01.mp4").read_bytes())
    assert run(videos, embedder, prompts, tmp_path / "f").n_kept == 2
    embedder.model_hash = "other"
    assert run(videos, embedder, prompts, tmp_path / "f").n_kept == 0
    # The batch size alone does not ask for new work.
    batches = ExtractionConfig(face="whole_frame", batch_frames=3)
    assert run(videos, embedder, prompts, tmp_path / "f", config=batches).n_kept == 3


def test_earlier_interviews_stay_and_are_named(videos, embedder, prompts, tmp_path):
    run(videos, embedder, prompts, tmp_path / "f")
    before = bytes_of(tmp_path / "f")
    result = run(videos / "sub-03.mp4", embedder, prompts, tmp_path / "f")
    assert bytes_of(tmp_path / "f") == before
    assert "earlier run" in result.warnings[0]
    assert "sub-01, sub-02_ses-1" in result.warnings[0]


def test_versions_are_those_that_each_interview_was_made_with(
    videos, embedder, prompts, tmp_path, monkeypatch
):
    def versions():
        return json.loads((tmp_path / "f" / "features.json").read_text())["versions"]

    run(videos / "sub-01.mp4", embedder, prompts, tmp_path / "f")
    before = versions()
    assert before["numpy"] == np.__version__
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "99.0" if name == "av" else real(name))
    result = run(videos, embedder, prompts, tmp_path / "f")
    assert versions() == {**before, "av": f"{before['av']}, 99.0"}
    (warning,) = result.warnings
    assert f"different versions (extract --overwrite makes all alike): av {before['av']}, 99.0" in (
        warning
    )
    assert run(videos, embedder, prompts, tmp_path / "f", overwrite=True).warnings == ()
    assert versions() == {**before, "av": "99.0"}


@pytest.mark.parametrize("table", ["segments.parquet", "embeddings.parquet"])
@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "gone"])
def test_a_damaged_part_is_made_again(videos, embedder, prompts, tmp_path, table, damage):
    run(videos, embedder, prompts, tmp_path / "f")
    before = bytes_of(tmp_path / "f")
    path = tmp_path / "f" / "parts" / "sub-03" / table
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    path.write_bytes({"empty": b"", "half": content[:middle], "flipped": flipped}.get(damage, b""))
    if damage == "gone":
        path.unlink()
    assert run(videos, embedder, prompts, tmp_path / "f").n_kept == 2
    assert bytes_of(tmp_path / "f") == before


def test_a_damaged_part_without_hashes_is_named(videos, embedder, prompts, tmp_path):
    """Parts of an earlier version hold none."""
    run(videos, embedder, prompts, tmp_path / "f")
    part = tmp_path / "f" / "parts" / "sub-03"
    card = json.loads((part / "part.json").read_text())
    del card["tables"]
    (part / "part.json").write_text(json.dumps(card))
    assert run(videos, embedder, prompts, tmp_path / "f").n_kept == 3
    (part / "segments.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="sub-03: what was extracted of it is damaged"):
        run(videos, embedder, prompts, tmp_path / "f")


def test_videos_that_stay_as_they_are_are_not_read_to_know_it(
    videos, embedder, prompts, tmp_path, monkeypatch
):
    read = []
    monkeypatch.setattr(file_hashes, "SETTLED_SECONDS", -1.0)
    monkeypatch.setattr(file_hashes, "file_sha256", lambda p: read.append(p.name) or "ab" * 32)
    memory = tmp_path / ".emoclip" / "hashes.json"
    run(videos, embedder, prompts, tmp_path / "f", hash_memory=memory)
    assert sorted(read) == ["sub-01.mp4", "sub-02_ses-1.mp4", "sub-03.mp4"]
    assert run(videos, embedder, prompts, tmp_path / "f", hash_memory=memory).n_kept == 3
    assert len(read) == 3
    os.utime(videos / "sub-03.mp4")
    run(videos, embedder, prompts, tmp_path / "f", hash_memory=memory)
    assert read[3:] == ["sub-03.mp4"]
    run(videos, embedder, prompts, tmp_path / "f")
    assert len(read) == 4 + 3
    assert "sub-" not in memory.read_text()


def test_a_model_that_gives_no_numbers_ends_the_run(videos, embedder, prompts, tmp_path):
    embedder.encode_sequences = lambda vectors, valid: np.full((len(vectors), 8), np.nan)
    with pytest.raises(InputError, match="embeddings that are not finite"):
        run(videos, embedder, prompts, tmp_path / "f")
    assert not (tmp_path / "f" / "segments.parquet").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_device_without_memory_is_told(videos, embedder, prompts, tmp_path, workers):
    class OutOfMemoryError(RuntimeError):
        """As torch's."""

    def failing(frames):
        raise OutOfMemoryError("Tried to allocate 20 GiB")

    embedder.encode_prepared = failing
    with pytest.raises(InputError, match="batch_frames=7: set it lower"):
        run(videos, embedder, prompts, tmp_path / "f", scale=ScaleOut(workers=workers))


def test_merging_overwrites_nothing(videos, embedder, prompts, tmp_path):
    with pytest.raises(InputError, match="nothing to overwrite"):
        run(
            videos, embedder, prompts, tmp_path / "f",
            overwrite=True, scale=ScaleOut(merge_only=True),
        )  # fmt: skip


@pytest.mark.parametrize("content", ["another", "the same"])
def test_a_file_that_changes_while_it_is_read_is_read_again(
    videos, embedder, prompts, tmp_path, monkeypatch, content
):
    path, other = videos / "sub-01.mp4", videos / "sub-03.mp4"
    whole = VideoSampler._decoded

    def replaced(self):
        for i, frame in enumerate(whole(self)):
            if i == 20 and self.path == path:
                kept = path.read_bytes() if content == "the same" else other.read_bytes()
                # As a copy does: a new file under the old name.
                (videos / "new").write_bytes(kept)
                os.utime(videos / "new", ns=(1, 1))
                (videos / "new").replace(path)
            yield frame

    monkeypatch.setattr(VideoSampler, "_decoded", replaced)
    result = run(path, embedder, prompts, tmp_path / "f")
    (outcome,) = result.interviews
    if content == "the same":
        assert (outcome.status, outcome.reason) == ("ok", "")
        return
    assert (outcome.status, outcome.reason) == ("partial", "the file changed while it was read")
    monkeypatch.undo()
    again = run(path, embedder, prompts, tmp_path / "f")
    assert (again.n_kept, again.n_partial) == (0, 0)
    run(path, embedder, prompts, tmp_path / "new")
    assert bytes_of(tmp_path / "f") == bytes_of(tmp_path / "new")


class LeftHalfFaces:
    """Sees a face wherever the left of the picture is bright."""

    name = "scripted"

    def detect(self, image):
        bright = image[:, : image.shape[1] // 2].mean() > 100
        return (Face(10.0, 12.0, 30.0, 40.0, 0.75),) if bright else ()


def test_segments_without_enough_face_have_nulls(
    make_video, embedder, prompts, tmp_path, monkeypatch
):
    bright = np.full((64, 96, 3), 200, np.uint8)
    dark = np.full((64, 96, 3), 10, np.uint8)
    path = make_video(
        tmp_path / "sub-01.mp4",
        images=[bright] * 60 + [dark] * 90,
        milliseconds=[40 * i for i in range(150)],
    )
    monkeypatch.setattr(
        "emoclip_clinical.features.reading_settings.load_detector", lambda config: LeftHalfFaces()
    )
    config = ExtractionConfig(detection_fps=5.0)
    run(path, embedder, prompts, tmp_path / "f", config=config)
    segments = pd.read_parquet(tmp_path / "f" / "segments.parquet")
    assert segments["status"].tolist() == ["ok", "low_coverage", "no_face"]
    assert segments["face_coverage"].tolist() == [1.0, 0.2, 0.0]
    assert segments["FaceRectHeight"].tolist()[:2] == [40.0, 40.0]
    scores = segments.filter(regex="^(emotion|cosine)_")
    assert scores.notna().all(axis=1).tolist() == [True, False, False]
    assert scores.isna().all(axis=1).tolist() == [False, True, True]
    embeddings = pd.read_parquet(tmp_path / "f" / "embeddings.parquet")
    assert embeddings["segment"].tolist() == [0]
    (interview,) = pd.read_parquet(tmp_path / "f" / "interviews.parquet").to_dict("records")
    assert (interview["n_segments"], interview["n_ok"], interview["n_faces"]) == (3, 1, 1)
    assert interview["face_coverage"] == pytest.approx(12 / 30)
    assert interview["status"] == "ok"


def test_interviews_kept_with_another_rule_for_the_patient_are_named(
    videos, embedder, prompts, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "emoclip_clinical.features.reading_settings.load_detector", lambda config: LeftHalfFaces()
    )
    left, right = (ExtractionConfig(patient=rule) for rule in ("left", "right"))
    run(videos, embedder, prompts, tmp_path / "f", config=left)
    one = videos / "sub-03.mp4"
    warning = run(one, embedder, prompts, tmp_path / "f", config=left).warnings[-1]
    assert warning.endswith("with the same settings: sub-01, sub-02_ses-1")
    result = run(one, embedder, prompts, tmp_path / "f", config=right)
    assert result.n_kept == 0
    warning = result.warnings[-1]
    assert "another rule for the patient than right" in warning
    assert warning.endswith(": sub-01 (left), sub-02_ses-1 (left)")


def test_a_window_that_the_model_can_not_take_is_refused_before_any_video(
    videos, embedder, prompts, tmp_path
):
    with pytest.raises(InputError, match="window_seconds"):
        run(videos, embedder, prompts, tmp_path / "f", config=ExtractionConfig(window_seconds=0.05))
    long = ExtractionConfig(face="whole_frame", window_seconds=3.0)
    assert (
        "trained on clips"
        in run(videos, embedder, prompts, tmp_path / "f", config=long).warnings[0]
    )


def test_two_at_once_are_refused(videos, embedder, prompts, tmp_path):
    def nested(*_):
        with pytest.raises(InputError, match="another extract"):
            run(videos, embedder, prompts, tmp_path / "f")

    run(videos, embedder, prompts, tmp_path / "f", progress=nested)


def test_an_output_that_is_a_file_is_refused(videos, embedder, prompts, tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(InputError, match="can not write"):
        run(videos, embedder, prompts, tmp_path / "f")


def full_disk(monkeypatch, *, after):
    """Let the system find no room, from some file on."""
    real, n_synced = os.fsync, []

    def fsync(handle):
        n_synced.append(handle)
        if len(n_synced) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("after", [0, 6, 16, 19])
def test_a_full_disk_is_told_and_leaves_the_tables_of_before(
    videos, embedder, prompts, tmp_path, monkeypatch, after
):
    run(videos, embedder, prompts, tmp_path / "f")
    before = bytes_of(tmp_path / "f")
    other = ExtractionConfig(face="whole_frame", window_seconds=1.0)
    # 15 for three parts, then the tables.
    full_disk(monkeypatch, after=after)
    with pytest.raises(InputError, match=r"can not write to .*: No space left on device"):
        run(videos, embedder, prompts, tmp_path / "f", config=other)
    monkeypatch.undo()
    left = [path for path in (tmp_path / "f").rglob("*") if "unfinished" in path.name]
    assert left == []
    if after < 19:
        assert bytes_of(tmp_path / "f") == before
    else:
        # Old and new tables may stand side by side: without features.json nobody reads them.
        assert not (tmp_path / "f" / "features.json").exists()
    run(videos, embedder, prompts, tmp_path / "f", config=other)
    run(videos, embedder, prompts, tmp_path / "fresh", config=other)
    assert bytes_of(tmp_path / "f") == bytes_of(tmp_path / "fresh")


@pytest.mark.parametrize("n_replaced", range(4))
def test_old_and_new_tables_are_never_read_together(
    videos, embedder, prompts, tmp_path, monkeypatch, n_replaced
):
    run(videos, embedder, prompts, tmp_path / "f")
    other = ExtractionConfig(face="whole_frame", window_seconds=1.0)
    real, done = os.replace, []

    def replace(source, target):
        if len(done) == n_replaced:
            raise KeyboardInterrupt
        done.append(target)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        run(videos, embedder, prompts, tmp_path / "f", config=other)
    with pytest.raises(InputError, match=r"features\.json"):
        read_feature_files(tmp_path / "f", columns=[])
    with pytest.raises(InputError, match=r"features\.json"):
        open_pooled_folder(tmp_path / "f")


KILLED = textwrap.dedent(
    """
    import importlib.util, os, signal, sys
    from emoclip_clinical.features import extract as module
    from emoclip_clinical.features.config import ExtractionConfig
    from emoclip_clinical.records import PromptSet

    helpers, videos, output, moment = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("helpers", helpers)
    fakes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fakes)
    left = int(moment)

    real = os.fsync
    def fsync(handle):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)
    os.fsync = fsync

    prompts = PromptSet(
        name="two",
        classes={"smile": ("a smile", "a grin"), "frown": ("a frown",), "rest": ("a face",)},
        compounds={"smile_frown": ("smile", "frown"), "smile_rest": ("smile", "rest")},
    )
    module.extract(
        [videos], embedder=fakes.FakeEmbedder(), prompt_sets=[prompts],
        config=ExtractionConfig(face="whole_frame", batch_frames=7), output=module.Path(output),
    )
    """
)


@pytest.mark.parametrize("moment", [1, 8, 12, 20])
def test_killed_at_any_moment_and_started_again(videos, embedder, prompts, tmp_path, moment):
    run(videos, embedder, prompts, tmp_path / "whole")
    helpers = str(Path(__file__).with_name("conftest.py"))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, helpers, str(videos), str(tmp_path / "f"), str(moment)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    finished = [p for p in (tmp_path / "f" / "parts").iterdir() if not p.name.startswith(".")]
    result = run(videos, embedder, prompts, tmp_path / "f")
    assert result.n_kept == len(finished)
    assert bytes_of(tmp_path / "f") == bytes_of(tmp_path / "whole")
    assert not list((tmp_path / "f" / "parts").glob(".*"))
    assert not list((tmp_path / "f").glob(".*.unfinished"))


def test_real_faces(assets, embedder, prompts, tmp_path):
    table = tmp_path / "interviews.csv"
    chosen = {
        "01": "cremad_1001_DFA_HAP_XX.flv",
        "02": "pyfeat_no_face.mp4",
        "03": "pyfeat_face_noface.mov",
        "04": "videoretalking_face2.mp4",
        "05": "carphone_pristine.mp4",
    }
    rows = [f"{assets / 'videos' / file},{name}" for name, file in chosen.items()]
    table.write_text("\n".join(["path,participant_id", *rows]) + "\n")
    result = run(table, embedder, prompts, tmp_path / "f", config=ExtractionConfig())
    assert result.n_failed == result.n_partial == 0
    segments = pd.read_parquet(tmp_path / "f" / "segments.parquet")
    by_person = segments.groupby("participant_id")
    scores = segments.filter(regex="^(emotion|cosine)_").notna().all(axis=1)
    for person in ("sub-01", "sub-04", "sub-05"):
        assert scores[by_person.groups[person]].all()
    assert set(by_person.get_group("sub-02")["status"]) == {"no_face"}
    coverage = by_person.get_group("sub-03")["face_coverage"]
    assert 0 < coverage.mean() < 1
    interviews = pd.read_parquet(tmp_path / "f" / "interviews.parquet")
    assert interviews["n_faces"].tolist() == [1, 0, 1, 1, 1]
