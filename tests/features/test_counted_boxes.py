"""Tables that count pictures from the first: each picture gets the box that was found in it."""

from __future__ import annotations

import av
import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.counted_boxes import on_the_videos_clock
from emoclip_clinical.features.extract import extract
from emoclip_clinical.features.opening import UnreadableVideoError
from emoclip_clinical.features.precomputed import read_face_table

N = 60


def openface(path, *, fps=25.0, numbered=True):
    """Write what OpenFace does: picture k from 1, its time as if the first one were at 0."""
    table = pd.DataFrame({"frame": range(1, N + 1), "timestamp": np.round(np.arange(N) / fps, 3)})
    table["confidence"] = 0.98
    points = {f"x_{k}": np.arange(N) + k for k in range(68)} | {
        f"y_{k}": np.full(N, 10.0 + k) for k in range(68)
    }
    table = pd.concat([table, pd.DataFrame(points)], axis=1)
    table.drop(columns=[] if numbered else ["frame"]).to_csv(path, index=False)


def pyfeat(path):
    names = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]
    table = pd.DataFrame({"frame": range(N), **dict.fromkeys(names, 20.0)})
    table.assign(FaceRectX=np.arange(N)).to_csv(path, index=False)


def shown(path):
    """Return the times of the pictures, in order, by PyAV."""
    with av.open(str(path)) as container:
        return [f.time for f in container.decode(video=0)]


def read(folder, video, *, fps=25.0):
    table = read_face_table(folder / "sub-01.csv", minimum_score=0.5, frames_per_second=fps)
    return on_the_videos_clock(table, video, stall_seconds=30.0)


@pytest.fixture
def make(make_video, lively, tmp_path):
    def write(name, *, milliseconds, flat=False):
        (picture,) = lively(1, seed=1, height=120, width=160)
        picture = np.full_like(picture, 90) if flat else picture
        return make_video(tmp_path / name, images=[picture] * N, milliseconds=milliseconds)

    return write


@pytest.mark.parametrize("tool", ["OpenFace", "OpenFace without numbers", "py-feat"])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_each_picture_has_its_own_box(make, tmp_path, tool, name):
    path = make(name, milliseconds=[3000 + 40 * k for k in range(N)])
    if tool == "py-feat":
        pyfeat(tmp_path / "sub-01.csv")
    else:
        openface(tmp_path / "sub-01.csv", numbered=tool == "OpenFace")
    table = read(tmp_path, path)
    times = shown(path)
    assert times[0] > 1.0
    assert [table.at(time)[0].left for time in times] == list(range(N))
    assert table.at(times[0] - 1.0) == ()


def test_our_own_form_has_the_videos_clock_already(make, tmp_path):
    path = make("a.mkv", milliseconds=[3000 + 40 * k for k in range(N)])
    (tmp_path / "sub-01.csv").write_text("seconds,left,top,width,height\n3.0,1,2,30,40\n")
    assert read(tmp_path, path).at(3.0)[0].left == 1


def test_a_rate_that_varies_is_refused(make, tmp_path):
    # The camera slowed down after 40 pictures: 40 x 40 ms, then 20 x 60 ms.
    path = make(
        "a.mkv", milliseconds=[40 * k if k < 40 else 1600 + 60 * (k - 40) for k in range(N)]
    )
    openface(tmp_path / "sub-01.csv", fps=N / 2.8)
    with pytest.raises(UnreadableVideoError, match=r"up to 0\.3 s off the video's own times"):
        read(tmp_path, path)


def test_a_rate_that_is_not_the_videos_is_refused(make, tmp_path):
    path = make("a.mp4", milliseconds=[40 * k for k in range(N)])
    pyfeat(tmp_path / "sub-01.csv")
    with pytest.raises(UnreadableVideoError, match=r"up to 0\.4 s off"):
        read(tmp_path, path, fps=30.0)
    # Rounding a rate is no fault in a video of this length.
    read(tmp_path, path, fps=25.01)


def test_extraction_follows_them_and_names_what_it_refuses(make, embedder, prompts, tmp_path):
    # Boxes that wander over a picture of something would show one face turn into another.
    make("sub-01.mkv", milliseconds=[3000 + 40 * k for k in range(N)], flat=True)
    make("sub-02.mkv", milliseconds=[40 * k + (k > 30) * 900 for k in range(N)])
    (tmp_path / "boxes").mkdir()
    for name in ("sub-01", "sub-02"):
        openface(tmp_path / "boxes" / f"{name}.csv")
    config = ExtractionConfig(face="precomputed", boxes_folder=str(tmp_path / "boxes"))
    extract(
        [tmp_path / "sub-01.mkv", tmp_path / "sub-02.mkv"],
        embedder=embedder,
        config=config,
        prompt_sets=[prompts],
        output=tmp_path / "f",
    )
    interviews = pd.read_parquet(tmp_path / "f" / "interviews.parquet").set_index("interview")
    assert interviews["status"].tolist() == ["ok", "failed"]
    assert interviews["face_coverage"]["sub-01"] == 1.0
    assert interviews["reason"]["sub-02"].startswith("its table of boxes counts pictures")
    segments = pd.read_parquet(tmp_path / "f" / "segments.parquet")
    assert segments["onset"].tolist() == [3.0]
    # Boxes of pictures 0, 5, ... 45.
    assert segments["FaceRectX"].tolist() == pytest.approx([22.5])
