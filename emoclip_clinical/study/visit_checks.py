"""Whether who was recorded is who was rated, before anything is run; no rating is read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from emoclip_clinical.records import InputError, InterviewKey
from emoclip_clinical.regression.rating_tables import find_target, load_rating_tables
from emoclip_clinical.regression.spellings import spelled_otherwise
from emoclip_clinical.regression.targets import Target
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.rated import study_scales
from emoclip_clinical.study.segment_inputs import EMBEDDINGS, reads_segments
from emoclip_clinical.study.target_folders import repeated_targets

Visit = tuple[str, str]
"""Canonical participant and session; the latter empty where there is none."""
SHOWN = 3


@dataclass(frozen=True)
class Matches:
    """How recordings and rows of the ratings meet.

    Attributes
    ----------
    n_recorded : int
        Visits with an interview, or with features of another tool.
    n_matched : int
        Those of them that have a row in the ratings.
    faults : tuple of str
        What makes an analysis impossible.
    """

    n_recorded: int
    n_matched: int
    faults: tuple[str, ...] = ()


def match_visits(study: Study, recorded: Collection[Visit], *, what: str) -> Matches:
    """Count the visits that are recorded and have a row in the targets' tables.

    Where one side names no sessions, participants are matched.

    Parameters
    ----------
    study : Study
    recorded : collection of (str, str)
    what : str
        What messages call the recordings.

    Raises
    ------
    InputError
        With every fault of the tables' keys, and of the targets and their columns.
    """
    rated = _rated_visits(study)
    faults = spelled_otherwise(recorded, rated, what=what)
    if not all(any(session for _, session in side) for side in (recorded, rated)):
        recorded, rated = ({(p, "") for p, _ in side} for side in (recorded, rated))
    both = set(recorded) & set(rated)
    if recorded and not both:
        found = [
            f"{what} have {_some(recorded)}",
            f"the ratings have {_some(rated)}",
        ]
        nobody = f"{what} and ratings have no visit in common: {'; '.join(found)}"
        return Matches(len(recorded), 0, (nobody, *faults))
    config = study.protocol.regression
    n_subjects = len({participant for participant, _ in both})
    if both and config.cv in ("repeated_kfold", "balanced_kfold") and n_subjects < config.folds:
        faults.append(
            f"regression.folds: {config.folds} folds need at least {config.folds} subjects, got "
            f"{n_subjects} who stand in the {what} and in the ratings"
        )
    return Matches(len(recorded), len(both), tuple(faults))


def segment_faults(study: Study) -> list[str]:
    """Say whether a model of segments is asked for where features hold no segments."""
    features = study.path(study.protocol.data.features)
    if not reads_segments(study.protocol.regression) or not features.exists():
        return []
    if (features / EMBEDDINGS).is_file():
        return []
    return [
        "regression.model: models of segments read the folder that extract writes, with its "
        f"{EMBEDDINGS}; data.features {'is a table' if features.is_file() else 'has none'}"
    ]


def _rated_visits(study: Study) -> set[Visit]:
    protocol = study.protocol
    path = study.path(protocol.data.ratings)
    tables = load_rating_tables(path, encoding=protocol.data.encoding)
    registry = study_scales(study)
    names = protocol.regression.targets
    found: list[Target] = []
    faults: list[str] = []
    for name in names:
        try:
            found.append(find_target(tables, name, registry=registry))
        except InputError as error:
            faults += error.faults
    meant = [(sorted(t.columns), sorted(t.minus), t.score, t.is_change) for t in found]
    faults = faults or repeated_targets(names, [repr(what) for what in meant], registry)
    if faults:
        raise InputError(faults)
    sources = {tables.columns[column].source for target in found for column in target.columns}
    return {
        (str(participant), str(session))
        for index in sources
        for participant, session in tables.sources[index].keys.itertuples(index=False)
    }


def _some(visits: Collection[Visit]) -> str:
    names = sorted(InterviewKey(*visit).name for visit in visits)
    return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
