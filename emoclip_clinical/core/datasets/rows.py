"""Reading the headerless text files of data sets: bytes to rows, every fault with its row."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emoclip_clinical.records import InputError
from emoclip_clinical.tables import limit_faults

_SURROGATE = re.compile(r"[\udc80-\udcff]")
_NAMES = {"\t": "tabs", " ": "spaces", ",": "commas", ";": "semicolons"}


@dataclass(frozen=True)
class Row:
    """One row of a text file.

    Attributes
    ----------
    cells : tuple of str
        Stripped.
    where : str
        ``row <n> of <file>``.
    """

    cells: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class RowForm:
    """What a row must look like.

    Attributes
    ----------
    separators : tuple of str
        Any of these parts the cells; the first that a row holds is its own.
    widths : tuple of int
        Numbers of cells that are right.
    wanted : str
        The row's form in words, for messages.
    split : callable, optional
        From (row, separator) to cells; ``str.split`` by default.
    never_in_first : str
        Characters that the first cell can not hold: a row in which it does is parted otherwise.
    """

    separators: tuple[str, ...]
    widths: tuple[int, ...]
    wanted: str
    split: Callable[[str, str], list[str]] = str.split
    never_in_first: str = ",;"


def read_rows(
    path: Path, form: RowForm, *, encoding: str | None = None
) -> tuple[list[Row], list[str]]:
    """Read a text file without a header.

    A byte order mark, empty lines and a last line without a newline are accepted.

    Parameters
    ----------
    path : Path
        The file.
    form : RowForm
        What its rows must look like.
    encoding : str, optional
        UTF-8 by default.

    Returns
    -------
    rows : list of Row
        Rows of the right form.
    faults : list of str
        For rows of another form: bytes that are not of the encoding, another separator, another
        number of cells.

    Raises
    ------
    InputError
        If the file is not there or empty, or has another encoding as a whole.
    """
    if not path.is_file():
        raise InputError(f"no such file of labels: {path}")
    rows: list[Row] = []
    undecoded: list[str] = []
    misshapen: list[str] = []
    for number, line in enumerate(_decoded(path, encoding).split("\n"), start=1):
        where = f"row {number} of {path.name}"
        if not line.strip():
            continue
        if found := _SURROGATE.search(line):
            undecoded.append(
                f"byte 0x{ord(found.group()) - 0xDC00:02x} is not UTF-8 ({where}); the file may be "
                "GBK: set encoding: gbk"
            )
            continue
        cells, fault = _cells(line, form)
        if fault:
            misshapen.append(f"{fault} ({where})")
        else:
            rows.append(Row(cells, where))
    return rows, [*limit_faults(undecoded), *limit_faults(misshapen)]


def _decoded(path: Path, encoding: str | None) -> str:
    content = path.read_bytes()
    if not content.strip():
        raise InputError(f"{path.name}: the file is empty")
    if encoding is None or encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig"):
        # Bytes that are not UTF-8 become surrogates, so that their rows can be named.
        return content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="surrogateescape")
    _check_encoding(encoding)
    if not content.isascii() and _is_utf8(content):
        # UTF-8 read as GBK gives other Chinese characters and no error.
        raise InputError(f"{path.name} is UTF-8, got encoding: {encoding}; leave encoding out")
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"byte 0x{content[error.start]:02x} is not {encoding} (row {row} of {path.name})"
        ) from None


def _check_encoding(encoding: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise InputError(f"encoding {encoding!r} is unknown") from None


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _cells(line: str, form: RowForm) -> tuple[tuple[str, ...], str]:
    separator = next((s for s in form.separators if s in line.strip()), None)
    if separator is not None:
        cells = tuple(cell.strip() for cell in form.split(line.strip("\r"), separator))
        if len(cells) in form.widths and not set(cells[0]) & set(form.never_in_first):
            return cells, ""
    wanted = " or ".join(_NAMES[s] for s in form.separators)
    for other in ("\t", ";", ","):
        if other not in form.separators and len(line.split(other)) in form.widths:
            return (), f"cells must be parted by {wanted}, got {_NAMES[other]}: {line.strip()!r}"
    n_cells = 1 if separator is None else len(form.split(line.strip("\r"), separator))
    widths = " or ".join(map(str, form.widths))
    return (), f"{widths} cells parted by {wanted} are wanted ({form.wanted}), got {n_cells}"
