"""Thresholds one by one, head motion by hand, and the cohort's table against slow loops."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.features.faces import Face
from emoclip_clinical.features.quality import (
    SegmentQuality,
    head_motion,
    recording_quality,
    segment_quality,
)
from emoclip_clinical.features.quality_config import QualityConfig
from emoclip_clinical.features.quality_table import cohort_quality
from emoclip_clinical.features.segments import FrameRecord, Window
from emoclip_clinical.records import InputError


def window(*, height=50.0, sharpness=40.0, brightness=120.0, step=0.0):
    """Five frames, a fifth of a second apart; the face moves `step` pixels to the right each."""
    records = tuple(
        FrameRecord(
            slot,
            slot / 5,
            face=Face(step * slot, 10.0, 40.0, height, 0.9),
            vector=np.ones(2, np.float32),
            sharpness=sharpness,
            brightness=brightness,
        )
        for slot in range(5)
    )
    return Window(0, 0.0, 1.0, 0, 5, records)


def judged(made, **levels):
    return segment_quality(
        made, faces_wanted=True, thresholds=QualityConfig(**levels), source_share=1.0
    )


@pytest.mark.parametrize(
    ("made", "setting", "word"),
    [
        ({"height": 31.0}, {"minimum_face_height_pixels": 32}, "small_face"),
        ({"sharpness": 9.5}, {"minimum_sharpness": 10}, "blurred"),
        ({"brightness": 29.0}, {"minimum_brightness": 30}, "dark"),
        ({"brightness": 231.0}, {"maximum_brightness": 230}, "glaring"),
        ({"step": 11.0}, {"maximum_head_motion": 1}, "head_motion"),
    ],
)
def test_each_threshold_alone(made, setting, word):
    assert judged(window(**made)).status == "ok"
    failing = judged(window(**made), **setting)
    assert failing.status == "low_coverage"
    assert failing.reason.startswith(f"{word}: ")
    assert f"{next(iter(setting.values()))} wanted" in failing.reason
    assert failing.movement is None
    assert judged(window(), **setting).status == "ok"


def test_what_is_exactly_at_a_threshold_passes():
    assert judged(window(height=32.0), minimum_face_height_pixels=32).status == "ok"
    assert judged(window(brightness=230.0), maximum_brightness=230).status == "ok"


@pytest.mark.parametrize(("n_seen", "n", "level"), [(7, 25, 0.28), (7, 50, 0.14), (14, 25, 0.56)])
def test_coverage_exactly_at_its_threshold_passes(n_seen, n, level):
    """0.28 * 25 is a little more than 7 in binary."""
    assert level * n > n_seen
    records = tuple(
        FrameRecord(k, k / 5, vector=np.ones(2, np.float32) if k < n_seen else None)
        for k in range(n)
    )
    made = judged(Window(0, 0.0, n / 5, 0, n, records), minimum_coverage=level)
    assert (made.face_coverage, made.status) == (level, "ok")


def test_all_faults_of_a_segment_are_named():
    made = judged(
        window(height=31.0, sharpness=1.0),
        minimum_face_height_pixels=32,
        minimum_sharpness=10,
        minimum_brightness=30,
    )
    assert made.reason == (
        "small_face: 31, at least 32 wanted (face height, pixels); "
        "blurred: 1, at least 10 wanted (sharpness)"
    )


def test_no_face_is_looked_for_no_face_is_too_small():
    whole = Window(
        0, 0.0, 1.0, 0, 5,
        tuple(
            FrameRecord(i, i / 5, vector=np.ones(2, np.float32), sharpness=5.0, brightness=9.0)
            for i in range(5)
        ),
    )  # fmt: skip
    levels = QualityConfig(minimum_face_height_pixels=500, maximum_head_motion=0.01)
    made = segment_quality(whole, faces_wanted=False, thresholds=levels, source_share=1.0)
    assert (made.status, made.head_motion, made.FaceRectHeight) == ("ok", None, None)


def test_head_motion_by_hand():
    def record(slot, left, top, height, shot=0):
        return FrameRecord(slot, slot * 0.2, face=Face(left, top, 40.0, height, 0.9), shot=shot)

    # A way of 5 pixels (3 and 4) in 0.2 s, faces 50 pixels high; then a still face that grows
    # from its middle; then a gap; then a cut to a box beside the last; then 2 pixels.
    records = (
        record(0, 0, 0, 50),
        record(1, 3, 4, 50),
        record(2, 3, -1, 60),
        FrameRecord(3, 0.6),
        record(4, 3, -1, 60),
        record(5, 23, 0, 50, shot=1),
        record(6, 25, 0, 50, shot=1),
    )
    assert head_motion(records) == pytest.approx((5 / 50 / 0.2 + 0 + 2 / 50 / 0.2) / 3)
    assert head_motion(records[:1]) is None
    # Twice as near to the camera everything is twice as big, and the motion the same.
    near = tuple(
        FrameRecord(r.slot, r.seconds, face=Face(*(2 * v for v in (r.face.left, r.face.top,
                                                                   40.0, r.face.height)), 0.9),
                    shot=r.shot)
        for r in records if r.face is not None
    )  # fmt: skip
    assert head_motion(near) == pytest.approx(head_motion(records))


def test_recording_quality_is_the_median_over_what_was_measured():
    def quality(height, sharpness, status):
        return SegmentQuality(
            5, 1.0, 0.0, 0.0, 1.0, height, 0.9, sharpness, 100.0, 0.1, None, status, ""
        )

    made = recording_quality(
        [quality(50.0, 3.0, "ok"), quality(None, None, "no_face"), quality(70.0, 9.0, "ok"),
         quality(90.0, 4.0, "low_coverage")]
    )  # fmt: skip
    assert (made.FaceRectHeight, made.sharpness, made.brightness) == (70.0, 4.0, 100.0)
    assert set(vars(recording_quality([])).values()) == {None}


@pytest.fixture
def features(tmp_path):
    """Write three interviews: a good one, a poor one, one that could not be read."""
    rng = np.random.default_rng(4)
    n = 40
    coverage = rng.choice([0.0, 0.15, 0.3, 0.5, 0.8, 1.0], size=n)
    coverage[:20] = 1.0
    seen = coverage > 0
    segments = pd.DataFrame(
        {
            "interview": ["sub-good"] * 20 + ["sub-poor"] * 20,
            "face_coverage": coverage,
            "FaceRectHeight": np.where(seen, rng.uniform(20, 120, n), np.nan),
            "sharpness": np.where(seen, rng.uniform(2, 200, n), np.nan),
            "brightness": np.where(seen, rng.uniform(0, 255, n), np.nan),
            "head_motion": np.where(seen, rng.uniform(0, 1.5, n), np.nan),
        }
    )
    segments["status"] = np.select(
        [coverage == 0, coverage < 0.4], ["no_face", "low_coverage"], "ok"
    )
    segments.to_parquet(tmp_path / "segments.parquet")
    n_ok = [int((segments["status"][rows] == "ok").sum()) for rows in (slice(0, 20), slice(20, n))]
    interviews = pd.DataFrame(
        {
            "participant_id": ["sub-good", "sub-lost", "sub-poor"],
            "session_id": "",
            "interview": ["sub-good", "sub-lost", "sub-poor"],
            "status": ["ok", "failed", "ok"],
            "reason": ["", "not a video", ""],
            "seconds": [102.4, np.nan, 102.4],
            "n_segments": [20, 0, 20],
            "n_ok": [n_ok[0], 0, n_ok[1]],
            "face_coverage": [1.0, np.nan, coverage[20:].mean()],
        }
    )
    measures = ("FaceRectHeight", "FaceScore", "sharpness", "brightness", "head_motion")
    for name in (*measures, "n_faces", "tracked_share", "patient_confidence"):
        interviews[name] = [1.0, np.nan, 2.0]
    interviews.to_parquet(tmp_path / "interviews.parquet")
    described = {"quality": QualityConfig().model_dump(mode="json")}
    (tmp_path / "features.json").write_text(json.dumps(described))
    return tmp_path


def test_the_cohorts_table_by_slow_loops(features):
    found = cohort_quality(features, config=QualityConfig())
    segments = pd.read_parquet(features / "segments.parquet")
    rows = segments.to_dict("records")
    assert found.n_segments == 40
    assert found.warnings == ()
    for status, count in found.statuses.items():
        assert count == sum(row["status"] == status for row in rows)
    for k, count in enumerate(found.segment_coverage):
        expected = sum(min(int(row["face_coverage"] * 10 + 1e-9), 9) == k for row in rows)
        assert count == expected
    assert sum(found.interview_coverage) == 2
    assert found.interviews["interview"].tolist() == ["sub-lost", "sub-poor", "sub-good"]
    poor = found.interviews.iloc[1]
    assert poor["ok_share"] == pytest.approx(sum(row["status"] == "ok" for row in rows[20:]) / 20)
    for status in ("low_coverage", "no_face", "decode_error"):
        assert poor[f"n_{status}"] == sum(row["status"] == status for row in rows[20:])
    assert found.interviews.iloc[0]["ok_share"] == 0


def test_thresholds_are_weighed_by_slow_loops(features):
    config = QualityConfig(minimum_face_height_pixels=50, maximum_head_motion=1.0)
    found = cohort_quality(features, config=config)
    rows = pd.read_parquet(features / "segments.parquet").to_dict("records")
    settings = {effect.threshold.setting for effect in found.effects}
    assert settings == set(QualityConfig.model_fields)
    for effect in found.effects:
        failing = [
            row
            for row in rows
            if not math.isnan(value := row[effect.threshold.column])
            and (value < effect.level if effect.threshold.is_minimum else value > effect.level)
        ]
        assert effect.n_failing == len(failing)
        assert effect.n_failing_ok == sum(row["status"] == "ok" for row in failing)
    chosen = {(e.threshold.setting, e.level) for e in found.effects if e.is_set}
    assert chosen == {
        ("minimum_coverage", 0.4),
        ("minimum_face_height_pixels", 50),
        ("maximum_head_motion", 1.0),
    }
    (warning,) = found.warnings
    assert "minimum_face_height_pixels None (now 50.0)" in warning
    assert "minimum_coverage" not in warning


@pytest.mark.parametrize("name", ["segments.parquet", "interviews.parquet"])
def test_damaged_pages_are_told(features, name):
    content = bytearray((features / name).read_bytes())
    content[4:400] = bytes(396)
    (features / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is not a readable Parquet file"):
        cohort_quality(features, config=QualityConfig())


def test_everything_that_is_missing_is_listed(features):
    (features / "features.json").write_text("{")
    (features / "interviews.parquet").write_bytes(b"no table")
    segments = pd.read_parquet(features / "segments.parquet")
    segments.drop(columns=["head_motion", "status"]).to_parquet(features / "segments.parquet")
    with pytest.raises(InputError) as caught:
        cohort_quality(features, config=QualityConfig())
    assert len(caught.value.faults) == 3
    text = str(caught.value)
    for part in ("status, head_motion", "interviews.parquet is not", "features.json is not"):
        assert part in text
    with pytest.raises(InputError) as caught:
        cohort_quality(features / "absent", config=QualityConfig())
    assert len(caught.value.faults) == 3
