"""CREMA-D and RAVDESS by file name, and any clips by a manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from emoclip_clinical.core.datasets import ClipSource, load_clips
from emoclip_clinical.core.datasets.conventions import LABEL_ORDERS


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_crema_d(tmp_path: Path, faults_of: Callable[..., tuple[str, ...]]) -> None:
    codes = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    _touch(tmp_path, *(f"VideoFlash/10{i:02d}_DFA_{c}_XX.flv" for i, c in enumerate(codes)))
    _touch(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav", "VideoFlash/._1001_DFA_ANG_XX.flv")
    found = load_clips(ClipSource(layout="crema_d", split="test"), folder=tmp_path)
    assert [c.label for c in found.clips] == list(LABEL_ORDERS["crema_d"])
    assert found.clips[3].group == "crema_d-1003"
    assert {c.split for c in found.clips} == {"test"}
    _touch(tmp_path, "VideoFlash/1001_DFA_JOY_XX.flv", "VideoFlash/holiday.mp4")
    faults = faults_of(tmp_path, layout="crema_d")
    assert [f.rsplit(" ", 1)[1] for f in faults] == ["'1001_DFA_JOY_XX.flv'", "'holiday.mp4'"]
    assert faults_of(tmp_path, layout="crema_d", media="AudioWAV")[0].startswith("no video in")


def test_the_real_clips_of_crema_d(assets: Path, tmp_path: Path) -> None:
    for path in (assets / "videos").glob("cremad_*.flv"):
        (tmp_path / path.name.removeprefix("cremad_")).symlink_to(path)
    found = load_clips(ClipSource(layout="crema_d"), folder=tmp_path)
    assert found.histogram == {"": dict.fromkeys(LABEL_ORDERS["crema_d"], 1)}
    assert {c.group for c in found.clips} == {"crema_d-1001"}


def test_ravdess(tmp_path: Path, faults_of: Callable[..., tuple[str, ...]]) -> None:
    names = [f"Actor_12/01-01-0{e}-01-01-02-12.mp4" for e in range(1, 9)]
    _touch(
        tmp_path, *names, "Actor_12/02-01-03-01-01-02-12.mp4", "Actor_01/02-01-05-01-01-01-01.mp4"
    )
    found = load_clips(ClipSource(layout="ravdess"), folder=tmp_path)
    assert [c.label for c in found.clips] == [*LABEL_ORDERS["ravdess"], "anger"]
    assert [c.group for c in found.clips] == ["ravdess-12"] * 8 + ["ravdess-01"]
    assert found.warnings == ("1 clips left out: the same recordings are there with sound",)
    _touch(tmp_path, "Actor_02/01-01-09-01-01-02-02.mp4", "Actor_02/01-01-01-01-01-02-03.mp4")
    faults = faults_of(tmp_path, layout="ravdess")
    assert "emotion from 01 to 08" in faults[1]
    assert faults[0] == "01-01-01-01-01-02-03.mp4 is of actor 03 and lies in Actor_02"


def test_a_manifest_is_a_data_set_too(
    tmp_path: Path, frame_folder: Callable[..., Path], faults_of: Callable[..., tuple[str, ...]]
) -> None:
    _touch(tmp_path, "a.mp4", "b.gif")
    frame_folder(tmp_path / "c")
    manifest = tmp_path / "clips.csv"
    manifest.write_text(
        "path,caption,label,group,split\n"
        "a.mp4,A man. The brows rise.,surprise,p1,train\n"
        "b.gif,A man. The brows fall.,fear_sadness,p2,test\n"
        "c,A man. Nothing moves.,neutral,p3,test\n"
    )
    source = ClipSource(layout="manifest", folder_fps=30)
    found = load_clips(source, folder=tmp_path)
    assert found.classes == ("fear", "neutral", "sadness", "surprise")
    assert found.histogram == {"train": {"surprise": 1}, "test": {"neutral": 1, "fear_sadness": 1}}
    assert found.clips[2].folder_fps == 30
    manifest.write_text(manifest.read_text().replace("p3", "p1") + "d,,neutral,,test\n")
    (fault,) = faults_of(tmp_path, layout="manifest")
    assert fault == "caption is empty (row 5 of clips.csv)"
    manifest.write_text(manifest.read_text().replace("d,,", "d,A hand,"))
    order = ("fear", "neutral", "sadness")
    faults = faults_of(tmp_path, layout="manifest", label_order=order)
    assert "got 'surprise' (row 2 of clips.csv)" in faults[0]
    assert "group 'p1' stands in splits test, train" in faults[1]
    assert f"no such clip or folder of frames: {tmp_path / 'd'}" in faults[2]
    assert len(faults) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "list"}, "layout list needs `annotations` .* and `label_order`"),
        ({"layout": "dfew", "captions": True}, "layout dfew has no captions"),
        ({"layout": "dfew", "label_order": "alphabet"}, "label_order must be one of mafw_emoclip"),
        ({"layout": "dfew", "label_order": ("a", "a")}, "two or more classes once each"),
        ({"layout": "afew", "kind": "multiple"}, "kind: multiple is of MAFW's layouts"),
        ({"layout": "afew", "split": "test"}, "layout afew has splits of its own"),
        ({"layout": "affectnet"}, "layout"),
        ({"layout": "dfew", "folds": 1}, "folds"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClipSource(**settings)


def test_a_root_that_is_not_there(
    tmp_path: Path, faults_of: Callable[..., tuple[str, ...]]
) -> None:
    assert faults_of(tmp_path, layout="dfew", root="gone") == (
        f"no such data set folder: {tmp_path / 'gone'}",
    )
