"""MAFW in its own layout and in folds, and each fault that such files have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from emoclip_clinical.core.datasets import ClipSource, available_folds, load_clips
from emoclip_clinical.core.datasets.conventions import LABEL_ORDERS
from emoclip_clinical.records import InputError

# Made up, in the form of MAFW's captions.
ROWS = [
    ("00001.mp4", "anger", "男人在说话。眉头紧皱。", "A man speaks. The brows are lowered."),
    ("00002.mp4", "happiness", "女人在笑。嘴角上扬。", "A woman laughs. The lip corners rise."),
    ("00003.mp4", "anxiety", "-", "-"),
    ("00004.mp4", "sadness", "孩子在哭。嘴唇颤抖。", "A child cries, alone. The chin trembles."),
]


@pytest.fixture
def official(
    tmp_path: Path, write_rows: Callable[..., Path], frame_folder: Callable[..., Path]
) -> Path:
    for row in ROWS:
        frame_folder(tmp_path / "data" / "faces" / row[0].removesuffix(".mp4"))
    write_rows(tmp_path / "single_label.txt", ROWS)
    return tmp_path


@pytest.fixture
def with_folds(
    tmp_path: Path, write_rows: Callable[..., Path], frame_folder: Callable[..., Path]
) -> Path:
    for row in ROWS:
        frame_folder(tmp_path / "data" / "faces" / row[0].removesuffix(".mp4"))
    sets = tmp_path / "Train_Test_Set"
    for k in range(1, 6):
        rows = ROWS[k % 2 :] + ROWS[: k % 2]
        captioned = [row for row in rows if row[2] != "-"]
        folder = sets / "single"
        write_rows(folder / f"with_caption_new/set_{k}/train.txt", captioned[:2])
        write_rows(folder / f"with_caption_new/set_{k}/test.txt", captioned[2:])
        plain = [row[:2] for row in rows]
        write_rows(folder / f"no_caption_new/set_{k}/train.txt", plain[:3])
        write_rows(folder / f"no_caption_new/set_{k}/test.txt", plain[3:], last_newline=False)
    return tmp_path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk"])
def test_official_labels_are_read_in_their_encodings(
    official: Path, write_rows: Callable[..., Path], encoding: str
) -> None:
    write_rows(official / "single_label.txt", ROWS, encoding=encoding)
    source = ClipSource(
        layout="mafw_official", media="data/faces", encoding="gbk" if encoding == "gbk" else None
    )
    found = load_clips(source, folder=official)
    assert [c.label for c in found.clips] == ["anger", "happiness", "anxiety", "sadness"]
    assert [c.caption for c in found.clips] == ["" if r[3] == "-" else r[3] for r in ROWS]
    assert found.clips[3].path == official / "data" / "faces" / "00004"
    assert found.clips[3].where == "row 4 of single_label.txt"
    assert found.classes == LABEL_ORDERS["mafw_emoclip"]
    assert found.histogram == {"": {"anger": 1, "happiness": 1, "sadness": 1, "anxiety": 1}}
    assert found.folds == ()


def test_clips_without_a_caption_are_left_out_where_captions_are_wanted(official: Path) -> None:
    source = ClipSource(layout="mafw_official", media="data/faces", captions=True, split="test")
    found = load_clips(source, folder=official)
    assert [c.caption for c in found.clips] == [r[3] for r in ROWS if r[3] != "-"]
    assert {c.split for c in found.clips} == {"test"}
    assert "1 clips of single_label.txt have no caption ('-') and are left out" in found.warnings


def test_compounds_have_one_spelling(official: Path, write_rows: Callable[..., Path]) -> None:
    rows = [(*ROWS[0][:1], "sadness_fear_anxiety"), (*ROWS[1][:1], "fear_sadness")]
    write_rows(official / "multi_label.txt", rows)
    source = ClipSource(layout="mafw_official", media="data/faces", kind="multiple")
    found = load_clips(source, folder=official)
    assert [c.label for c in found.clips] == ["fear_sadness_anxiety", "fear_sadness"]
    assert dict(found.histogram[""]) == {"fear_sadness": 1, "fear_sadness_anxiety": 1}
    assert "fear" in found.classes
    assert "fear_sadness" not in found.classes


def test_videos_are_found_as_well_as_frames(
    official: Path, write_rows: Callable[..., Path]
) -> None:
    (official / "data" / "clips").mkdir()
    for row in ROWS:
        (official / "data" / "clips" / row[0]).touch()
    found = load_clips(ClipSource(layout="mafw_official"), folder=official)
    assert found.clips[0].path == official / "data" / "clips" / "00001.mp4"


def test_folds_are_read_with_and_without_captions(with_folds: Path) -> None:
    source = ClipSource(layout="mafw_folds", root=".", captions=True)
    assert available_folds(source, folder=with_folds) == (1, 2, 3, 4, 5)
    found = load_clips(source, folder=with_folds, fold=2)
    assert [(c.split, c.label) for c in found.clips] == [
        ("train", "anger"), ("train", "happiness"), ("test", "sadness"),
    ]  # fmt: skip
    assert found.clips[0].caption == ROWS[0][3]
    assert found.fold == 2
    plain = load_clips(ClipSource(layout="mafw_folds", fold=2), folder=with_folds)
    assert [c.caption for c in plain.clips] == [""] * 4
    assert plain.histogram["test"] == {"sadness": 1}


def test_the_published_size_is_compared(with_folds: Path) -> None:
    first = load_clips(ClipSource(layout="mafw_folds", fold=1), folder=with_folds)
    assert "test has 1 clips, 1,839 expected" in first.warnings
    source = ClipSource(layout="mafw_folds", fold=3, expected_clips={"train": 3, "test": 7})
    third = load_clips(source, folder=with_folds)
    assert [w for w in third.warnings if "expected" in w] == ["test has 1 clips, 7 expected"]


def test_a_peer_s_copies_are_parted_by_spaces(
    with_folds: Path, write_rows: Callable[..., Path]
) -> None:
    folder = with_folds / "Train_Test_Set/single/with_caption_new/set_1"
    write_rows(folder / "train.txt", ROWS[:2], separator=" ")
    write_rows(folder / "test.txt", ROWS[3:], separator=" ", last_newline=False)
    found = load_clips(ClipSource(layout="mafw_folds", fold=1, captions=True), folder=with_folds)
    assert [c.caption for c in found.clips] == [ROWS[0][3], ROWS[1][3], ROWS[3][3]]


def test_a_space_in_a_chinese_caption_is_not_taken_for_the_english_one(
    with_folds: Path, write_rows: Callable[..., Path], faults_of: Callable[..., tuple[str, ...]]
) -> None:
    folder = with_folds / "Train_Test_Set/single/with_caption_new/set_1"
    row = ("00003.mp4", "anger", "男人在说话。 眉头紧皱。", "A man speaks and looks away.")
    write_rows(folder / "train.txt", [row], separator=" ")
    (fault,) = faults_of(with_folds, layout="mafw_folds", fold=1, captions=True)
    assert "an English caption is wanted in the last cell, got '眉头紧皱。 A man speaks" in fault


def test_a_fold_that_is_not_there(
    with_folds: Path, faults_of: Callable[..., tuple[str, ...]]
) -> None:
    for settings, message in (
        ({"layout": "mafw_folds", "fold": 6}, "fold 6 of layout mafw_folds is not in"),
        ({"layout": "mafw_folds"}, "needs a fold; there are: 1, 2, 3, 4, 5"),
        ({"layout": "mafw_folds", "fold": 1, "kind": "multiple"}, "there are: none"),
        ({"layout": "mafw_official", "fold": 1}, "layout mafw_official has no folds here"),
    ):
        (fault,) = faults_of(with_folds, **settings)
        assert message in fault


def test_every_fault_is_listed_at_once(
    with_folds: Path, faults_of: Callable[..., tuple[str, ...]]
) -> None:
    folder = with_folds / "Train_Test_Set/single/with_caption_new/set_1"
    rows = [
        "00001.mp4\tanger\t男\tA man.",
        "00002.mp4,happiness,女,A woman.",
        "00003.mp4\tanxiety\t女",
        "00004.mp4\tsadness\t孩\t",
        "00009.mp4\tsadness\t孩\tA child.",
        "00002.mp4\trage\t女\tA woman.",
        "00002.mp4\tfear_sadness\t女\tA woman.",
        "00001.mp4\tanger\t男\tA man.",
    ]
    content = "\n".join(rows).encode() + "\n00003.mp4\tanxiety\t女人\tA woman.".encode("gbk")
    (folder / "train.txt").write_bytes(content)
    (folder / "test.txt").unlink()
    faults = faults_of(with_folds, layout="mafw_folds", fold=1, captions=True)
    for expected in (
        "is not UTF-8 (row 9 of train.txt); the file may be GBK: set encoding: gbk",
        "cells must be parted by tabs or spaces, got commas: '00002.mp4,happiness,女,A woman.' "
        "(row 2 of train.txt)",
        "2 or 4 cells parted by tabs or spaces are wanted (clip, emotion[, Chinese caption, "
        "English caption]), got 3 (row 3 of train.txt)",
        "caption is empty (row 4 of train.txt)",
        "got 'rage' (row 6 of train.txt)",
        "a single class is wanted, got 'fear_sadness' (row 7 of train.txt)",
        "00001 stands twice (row 1 of train.txt and row 8 of train.txt)",
        "no such clip or folder of frames: ",
        "00009.mp4 (row 5 of train.txt)",
        "no such file of labels: ",
    ):
        assert any(expected in fault for fault in faults), expected
    assert len(faults) == 9


def test_encodings_that_are_not_the_file_s(official: Path) -> None:
    for encoding, message in (
        ("gbk", "single_label.txt is UTF-8, got encoding: gbk; leave encoding out"),
        ("klingon", "encoding 'klingon' is unknown"),
    ):
        source = ClipSource(layout="mafw_official", media="data/faces", encoding=encoding)
        with pytest.raises(InputError, match=message):
            load_clips(source, folder=official)
    path = official / "single_label.txt"
    path.write_bytes(path.read_text(encoding="utf-8").encode("gbk") + b"\xff\xff")
    source = ClipSource(layout="mafw_official", media="data/faces", encoding="gbk")
    with pytest.raises(InputError, match=r"byte 0xff is not gbk \(row 5 of single_label.txt\)"):
        load_clips(source, folder=official)


def test_missing_media_may_be_left_out(official: Path) -> None:
    (official / "data/faces/00002").rename(official / "elsewhere")
    for picture in (official / "data/faces/00003").iterdir():
        picture.unlink()
    source = ClipSource(layout="mafw_official", media="data/faces", missing_media="leave_out")
    found = load_clips(source, folder=official)
    assert [c.label for c in found.clips] == ["anger", "sadness"]
    assert "2 of 4 clips left out: no media of them" in found.warnings
    with pytest.raises(InputError, match="the folder of frames holds no picture"):
        load_clips(ClipSource(layout="mafw_official", media="data/faces"), folder=official)
