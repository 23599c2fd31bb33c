"""Where predictions may be written: never over a file that is not an earlier prediction."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.estimator_files import NOTICE

_COLUMNS = frozenset({"participant_id", "session_id", "predicted", "low", "high", "in_training"})


def require_free(written: Path, *, inputs: Sequence[Path]) -> None:
    """Refuse to write predictions over anything but earlier predictions.

    Parameters
    ----------
    written : Path
        The table; a JSON file of the same name is written beside it.
    inputs : sequence of Path
        Files and folders that are read, and never written over.

    Raises
    ------
    InputError
        Naming every file that would be lost.
    """
    beside = written.with_suffix(".json")
    if beside == written:
        raise InputError(
            f"--output must name a CSV file, got {written.name}; a JSON file is written beside it"
        )
    faults = []
    for path in (written, beside):
        if path.is_dir():
            faults.append(f"--output must name a CSV file; {path} is a folder")
        elif any(_is_part(path, given) for given in inputs):
            faults.append(f"{path} is read as an input and would be overwritten; name another file")
    if not faults:
        faults = [
            f"{path} would be overwritten, and is no earlier prediction; name another file with "
            "--output, or move it away"
            for path, ours in ((written, _is_table(written)), (beside, _is_record(beside)))
            if path.exists() and not ours
        ]
    if faults:
        raise InputError(faults)


def _is_part(path: Path, given: Path) -> bool:
    whole, of = path.resolve(), given.resolve()
    return whole == of or (given.is_dir() and whole.is_relative_to(of))


def _is_table(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return set(next(csv.reader(file), [])) >= _COLUMNS
    except (OSError, ValueError, csv.Error):
        return False


def _is_record(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("notice") == NOTICE and "predictions" in found
