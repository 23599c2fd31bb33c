"""Look-alikes of the data sets: their layouts to the letter, their clips a few grey pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image

from emoclip_clinical.core.datasets import ClipSource, load_clips
from emoclip_clinical.records import InputError


@pytest.fixture(scope="session")
def frame_folder() -> Callable[..., Path]:
    """Return a function that makes a folder of `n` pictures."""

    def make(path: Path, n: int = 2) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        for i in range(n):
            Image.new("L", (4, 4), 10 * i).save(path / f"{i + 1:05d}.png")
        return path

    return make


@pytest.fixture(scope="session")
def faults_of() -> Callable[..., tuple[str, ...]]:
    """Return a function that gives the faults for which a source is refused."""

    def faults(folder: Path, **settings: object) -> tuple[str, ...]:
        with pytest.raises(InputError) as caught:
            load_clips(ClipSource(**settings), folder=folder)
        return caught.value.faults

    return faults


@pytest.fixture(scope="session")
def write_rows() -> Callable[..., Path]:
    """Return a function that writes rows of cells as a text file."""

    def write(
        path: Path,
        rows: Iterable[Iterable[object]],
        *,
        separator: str = "\t",
        encoding: str = "utf-8",
        last_newline: bool = True,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(separator.join(map(str, row)) for row in rows)
        path.write_bytes((text + ("\n" if last_newline else "")).encode(encoding))
        return path

    return write
