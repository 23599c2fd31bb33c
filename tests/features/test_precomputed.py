"""Boxes that other tools found: three forms, and every fault."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.features.precomputed import read_face_table
from emoclip_clinical.records import InputError


def written(tmp_path, text):
    path = tmp_path / "sub-01.csv"
    path.write_text(text)
    return path


def test_our_own_form(tmp_path):
    path = written(
        tmp_path,
        "seconds,left,top,width,height,score\n0,1,2,30,40,0.9\n0,100,2,30,40,0.95\n"
        "0.2,3,2,30,40,0.4\n0.4,,,,,\n",
    )
    table = read_face_table(path, minimum_score=0.5)
    assert [face.left for face in table.at(0.0)] == [100, 1]
    assert [face.left for face in table.at(0.09)] == [100, 1]
    # Too weak at 0.2, no box at 0.4, no row near 0.6.
    assert table.at(0.2) == table.at(0.4) == table.at(0.6) == ()
    assert table.tolerance_seconds == pytest.approx(0.1)


def test_openface(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(100, 150, size=(3, 68)), rng.uniform(80, 140, size=(3, 68))
    frame = pd.DataFrame(
        {
            "frame": [1, 2, 3],
            "face_id": [0, 0, 0],
            "timestamp": [0.0, 0.033, 0.067],
            "confidence": [0.98, 0.97, 0.0],
            "success": [1, 1, 0],
            "AU01_r": [0.1, 0.2, 0.3],
        }
    )
    points = {f"{axis}_{k}": v[:, k] for axis, v in (("x", x), ("y", y)) for k in range(68)}
    frame = pd.concat([frame, pd.DataFrame(points)], axis=1)
    # OpenFace puts a blank before each name.
    path = tmp_path / "sub-01.csv"
    frame.rename(columns=lambda name: f" {name}").to_csv(path, index=False)
    table = read_face_table(path, minimum_score=0.5)
    (face,) = table.at(0.033)
    assert (face.left, face.left + face.width) == pytest.approx((x[1].min(), x[1].max()))
    tall = y[1].max() - y[1].min()
    assert (face.top, face.height) == pytest.approx((y[1].min() - tall / 3, tall * 4 / 3))
    assert face.score == 0.97
    assert table.at(0.067) == ()


def test_pyfeat(tmp_path):
    text = (
        "frame;FaceRectX;FaceRectY;FaceRectWidth;FaceRectHeight;FaceScore\n"
        "0;10;20;30;40;0.99\n25;12;20;30;40;0.98\n"
    )
    table = read_face_table(written(tmp_path, text), minimum_score=0.5, frames_per_second=25.0)
    assert table.at(1.0)[0].left == 12
    with pytest.raises(InputError, match="boxes_fps"):
        read_face_table(written(tmp_path, text), minimum_score=0.5)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a,b\n1,2\n", "wanted the columns seconds"),
        ("", "not a table"),
        ("seconds,left,top,width,height\n0,x,2,30,40\n1,1,y,30,40\n", "'y' (row 3)"),
        ("seconds,left,top,width,height\n0,1,2,0,40\n", "above 0, got 0 and 40 (row 2)"),
        ("seconds,left,top,width,height\n,1,2,3,40\n", "a time is missing (row 2)"),
    ],
)
def test_faults_name_rows_and_never_the_file(tmp_path, text, wanted):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_face_table(path, minimum_score=0.5)
    assert wanted in str(caught.value)
    assert "sub-01" not in str(caught.value)


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "sub-01.csv"
    path.write_bytes(b"seconds,left,top,width,height\n0,1,2,3,\xff4\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_face_table(path, minimum_score=0.5)


def test_an_empty_table_has_no_face(tmp_path):
    table = read_face_table(written(tmp_path, "seconds,left,top,width,height\n"), minimum_score=0.5)
    assert table.at(0.0) == ()
