"""Results that kept to their lock, which no look around may replace unasked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from emoclip_clinical.records import InputError
from emoclip_clinical.study.standing import EXPLORATORY, OF_A_LOCK, Standing


def refuse_to_lose(results: Iterable[tuple[Path, Standing]]) -> None:
    """Refuse exploratory results where there are some that kept to their lock.

    Once an exploratory look is in the history, the earlier result can not be had again.

    Parameters
    ----------
    results : iterable of (Path, Standing)
        The provenance that each result would write, and where the result would stand.

    Raises
    ------
    InputError
        Naming every result that would be lost.
    """
    faults = [
        f"{file.parent} holds a result that keeps to its lock, and would now be "
        f"{new.statement}: write elsewhere (--output FOLDER, or --set data.results=FOLDER), "
        "or have regress --overwrite replace it for good"
        for file, new in results
        if new.kind == EXPLORATORY and _kept(file)
    ]
    if faults:
        raise InputError(faults)


def _kept(file: Path) -> bool:
    try:
        kind = json.loads(file.read_text(encoding="utf-8"))["standing"]["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return kind in OF_A_LOCK
