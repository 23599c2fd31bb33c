"""One recording must not stand for two participants of a study."""

from __future__ import annotations

import json
from pathlib import Path

from emoclip_clinical.features.same_recordings import same_recordings
from emoclip_clinical.records import InputError


def check_recordings(features: Path) -> tuple[str, ...]:
    """Refuse features in which two participants have one recording.

    Parameters
    ----------
    features : Path
        A folder that `extract` made; other tables name no recordings.

    Returns
    -------
    tuple of str
        A warning for each participant who has one recording twice.

    Raises
    ------
    InputError
        Naming every such pair of interviews: one of them could be learned from while the other
        is predicted.
    """
    try:
        described = json.loads((features / "features.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    inputs = described.get("inputs") if isinstance(described, dict) else None
    if not isinstance(inputs, list):
        return ()
    twice = same_recordings(entry for entry in inputs if isinstance(entry, dict))
    if twice.of_two:
        raise InputError(f"{pair}: give each its own, and extract again" for pair in twice.of_two)
    return twice.of_one
