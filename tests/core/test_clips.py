"""The manifest: what is read, and every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoclip_clinical.core.clips import read_clips
from emoclip_clinical.records import InputError


def _write(folder: Path, text: str) -> Path:
    (folder / "clips").mkdir(exist_ok=True)
    for name in ("a", "b", "c"):
        (folder / "clips" / f"{name}.mp4").touch()
    path = folder / "clips.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_paths_relative_to_the_manifest(tmp_path: Path) -> None:
    manifest = _write(
        tmp_path,
        "\ufeffpath;caption;group;split\n"
        "clips/a.mp4;A man. The brows rise, the jaw drops.;001;train\n"
        "clips/b.mp4;A woman.;002;TEST\n",
    )
    first, second = read_clips(manifest)
    assert first.path == tmp_path / "clips" / "a.mp4"
    assert first.caption == "A man. The brows rise, the jaw drops."
    assert (first.group, first.split, first.label) == ("001", "train", "")
    assert second.split == "test"


def test_lists_every_fault(tmp_path: Path) -> None:
    manifest = _write(
        tmp_path,
        "path,caption,group,split\n"
        "clips/a.mp4,A man,p1,train\n"
        "clips/b.mp4,A man,p1,test\n"
        "clips/a.mp4,A man,p2,dev\n"
        "clips/gone.mp4,A man,p3,train\n",
    )
    with pytest.raises(InputError) as caught:
        read_clips(manifest)
    text = str(caught.value)
    for expected in (
        "no such clip",
        "row 5 of clips.csv",
        "split must be one of train, validation, test or empty, got 'dev'",
        "stands twice (row 2 of clips.csv and row 4 of clips.csv)",
        "group 'p1' stands in splits test, train",
    ):
        assert expected in text


def test_an_empty_caption_is_refused(tmp_path: Path) -> None:
    manifest = _write(tmp_path, "path,caption\nclips/a.mp4,\nclips/b.mp4,A man\n")
    with pytest.raises(InputError, match=r"caption is empty \(row 2 of clips.csv\)"):
        read_clips(manifest)
