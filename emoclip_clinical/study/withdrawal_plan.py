"""Where a study holds a participant, and what has learned from them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emoclip_clinical.features.interviews import VIDEO_ENDINGS
from emoclip_clinical.people import known_people
from emoclip_clinical.records import InputError
from emoclip_clinical.regression.estimator import fingerprints
from emoclip_clinical.regression.estimator_files import CARD, load_estimator
from emoclip_clinical.regression.features import read_same_features
from emoclip_clinical.study.evaluate import OUTPUT_FOLDER as EVALUATIONS
from emoclip_clinical.study.leak_guard import CARD_PART
from emoclip_clinical.study.mentions import (
    TABLE_ENDINGS,
    Person,
    names_person,
    paths_in_rows,
)
from emoclip_clinical.study.predict import PREDICTIONS
from emoclip_clinical.study.protocol import CACHES, Study
from emoclip_clinical.study.withdrawal_record import WITHDRAWALS_FILE

FACES, DISCARDED = "faces", ".withdrawn-"
EXCLUSIONS, RECORDINGS = "exclusions.csv", "recordings"

Fate = Literal["file", "rows", "by hand"]
"""The file goes; rows of it go; it is not edited, whatever is asked for."""


@dataclass(frozen=True)
class Traces:
    """The files of a study that name a person, by what has to become of them.

    Attributes
    ----------
    folders : tuple of Path
        Results and evaluations with the person in them: their numbers are no longer good.
    features : tuple of Path
        Files of the features folder.
    rewritten : tuple of Path
        Tables of which rows go: predictions, exclusions.
    pictures : tuple of Path
        Contact sheets, and single files beside results.
    sources : mapping of Path to str
        What the user brought, with its role.
    fates : mapping of Path to str
        What can become of each of `sources`.
    """

    folders: tuple[Path, ...]
    features: tuple[Path, ...]
    rewritten: tuple[Path, ...]
    pictures: tuple[Path, ...]
    sources: Mapping[Path, str]
    fates: Mapping[Path, Fate]

    def counts(self) -> dict[str, int]:
        """Return how many there are of what this study made, by role."""
        found = {
            "results and evaluations": len(self.folders),
            "files of features": len(self.features),
            "tables with rows of them": len(self.rewritten),
            "contact sheets and other files": len(self.pictures),
        }
        return {role: n for role, n in found.items() if n}

    def source_counts(self) -> dict[str, int]:
        """Return how many files of the user's there are, by role."""
        return dict(sorted(Counter(self.sources.values()).items()))

    def source_files(self, study: Path, fate: Fate) -> dict[str, list[str]]:
        """Return the user's files of one fate by role, relative to the study."""
        found: dict[str, list[str]] = {}
        for path, role in sorted(self.sources.items(), key=lambda item: (item[1], item[0])):
            if self.fates[path] == fate:
                found.setdefault(role, []).append(os.path.relpath(path, study))
        return found


@dataclass(frozen=True)
class Learners:
    """What has learned from a person.

    Attributes
    ----------
    models : tuple of str
        Names of models that were trained on clips of them.
    unknown_models : tuple of str
        Names of models that do not say whom they were trained on.
    estimators : tuple of str
        Places, relative to the study, of estimators that were fitted to them.
    unknown_estimators : tuple of str
        Places of estimators that can not be read, or not be compared with the study's features.
    """

    models: tuple[str, ...]
    unknown_models: tuple[str, ...]
    estimators: tuple[str, ...]
    unknown_estimators: tuple[str, ...] = ()


def find_traces(study: Study, person: Person) -> Traces:
    """Search every file of a study for a person; of links the name alone is looked at."""
    data = study.protocol.data
    roots = {name: study.path(getattr(data, name)) for name in ("features", "results")}
    folders: set[Path] = set()
    groups: dict[str, list[Path]] = {"features": [], "rewritten": [], "pictures": []}
    sources: dict[Path, str] = {}
    for path in study_files(study.folder):
        if not names_person(path, person, below=study.folder):
            continue
        if path.is_relative_to(roots["results"]):
            top = roots["results"] / path.relative_to(roots["results"]).parts[0]
            if top.is_dir() and not top.is_symlink():
                folders.add(top)
            else:
                groups["pictures"].append(path)
        elif path.is_relative_to(study.folder / EVALUATIONS):
            folders.add(path.parent)
        elif roots["features"].is_dir() and path.is_relative_to(roots["features"]):
            groups["features"].append(path)
        elif path.is_relative_to(study.folder / PREDICTIONS) or path in _exclusions(study):
            groups["rewritten"].append(path)
        elif path.is_relative_to(study.folder / FACES):
            groups["pictures"].append(path)
        else:
            sources[path] = _role(study, path)
            if path.suffix.lower() in TABLE_ENDINGS:
                pointed = (path.parent / name for name in paths_in_rows(path.read_bytes(), person))
                sources |= {p: RECORDINGS for p in pointed if _is_of_study(p, study)}
    fates = {path: _fate(path, role, study, person) for path, role in sources.items()}
    return Traces(tuple(sorted(folders)), **{k: tuple(v) for k, v in groups.items()},
                  sources=sources, fates=fates)  # fmt: skip


def find_learners(study: Study, person: Person) -> Learners:
    """Return the models and estimators below a study that learned from a person."""
    from emoclip_clinical.core.checkpoint import read_card

    models, unknown = [], []
    for path in sorted(study.models.glob("*/model.json")):
        try:
            part = read_card(path.parent).get(CARD_PART)
            known = known_people([person.participant_id], part)
        except InputError:
            unknown.append(path.parent.name)
            continue
        if known.participants:
            models.append(path.parent.name)
        elif known.coverage != "complete":
            unknown.append(path.parent.name)
    places = (p for p in study_files(study.folder) if p.name == CARD)
    fitted: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for place in places:
        name = place.parent.relative_to(study.folder).as_posix()
        fitted[_was_fitted_to(place.parent, study, person)].append(name)
    return Learners(tuple(models), tuple(unknown), tuple(fitted[True]), tuple(fitted[None]))


def study_files(folder: Path) -> Iterator[Path]:
    """Yield a study's files in order, without caches and the record of withdrawals."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        # A link to a folder is one file here, and what it leads to is no part of the study.
        links = [f for f in folders if (here / f).is_symlink()]
        folders[:] = sorted(
            f for f in folders if f not in links and not (here == folder and f == CACHES)
        )
        for name in sorted([*files, *links]):
            path = here / name
            if path != folder / WITHDRAWALS_FILE:
                yield path


def _is_of_study(path: Path, study: Study) -> bool:
    return path.is_file() and path.resolve().is_relative_to(study.folder.resolve())


def _exclusions(study: Study) -> tuple[Path, ...]:
    named = study.protocol.data.exclusions
    return (study.folder / EXCLUSIONS, *((study.path(named),) if named else ()))


def _role(study: Study, path: Path) -> str:
    data = study.protocol.data
    if path.suffix.lower() in VIDEO_ENDINGS:
        return RECORDINGS
    if path.is_relative_to(study.path(data.ratings)):
        return "tables of ratings"
    if path.is_relative_to(study.path(data.interviews)):
        return "interviews"
    if isinstance(data.clips, str) and path == study.path(data.clips):
        return "lists of clips"
    if path == study.path(data.features):
        return "tables of features"
    return "other files"


def _fate(path: Path, role: str, study: Study, person: Person) -> Fate:
    if role == RECORDINGS:
        return "file"
    if any(person.is_named_in(part) for part in path.relative_to(study.folder).parts):
        return "file"
    return "rows" if path.suffix.lower() in TABLE_ENDINGS else "by hand"


def _was_fitted_to(estimator: Path, study: Study, person: Person) -> bool | None:
    """Say whether a row of features that the estimator was fitted to is the person's.

    None where the estimator or the features can not be read, or are of different kinds.
    """
    features = study.path(study.protocol.data.features)
    try:
        fitted = load_estimator(estimator)
        table = read_same_features(features, names=fitted.feature_names, impute="median")
    except InputError:
        return None
    theirs = (table.keys["participant_id"] == person.participant_id).to_numpy()
    rows = fingerprints(table.values.to_numpy(dtype=float)[theirs])
    return bool(set(rows) & set(fitted.rows_seen))
