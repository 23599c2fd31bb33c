"""What the exclusions that a protocol names take away from its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from emoclip_clinical.features.repooling import EMBEDDINGS, SEGMENTS, open_pooled_folder
from emoclip_clinical.records import InputError
from emoclip_clinical.study.exclusions import (
    EXCLUSIONS_FILE,
    Exclusion,
    SegmentPlaces,
    covered_segments,
    read_exclusions,
    segment_places,
)
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import tree_sha256

EXCLUDED = "excluded"
"""Status of an interview of which nothing is left."""


@dataclass(frozen=True)
class LeftOut:
    """Segments that do not count.

    Attributes
    ----------
    segments : mapping of str to frozenset of int
        Numbers of segments, by interview.
    warnings : tuple of str
        How many, for the reader of a result.
    """

    segments: Mapping[str, frozenset[int]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def left_out_segments(study: Study, features: Path) -> LeftOut:
    """Return the segments that the protocol's exclusions leave out.

    Parameters
    ----------
    study : Study
    features : Path
        What the analysis reads.

    Raises
    ------
    InputError
        If the file that the protocol names is missing or has faults, or the features are a table,
        of which no segment can be taken away.
    """
    named = study.protocol.data.exclusions
    if named is None:
        return LeftOut(warnings=_not_named(study))
    path = study.path(named)
    if not path.is_file():
        raise InputError(f"data.exclusions: no such file: {named}")
    if not (features / SEGMENTS).is_file():
        raise InputError(
            "data.exclusions leaves out segments of the folder that extract writes, with its "
            f"{SEGMENTS}; these features have none: set data.exclusions to null for them"
        )
    places = segment_places(features)
    exclusions = read_exclusions(path, places=places, encoding=study.protocol.data.encoding)
    covered = covered_segments(exclusions, places=places)
    return LeftOut(covered, tuple(_told(exclusions, covered, places)))


def exclusion_faults(study: Study) -> list[str]:
    """Return every fault of the exclusions that the protocol names, where features are there."""
    features = study.path(study.protocol.data.features)
    if study.protocol.data.exclusions is None or not (features / SEGMENTS).is_file():
        return []
    try:
        left_out_segments(study, features)
    except InputError as error:
        return list(error.faults)
    return []


def exclusion_hashes(study: Study, features: Path) -> dict[str, str | None]:
    """Return the hashes of the exclusions and of what they are taken from; empty without any."""
    named = study.protocol.data.exclusions
    if named is None:
        return {}
    return {
        "exclusions": tree_sha256(study.path(named)),
        "segments": tree_sha256(features / SEGMENTS),
        "embeddings": tree_sha256(features / EMBEDDINGS),
    }


def without_segments(
    interviews: pd.DataFrame, features: Path, left_out: Mapping[str, frozenset[int]]
) -> pd.DataFrame:
    """Pool the interviews that lose segments anew, with the settings that extract had.

    Parameters
    ----------
    interviews : DataFrame
        Rows of ``interviews.parquet``.
    features : Path
        Its folder.
    left_out : mapping of str to frozenset of int
        Numbers of segments, by interview.

    Returns
    -------
    DataFrame
        The same rows; of an interview of which nothing is left, `n_ok` is 0 and `status` is
        ``excluded``.
    """
    folder = open_pooled_folder(features)
    made = interviews.reset_index(drop=True)
    row_of = {str(name): row for row, name in enumerate(made["interview"])}
    usable = made["n_ok"].tolist()
    for name, numbers in left_out.items():
        if not numbers or name not in row_of:
            continue
        row = row_of[name]
        segments = folder.segments(name, left_out=numbers)
        n_before, n_ok = int(usable[row]), len(segments.onset)
        if n_ok == n_before:
            continue
        for column, value in folder.pool(segments.scored).items():
            made.loc[row, column] = float("nan") if value is None else value
        made.loc[row, "n_ok"] = n_ok
        if n_ok == 0:
            made.loc[row, "status"] = EXCLUDED
            made.loc[row, "reason"] = f"all {n_before} usable segments were marked to be left out"
    return made


def _not_named(study: Study) -> tuple[str, ...]:
    if not (study.folder / EXCLUSIONS_FILE).is_file():
        return ()
    return (
        f"{EXCLUSIONS_FILE} is in the study's folder, but the protocol does not name it "
        "(data.exclusions): nothing was left out",
    )


def _told(
    exclusions: Sequence[Exclusion], covered: Mapping[str, frozenset[int]], places: SegmentPlaces
) -> list[str]:
    warnings = []
    usable = {
        name: set(rows["segment"][rows["status"] == "ok"])
        for name, rows in places.by_interview.items()
    }
    lost = {name: len(usable[name] & numbers) for name, numbers in covered.items()}
    if any(lost.values()):
        total = sum(map(len, usable.values()))
        n_interviews = sum(n > 0 for n in lost.values())
        warnings.append(
            f"{sum(lost.values())} of {total} usable segments, in {n_interviews} interviews, are "
            "left out by the protocol's exclusions"
        )
    shown = sum(e.estimates_shown for e in exclusions)
    if shown:
        warnings.append(
            f"{shown} of {len(exclusions)} exclusions were marked while estimates were shown: they "
            "may follow the outcome, so the result is exploratory"
        )
    return warnings
