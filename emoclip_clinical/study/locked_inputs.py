"""Hashes of everything that a study's results follow from, part by part, with no file's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclip_clinical.features.description import describe_source
from emoclip_clinical.features.interviews import find_interviews
from emoclip_clinical.features.prompt_sets import (
    load_prompt_sets,
    prompt_set_hash,
    shipped_prompt_sets,
)
from emoclip_clinical.file_hashes import FileHashes
from emoclip_clinical.records import InputError, InterviewKey, Progress, no_progress
from emoclip_clinical.regression.targets import resolve_target
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import json_sha256, tree_sha256
from emoclip_clinical.study.rated import study_features, study_scales

FEATURE_FILES = (
    "interviews.parquet",
    "segments.parquet",
    "embeddings.parquet",
    "features.json",
)
MODEL_FILES = ("model.safetensors", "model.json")
MODEL_IDENTITY = "model"
_IDENTITY_PARTS = ("architecture", "preprocessing", "weights_sha256")
FACE_FILES = ("yunet_weights", "reference_folder", "boxes_folder")

Parts = Mapping[str, str]
"""SHA-256 by part."""
Recordings = Mapping[str, Mapping[str, object]]
"""By interview: hash of the video, and which part of it, of whom, is read."""


@dataclass(frozen=True)
class Inputs:
    """What there is to be hashed of a study's inputs.

    Attributes
    ----------
    interviews : mapping or None
        By the interview's key; None where there are none.
    files : mapping of str to mapping of str to str
        By role (features, model, scales, prompts, clips, exclusions, faces), then by part.
    absent : tuple of str
        Sentences: what is not there, so that nothing holds it.
    """

    interviews: Recordings | None
    files: Mapping[str, Parts]
    absent: tuple[str, ...]


def study_inputs(
    study: Study,
    *,
    features: Path | None = None,
    videos: bool = True,
    progress: Progress = no_progress,
) -> Inputs:
    """Hash a study's inputs, the ratings left out.

    Parameters
    ----------
    study : Study
    features : Path, optional
        Another features folder or table than the protocol's.
    videos : bool
        False leaves the interviews unread: hashing them takes as long as copying them.
    progress : callable
        Called after each interview.

    Raises
    ------
    InputError
        With the faults of interviews, scales and prompt sets.
    """
    faults: list[str] = []
    absent: list[str] = []
    data = study.protocol.data
    interviews = None
    try:
        interviews = _interviews(study, progress) if videos else None
    except InputError as error:
        faults += error.faults
    if videos and interviews is None and not faults:
        absent.append("interviews: there are none yet")
    files: dict[str, Parts] = {
        "features": _feature_parts(features or study.path(data.features)),
        "model": _model_parts(study),
        "clips": _file_part(study, data.clips, part="manifest"),
        "exclusions": _file_part(study, data.exclusions, part="table"),
        "faces": _face_parts(study),
    }
    for role, read in (("scales", _scale_parts), ("prompts", _prompt_parts)):
        try:
            files[role] = read(study)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    absent += [text for role, text in _expected(study).items() if not files[role]]
    kept = {role: parts for role, parts in files.items() if parts}
    return Inputs(interviews, kept, tuple(absent))


def visits_of(study: Study, inputs: Inputs) -> tuple[str, ...]:
    """Return the visits that will be rated: those of the interviews, else of the features."""
    if inputs.interviews is not None:
        keys = [_key(name) for name in inputs.interviews]
        return tuple(sorted({InterviewKey(k.participant_id, k.session_id).name for k in keys}))
    return feature_visits(study, study.path(study.protocol.data.features))


def feature_visits(study: Study, features: Path) -> tuple[str, ...]:
    """Return the visits of features, those without usable ones too; none where there are none."""
    if not _feature_parts(features):
        return ()
    table = study_features(study, features)
    return tuple(
        sorted(
            {
                InterviewKey(p, s).name
                for rows in (table.keys, table.excluded)
                for p, s in zip(rows["participant_id"], rows["session_id"], strict=True)
            }
        )
    )


def read_model_card(study: Study) -> Mapping[str, Any] | None:
    """Return ``model.json`` of a study's model; None where there is none of a whole model."""
    try:
        text = (study.model_folder / "model.json").read_text(encoding="utf-8")
        card = json.loads(text)
        is_whole = all(name in card for name in _IDENTITY_PARTS)
    except (OSError, ValueError, TypeError):  # an InputError is a ValueError
        return None
    return card if is_whole and isinstance(card, dict) else None


def model_identity(card: Mapping[str, Any]) -> str:
    """Return the hash of a model, as `Checkpoint.model_hash` has it and features.json names it."""
    # Reading a checkpoint takes torch.
    text = json.dumps({name: card[name] for name in _IDENTITY_PARTS}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def extracted_from(path: Path) -> tuple[Recordings, str | None]:
    """Return of which recordings a features folder is, and the hash of the model that it names."""
    try:
        content = json.loads((path / "features.json").read_text(encoding="utf-8"))
        inputs = {
            str(e["interview"]): {k: v for k, v in e.items() if k not in ("interview", "bytes")}
            for e in content["inputs"]
        }
        return inputs, str(content["model"]["hash"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}, None


def _key(name: str) -> InterviewKey:
    parts = dict(part.split("-", 1) for part in name.split("_"))
    session = f"ses-{parts['ses']}" if "ses" in parts else ""
    return InterviewKey(f"sub-{parts['sub']}", session, int(parts.get("run", 0)))


def _interviews(study: Study, progress: Progress) -> Recordings | None:
    path = study.path(study.protocol.data.interviews)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    found = find_interviews([path])
    hashed: dict[str, Mapping[str, object]] = {}
    hashes = FileHashes()
    for done, interview in enumerate(found, start=1):
        source = {
            k: v for k, v in describe_source(interview, hashes=hashes).items() if k != "bytes"
        }
        hashed[interview.key.name] = {**source, "patient": interview.patient}
        progress("hash interviews", done, len(found))
    return hashed


def _feature_parts(path: Path) -> Parts:
    if path.is_dir():
        return _hashed({name: path / name for name in FEATURE_FILES})
    return _hashed({"table": path})


def _model_parts(study: Study) -> Parts:
    try:
        folder = study.model_folder
    except InputError:
        return {}
    parts = _hashed({name: folder / name for name in MODEL_FILES})
    card = read_model_card(study)
    return parts if card is None else {**parts, MODEL_IDENTITY: model_identity(card)}


def _scale_parts(study: Study) -> Parts:
    registry = study_scales(study)
    codes = [code for scale in registry.values() for code in scale.codes]
    used = {}
    for name in study.protocol.regression.targets:
        try:
            target = resolve_target(name, codes, registry=registry)
        except InputError:
            # A plain column of the ratings belongs to no scale.
            continue
        for scale in filter(None, target.scales):
            used[scale.name] = json_sha256(scale.model_dump(mode="json"))
    own = {f"file {n}": study.path(p) for n, p in enumerate(study.protocol.data.scales, start=1)}
    return {**used, **_hashed(own)}


def _prompt_parts(study: Study) -> Parts:
    named = study.protocol.extraction.prompts
    sets = load_prompt_sets(named, folder=study.folder)
    parts = {}
    for source, prompts in zip(named, sets, strict=True):
        own = None if source in shipped_prompt_sets() else tree_sha256(study.path(source))
        parts[prompts.name] = own or prompt_set_hash(prompts)
    return parts


def _face_parts(study: Study) -> Parts:
    config = study.protocol.extraction
    named = {name: getattr(config, name) for name in FACE_FILES}
    return _hashed({name: study.path(p) for name, p in named.items() if p is not None})


def _file_part(study: Study, name: object, *, part: str) -> Parts:
    return _hashed({part: study.path(name)}) if isinstance(name, str) else {}


def _hashed(paths: Mapping[str, Path]) -> Parts:
    found = {part: tree_sha256(path) for part, path in paths.items()}
    return {part: sha256 for part, sha256 in found.items() if sha256 is not None}


def _expected(study: Study) -> dict[str, str]:
    """Return what is missing, in words, should a role have no part."""
    protocol = study.protocol
    expected = {
        "features": "features: nothing is extracted yet",
        "model": "model: there is none yet",
    }
    if isinstance(protocol.data.clips, str):
        expected["clips"] = "clips: there is no manifest"
    else:
        expected["clips"] = "clips: a data set in its own layout is not hashed"
    if protocol.data.exclusions is not None:
        expected["exclusions"] = "exclusions: the table that the protocol names is not there"
    return expected
