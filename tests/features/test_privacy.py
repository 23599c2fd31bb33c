"""No name of a file or folder, and nothing of a container's metadata, reaches outputs or logs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

from emoclip_clinical.core.checkpoint import save_checkpoint
from emoclip_clinical.core.model import build_model

PLANTED = ("zqfilename", "zqfolder", "zqtitle", "zqauthor", "zqtrack", "zqhome")


@pytest.fixture
def study(tmp_path, lively, make_video, small_model):
    home = tmp_path / "zqhome"
    videos = home / "interviews" / "zqfolder"
    videos.mkdir(parents=True)

    def named(stream):
        stream.metadata["title"] = "zqtrack"

    times = [40 * i for i in range(80)]
    pictures = lively(80, seed=1)
    for name in ("sub-01_zqfilename.mp4", "sub-02_zqfilename.mkv", "sub-03_zqfilename.mp4"):
        make_video(videos / name, images=pictures, milliseconds=times, prepare=named)
        _with_metadata(videos / name)
    cut = videos / "sub-03_zqfilename.mp4"
    cut.write_bytes(cut.read_bytes()[:20_000])
    noisy = bytearray((videos / "sub-02_zqfilename.mkv").read_bytes())
    noisy[30_000:32_000] = bytes(2000)
    (videos / "sub-02_zqfilename.mkv").write_bytes(noisy)
    (videos / "sub-04_zqfilename.avi").write_text("zqtitle\n" * 100)
    built = build_model(small_model, seed=0)
    save_checkpoint(home / "models" / "small", built=built, config=small_model, card={})
    (home / "protocol.yaml").write_text("extraction: {face: whole_frame, prompts: [basic_seven]}\n")
    return home


def _with_metadata(path: Path) -> None:
    copy = path.with_name(f"copy{path.suffix}")
    with av.open(str(path)) as source, av.open(str(copy), "w") as target:
        target.metadata.update({"title": "zqtitle", "artist": "zqauthor"})
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    copy.replace(path)
    with av.open(str(path)) as written:
        assert "zqtitle" in written.metadata.values()


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--json", "--workers", "2"]])
def test_planted_names_stay_out(study, options):
    done = subprocess.run(
        [sys.executable, "-m", "emoclip_clinical", "extract", "interviews", *options],
        cwd=study,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "sub-03" in done.stdout + done.stderr
    seen = {"stdout": done.stdout, "stderr": done.stderr}
    for path in (study / "features").rglob("*"):
        seen[path.name] = str(path.relative_to(study))
        if path.is_file():
            seen[f"in {path.name}"] = path.read_bytes().decode("latin-1")
    for place, text in seen.items():
        for word in PLANTED:
            assert word not in text, f"{word} stands in {place}"
    assert "in interviews.parquet" in seen
    # Parquet may compress text: its tables are read, too.
    import pandas as pd

    for table in (study / "features").rglob("*.parquet"):
        content = pd.read_parquet(table).to_csv()
        assert not [word for word in PLANTED if word in content]
