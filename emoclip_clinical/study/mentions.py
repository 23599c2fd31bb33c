"""Whether a file names a participant: in its own name, its bytes, or what is packed in them."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from emoclip_clinical.features.interviews import VIDEO_ENDINGS
from emoclip_clinical.records import InputError, participant_label
from emoclip_clinical.tables import read_table

TABLE_ENDINGS = frozenset({".csv", ".tsv"})
PERSON_COLUMNS = frozenset({"participant_id", "group"})
_ZIPPED = frozenset({".npz", ".xlsx", ".zip"})
_CHUNK_BYTES = 2**22
_LONGEST_TOKEN_BYTES = 512
_TOKEN = re.compile(rb"sub-[A-Za-z0-9][A-Za-z0-9.+-]*")
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}$")


@dataclass(frozen=True)
class Person:
    """A participant, and how text that names them is told from text that names others.

    Attributes
    ----------
    participant_id : str
        ``sub-<label>``.
    """

    participant_id: str

    @classmethod
    def of(cls, text: str) -> Person:
        """Return the person of an identifier, with or without ``sub-``."""
        return cls(participant_label(text))

    def is_cell(self, cell: str) -> bool:
        """Say whether a cell of a column of people is this person."""
        label = self.participant_id.removeprefix("sub-")
        return cell.strip().strip('"').removeprefix("sub-").removeprefix("SUB-") == label

    def is_named_in(self, text: str) -> bool:
        """Say whether text holds the identifier as a whole word, as ``sub-a`` not in ``sub-ab``."""
        return self.is_in_bytes(text.encode("utf-8", "replace"))

    def is_in_bytes(self, content: bytes) -> bool:
        """Say the same of bytes."""
        if self.participant_id.encode() not in content:
            return False
        return any(self._is(token.group().decode()) for token in _TOKEN.finditer(content))

    def _is(self, token: str) -> bool:
        # A full stop or a file's ending may follow the identifier.
        forms = (token, token.rstrip(".+-"), _ENDING.sub("", token))
        return self.participant_id in forms


def names_person(path: Path, person: Person, *, below: Path) -> bool:
    """Say whether a file names a person.

    Parameters
    ----------
    path : Path
        Of videos and links the name alone is looked at.
    person : Person
    below : Path
        The part of the path above this folder is not looked at.
    """
    if any(person.is_named_in(part) for part in path.relative_to(below).parts):
        return True
    if path.suffix.lower() in VIDEO_ENDINGS or path.is_symlink():
        return False
    if path.suffix.lower() in TABLE_ENDINGS and any(
        t for t, _, _ in _rows(path.read_bytes(), person)
    ):
        return True
    if path.suffix.lower() == ".xlsx" and _is_in_excel(path, person):
        return True
    return any(person.is_in_bytes(content) for content in _contents(path))


def without_rows(content: bytes, person: Person) -> tuple[bytes, int]:
    """Return a text table without the rows of a person, every other byte kept, and their number."""
    kept, n = [], 0
    for is_theirs, raw, _ in _rows(content, person):
        n += is_theirs
        if not is_theirs:
            kept.append(raw)
    return b"".join(kept), n


def paths_in_rows(content: bytes, person: Person) -> tuple[str, ...]:
    """Return what stands in the column `path` of a person's rows of a text table."""
    return tuple(path for is_theirs, _, path in _rows(content, person) if is_theirs and path)


def _rows(content: bytes, person: Person) -> Iterator[tuple[bool, bytes, str]]:
    """Yield of each row whether it is a person's, its bytes, and its `path` where it has one."""
    # Latin-1 gives every byte a character and back, whatever the encoding; identifiers are ASCII.
    lines = content.decode("latin-1").splitlines(keepends=True)
    if not lines:
        return
    separator = max(",;\t", key=lines[0].count)
    reader = csv.reader(iter(lines), delimiter=separator)
    columns: list[int] = []
    at_path = -1
    start = 0
    for number, cells in enumerate(reader):
        raw = "".join(lines[start : reader.line_num])
        start = reader.line_num
        if number == 0:
            names = [c.encode("latin-1").decode("utf-8-sig", "replace").strip() for c in cells]
            columns = [i for i, name in enumerate(names) if name.casefold() in PERSON_COLUMNS]
            at_path = names.index("path") if "path" in names else -1
            yield False, raw.encode("latin-1"), ""
            continue
        theirs = any(i < len(cells) and person.is_cell(cells[i]) for i in columns)
        theirs = theirs or any(person.is_named_in(cell) for cell in cells)
        path = cells[at_path] if 0 <= at_path < len(cells) else ""
        yield theirs, raw.encode("latin-1"), path.encode("latin-1").decode("utf-8", "replace")


def _is_in_excel(path: Path, person: Person) -> bool:
    """Say whether a row is the person's; there an identifier may stand without ``sub-``."""
    try:
        frame = read_table(path).frame
    except InputError:
        return False
    return "participant_id" in frame and any(map(person.is_cell, frame["participant_id"].map(str)))


def _contents(path: Path) -> Iterator[bytes]:
    """Yield what a file holds in pieces, unpacked; pieces overlap by the length of a name."""
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix.lower() in _ZIPPED and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            for name in packed.namelist():
                yield packed.read(name)
                if name.endswith(".npy"):
                    yield _array_text(packed.read(name))
    else:
        with path.open("rb") as file:
            before = b""
            while chunk := file.read(_CHUNK_BYTES):
                yield before + chunk
                before = chunk[-_LONGEST_TOKEN_BYTES:]


def _array_text(content: bytes) -> bytes:
    """Return the text of an array, whose characters are wider than a byte; empty for numbers."""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except ValueError:
        return b""
    return "\n".join(map(str, array.ravel())).encode() if array.dtype.kind == "U" else b""


def _parquet(path: Path) -> Iterator[bytes]:
    file = pq.ParquetFile(path)
    for key, value in (file.schema_arrow.metadata or {}).items():
        yield key + b" " + value
    texts = [f.name for f in file.schema_arrow if str(f.type) in ("string", "large_string")]
    for batch in file.iter_batches(columns=texts):
        buffer = io.StringIO()
        for column in batch.columns:
            buffer.write("\n".join(str(v) for v in column.unique().to_pylist()) + "\n")
        yield buffer.getvalue().encode()
