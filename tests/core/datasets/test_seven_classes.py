"""DFEW, FERV39K, AFEW and the peers' lists: seven classes, numbered in two ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from emoclip_clinical.core.datasets import ClipSource, available_folds, load_clips
from emoclip_clinical.core.datasets.conventions import LABEL_ORDERS

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


@pytest.fixture
def dfew(
    tmp_path: Path, write_rows: Callable[..., Path], frame_folder: Callable[..., Path]
) -> Path:
    for i in range(1, 15):
        frame_folder(tmp_path / "DFEW_Frame_Face" / f"{i:05d}")
    labels = tmp_path / "EmoLabel_DataSplit"
    for k in (1, 2):
        for part, first in (("train(single-labeled)", 1), ("test(single-labeled)", 8)):
            rows = [(first + i, i + 1) for i in range(7)]
            write_rows(
                labels / part / f"set_{k}.csv", [("video_name", "label"), *rows], separator=","
            )
    return tmp_path


@pytest.fixture
def ferv39k(
    tmp_path: Path, write_rows: Callable[..., Path], frame_folder: Callable[..., Path]
) -> Path:
    names = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    for split, number in (("train", 15), ("test", 29)):
        rows = [(f"Action/{n}/{number:04d}", n) for n in names]
        for place, _ in rows:
            frame_folder(tmp_path / "2_ClipsforFaceCrop" / place)
        write_rows(
            tmp_path / "4_setups/All_scenes" / f"{split}_All.csv", rows, separator=" ",
            last_newline=False,
        )  # fmt: skip
    return tmp_path


def test_dfew_counts_from_one(dfew: Path) -> None:
    source = ClipSource(layout="dfew", fold=2)
    assert available_folds(source, folder=dfew) == (1, 2)
    found = load_clips(source, folder=dfew)
    assert found.classes == SEVEN
    train = [c for c in found.clips if c.split == "train"]
    assert [(c.path.name, c.label) for c in train] == [
        (f"{i + 1:05d}", label) for i, label in enumerate(SEVEN)
    ]
    assert found.histogram["test"] == dict.fromkeys(SEVEN, 1)
    first = load_clips(source, folder=dfew, fold=1)
    assert first.warnings == ("test has 7 clips, 2,341 expected",)


def test_dfew_faults(
    dfew: Path, write_rows: Callable[..., Path], faults_of: Callable[..., tuple[str, ...]]
) -> None:
    labels = dfew / "EmoLabel_DataSplit"
    rows = [("video_name", "label"), *((i + 1, i) for i in range(7))]
    write_rows(labels / "train(single-labeled)/set_1.csv", rows, separator=",")
    rows = [("video_name", "label"), (8, 9), (9, "Sad"), (10, "2.5"), (99, 1), (8, 1), (11, "--5")]
    write_rows(labels / "test(single-labeled)/set_1.csv", rows, separator=",")
    faults = faults_of(dfew, layout="dfew", fold=1)
    for expected in (
        "the labels of set_1.csv of train run from 0 to 6, wanted 1 to 7: it seems to count from 0",
        "label must be an integer from 1 to 7, got '0' (row 2 of set_1.csv of train)",
        "got '9' (row 2 of set_1.csv of test)",
        "got 'Sad' (row 3 of set_1.csv of test)",
        "got '--5' (row 7 of set_1.csv of test)",
        "got '2.5' (row 4 of set_1.csv of test)",
        "DFEW_Frame_Face/00099 (row 5 of set_1.csv of test)",
    ):
        assert any(expected in fault for fault in faults), expected
    assert len(faults) == 7


def test_a_clip_in_both_splits_is_refused(
    dfew: Path, write_rows: Callable[..., Path], faults_of: Callable[..., tuple[str, ...]]
) -> None:
    rows = [("video_name", "label"), ("00003", 3), (9, 2)]
    write_rows(dfew / "EmoLabel_DataSplit/test(single-labeled)/set_1.csv", rows, separator=",")
    (fault,) = faults_of(dfew, layout="dfew", fold=1)
    assert (
        "00003 stands twice (row 4 of set_1.csv of train and row 2 of set_1.csv of test)" in fault
    )
    (dfew / "EmoLabel_DataSplit/test(single-labeled)/set_2.csv").unlink()
    (fault,) = faults_of(dfew, layout="dfew", fold=2)
    assert "one file test*/set_2.csv is wanted" in fault


def test_ferv39k_names_its_classes_twice(
    ferv39k: Path, faults_of: Callable[..., tuple[str, ...]]
) -> None:
    found = load_clips(ClipSource(layout="ferv39k"), folder=ferv39k)
    assert [c.label for c in found.clips if c.split == "test"] == list(SEVEN)
    assert found.clips[0].path == ferv39k / "2_ClipsforFaceCrop/Action/Happy/0015"
    assert "test has 7 clips, 7,847 expected" in found.warnings
    path = ferv39k / "4_setups/All_scenes/train_All.csv"
    text = path.read_text()
    path.write_text(
        text.replace("Sad/0015 Sad", "Sad/0015 Fear")
        .replace("Neutral/0015 Neutral", "Neutral/0015,Neutral")
        .replace("Disgust/0015 Disgust", "Disgust/0015 Rage")
        .replace("Action/Surprise/0015", "0015")
    )
    faults = faults_of(ferv39k, layout="ferv39k")
    for expected in (
        "the label is 'Fear' and the clip lies in 'Sad' (row 2 of train_All.csv)",
        "cells must be parted by spaces, got commas: 'Action/Neutral/0015,Neutral' (row 3",
        "got 'Rage' (row 6 of train_All.csv)",
        "Scene/Emotion/ID is wanted, got '0015' (row 5 of train_All.csv)",
    ):
        assert any(expected in fault for fault in faults), expected
    assert len(faults) == 4


def test_afew_s_folders_are_its_labels(
    tmp_path: Path, frame_folder: Callable[..., Path], faults_of: Callable[..., tuple[str, ...]]
) -> None:
    for split in ("train", "validation"):
        for emotion in ("Angry", "Happy", "Neutral"):
            for clip in ("000046280", "0_2_001343200"):
                frame_folder(tmp_path / "AFEW_Face" / split / emotion / clip)
    found = load_clips(ClipSource(layout="afew"), folder=tmp_path)
    assert found.histogram == {
        "train": {"happiness": 2, "neutral": 2, "anger": 2},
        "test": {"happiness": 2, "neutral": 2, "anger": 2},
    }
    assert "test has 6 clips, about 380 expected" in found.warnings
    assert any("no clip of class sadness, surprise, disgust, fear" in w for w in found.warnings)
    (tmp_path / "AFEW_Face/train/Happy/000137.avi").touch()
    found = load_clips(ClipSource(layout="afew"), folder=tmp_path)
    assert found.histogram["train"]["happiness"] == 3
    frame_folder(tmp_path / "AFEW_Face/train/Bored/1")
    (tmp_path / "AFEW_Face/train/Happy/empty").mkdir()
    faults = faults_of(tmp_path, layout="afew")
    assert "got 'Bored' (AFEW_Face/train/Bored)" in faults[0]
    assert "the folder of frames holds no picture" in faults[1]
    assert len(faults) == 2


def _list_rows(foreign: str, names: tuple[str, ...], n: int = 2) -> list[tuple[str, int, int]]:
    return [(f"{foreign}/{name}", n, i) for i, name in enumerate(names)]


@pytest.fixture
def lists(
    tmp_path: Path, write_rows: Callable[..., Path], frame_folder: Callable[..., Path]
) -> Path:
    """Lists as DFER-CLIP has them for DFEW, with paths of another machine."""
    for k in (1, 2):
        for split, first in (("train", 1), ("test", 8)):
            names = tuple(f"DFEW_Frame_Face/{first + i:05d}" for i in range(7))
            for name in names:
                frame_folder(tmp_path / "DFEW" / name)
            write_rows(
                tmp_path / f"annotation/DFEW_set_{k}_{split}.txt",
                _list_rows("/somebody/else s disc/datasets/DFEW", names),
                separator=" ",
                last_newline=split == "train",
            )
    return tmp_path


LIST = {
    "layout": "list",
    "annotations": "annotation/DFEW_set_{fold}_{split}.txt",
    "label_order": "seven",
}


@pytest.mark.parametrize("media", ["DFEW", "DFEW/DFEW_Frame_Face", "."])
def test_foreign_paths_are_resolved_by_their_trailing_part(lists: Path, media: str) -> None:
    source = ClipSource(**LIST, media=media)
    assert available_folds(source, folder=lists) == (1, 2)
    found = load_clips(source, folder=lists, fold=2)
    assert found.warnings == ()
    assert [c.path for c in found.clips] == [
        lists / "DFEW/DFEW_Frame_Face" / f"{i:05d}" for i in range(1, 15)
    ]
    assert [c.label for c in found.clips] == [*SEVEN, *SEVEN]
    assert [c.split for c in found.clips] == ["train"] * 7 + ["test"] * 7


def test_annotations_may_stand_anywhere(
    lists: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("else [1]")
    (lists / "annotation").rename(elsewhere / "annotation")
    settings = {**LIST, "annotations": str(elsewhere / LIST["annotations"]), "media": "DFEW"}
    source = ClipSource(**settings, fold=1)
    assert available_folds(source, folder=lists) == (1, 2)
    assert len(load_clips(source, folder=lists).clips) == 14


def test_another_order_gives_other_classes(
    lists: Path, write_rows: Callable[..., Path], frame_folder: Callable[..., Path]
) -> None:
    names = tuple(f"data/faces/{i:05d}" for i in range(11))
    for name in names:
        frame_folder(lists / name, n=3)
    rows = _list_rows("/data/EECS/MAFW", names)
    write_rows(lists / "mafw.txt", rows, separator=" ")
    for order in ("mafw_emoclip", "mafw_dfer_clip"):
        source = ClipSource(layout="list", annotations="mafw.txt", label_order=order, split="test")
        found = load_clips(source, folder=lists)
        assert tuple(c.label for c in found.clips) == LABEL_ORDERS[order]
        assert found.warnings == ("11 folders hold another number of frames than mafw.txt says",)
    own = tuple(f"class {i}" for i in range(11))
    source = ClipSource(layout="list", annotations="mafw.txt", label_order=own)
    assert tuple(c.label for c in load_clips(source, folder=lists).clips) == own


def test_list_faults_are_listed_at_once(
    lists: Path, write_rows: Callable[..., Path], faults_of: Callable[..., tuple[str, ...]]
) -> None:
    foreign = "/somebody/datasets/DFEW/DFEW_Frame_Face"
    shifted = [(f"{foreign}/{i + 1:05d}", 2, i + 1) for i in range(7)]
    write_rows(lists / "annotation/DFEW_set_1_train.txt", shifted, separator=" ")
    bad = [
        (f"{foreign}/00008", 2, -1),
        (f"{foreign}/00009", "two", 0),
        (f"{foreign}/00099", 2, 0),
        (f"{foreign}/00010", 2, 3),
        (f"{foreign}/00010", 2, 3),
    ]
    path = write_rows(lists / "annotation/DFEW_set_1_test.txt", bad, separator=" ")
    path.write_text(path.read_text() + f"{foreign}/00011 2\n{foreign}/00012,2,0\n")
    faults = faults_of(lists, **LIST, media="DFEW", fold=1)
    for expected in (
        "the labels of DFEW_set_1_train.txt run from 1 to 7, wanted 0 to 6: it seems to count "
        "from 1, not from 0",
        "label must be an integer from 0 to 6, got '7' (row 7 of DFEW_set_1_train.txt)",
        "label must be an integer from 0 to 6, got '-1' (row 1 of DFEW_set_1_test.txt)",
        "the number of frames must be an integer, got 'two' (row 2 of DFEW_set_1_test.txt)",
        "DFEW_Frame_Face/00099 (row 3 of DFEW_set_1_test.txt)",
        "00010 stands twice (row 4 of DFEW_set_1_test.txt and row 5 of DFEW_set_1_test.txt)",
        "3 cells parted by tabs or spaces are wanted (clip folder, number of frames, label), got "
        "2 (row 6 of DFEW_set_1_test.txt)",
        "cells must be parted by tabs or spaces, got commas",
    ):
        assert any(expected in fault for fault in faults), expected


def test_a_class_folder_in_a_list_contradicts_a_wrong_order(
    ferv39k: Path, write_rows: Callable[..., Path], faults_of: Callable[..., tuple[str, ...]]
) -> None:
    names = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    foreign = "/data/EECS-IoannisLab/datasets/FERV39K/2_ClipsforFaceCrop/Action"
    rows = _list_rows(foreign, tuple(f"{n}/0015" for n in names))
    write_rows(ferv39k / "FERV39K_test.txt", rows, separator=" ")
    settings = {"layout": "list", "annotations": "FERV39K_{split}.txt"}
    write_rows(ferv39k / "FERV39K_train.txt", [], separator=" ")
    alone = {**settings, "annotations": "FERV39K_test.txt", "split": "test"}
    found = load_clips(ClipSource(**alone, label_order="seven"), folder=ferv39k)
    assert [c.label for c in found.clips] == list(SEVEN)
    wrong = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
    faults = faults_of(ferv39k, **alone, label_order=wrong)
    assert faults[0] == (
        "label 0 is 'anger' in the order of label_order, and the clip lies in 'Happy' "
        "(row 1 of FERV39K_test.txt)"
    )
    assert len(faults) == 7
    assert faults_of(ferv39k, **settings, label_order="seven") == (
        "FERV39K_train.txt: the file is empty",
    )
