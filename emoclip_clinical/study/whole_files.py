"""Writing a file whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from emoclip_clinical.records import InputError


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8; a reader never sees half of it.

    Raises
    ------
    InputError
        If the file can not be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(text.encode())
        part.replace(path)
    except OSError as error:
        raise InputError(f"can not write {path}: {error.strerror}") from None


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Write a record as JSON that people can read; see `write_text`."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")
