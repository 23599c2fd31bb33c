"""Pictures at a time, in whatever order they are asked for, equal those of a plain reading."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from emoclip_clinical.features.opening import UnreadableVideoError
from emoclip_clinical.features.pictures import PictureReader


def every_picture(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


@pytest.mark.parametrize("first_milliseconds", [0, 1400])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_the_picture_on_screen_is_given(tmp_path, make_video, lively, first_milliseconds, ending):
    steps = np.random.default_rng(0).choice([40, 80, 130], size=150)
    times = [first_milliseconds, *(first_milliseconds + np.cumsum(steps)).tolist()]
    images = lively(len(times), seed=1)
    path = make_video(tmp_path / f"v.{ending}", images=images, milliseconds=times)
    shown = every_picture(path)
    assert shown[0][0] == pytest.approx(first_milliseconds / 1000, abs=0.002)
    rng = np.random.default_rng(2)
    end = shown[-1][0]
    rising = np.arange(0, end + 1, 0.37)
    with PictureReader(path) as reader:
        for seconds in (*rising, *rng.uniform(-1, end + 1, size=25), shown[40][0], shown[3][0]):
            wanted = [image for time, image in shown if time <= seconds] or [shown[0][1]]
            np.testing.assert_array_equal(reader.at(seconds).image, wanted[-1])


def test_what_is_no_video_is_refused(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_text("no video")
    with pytest.raises(UnreadableVideoError, match="the file holds text"):
        PictureReader(path)


def test_a_damaged_video_gives_what_is_left(tmp_path, make_video, lively):
    images = lively(100, seed=3)
    path = make_video(tmp_path / "v.mkv", images=images, milliseconds=list(range(0, 4000, 40)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    path.write_bytes(content)
    with PictureReader(path) as reader:
        for seconds in (3.9, 2.0, 0.5):
            assert reader.at(seconds).seconds <= seconds
