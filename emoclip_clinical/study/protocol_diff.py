"""Two protocols, locks or results beside each other, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclip_clinical.records import InputError
from emoclip_clinical.study.lock import Lock, read_lock
from emoclip_clinical.study.lock_differences import file_differences, setting_differences
from emoclip_clinical.study.protocol import check_protocol
from emoclip_clinical.study.protocol_reading import read_protocol_text
from emoclip_clinical.study.regress import PROVENANCE_FILE
from emoclip_clinical.study.result_comparison import flat, read_metrics
from emoclip_clinical.study.shipped import protocol_path

FIGURES = (
    "target",
    "model",
    "cv.scheme",
    "n_subjects",
    "n_interviews",
    "n_excluded",
    "pearson_r.fold_mean",
    "pearson_r.ci_low",
    "pearson_r.ci_high",
    "pearson_r.ci_of",
    "pearson_r.pooled",
    "pearson_r.p_permutation",
    "p_adjusted",
    "mae",
    "rmse",
    "baseline.mae",
    "skill",
    "ccc",
)


@dataclass(frozen=True)
class FigurePair:
    """One figure of two results.

    Attributes
    ----------
    name : str
        Its place in metrics.json.
    first, second : object
        None where a result does not define it.
    """

    name: str
    first: object
    second: object


@dataclass(frozen=True)
class ProtocolDiff:
    """What differs between two protocols, locks or results.

    Attributes
    ----------
    settings, inputs, standing, versions : tuple of str
        One a difference.
    figures : tuple of FigurePair
        Of two results: all of `FIGURES`, equal or not.
    """

    settings: tuple[str, ...]
    inputs: tuple[str, ...]
    standing: tuple[str, ...]
    versions: tuple[str, ...]
    figures: tuple[FigurePair, ...]

    @property
    def same(self) -> bool:
        """True where nothing differs."""
        texts = self.settings + self.inputs + self.standing + self.versions
        return not texts and all(f.first == f.second for f in self.figures)


@dataclass(frozen=True)
class _Side:
    settings: Mapping[str, Any]
    files: Mapping[str, Mapping[str, str]]
    standing: str
    versions: Mapping[str, Any]
    metrics: Mapping[str, Any] | None


def compare(first: str, second: str) -> ProtocolDiff:
    """Compare two protocols or two results.

    Parameters
    ----------
    first, second : str
        Each a protocol file, the name of a shipped protocol, a lock, or a folder of a result.

    Raises
    ------
    InputError
        If one is none of these, or a result is to be compared with a protocol.
    """
    a, b = _side(first), _side(second)
    if (a.metrics is None) != (b.metrics is None):
        raise InputError("a result is compared with a result, and a protocol with a protocol")
    versions = tuple(
        f"{name}: {a.versions.get(name)} → {b.versions.get(name)}"
        for name in {**a.versions, **b.versions}
        if a.versions and b.versions and a.versions.get(name) != b.versions.get(name)
    )
    figures: tuple[FigurePair, ...] = ()
    if a.metrics is not None and b.metrics is not None:
        ones, others = flat(a.metrics), flat(b.metrics)
        figures = tuple(FigurePair(name, ones.get(name), others.get(name)) for name in FIGURES)
    standing = () if a.standing == b.standing else (f"{a.standing} → {b.standing}",)
    return ProtocolDiff(
        settings=setting_differences(a.settings, b.settings),
        inputs=_file_changes(a, b),
        standing=standing,
        versions=versions,
        figures=figures,
    )


def _file_changes(a: _Side, b: _Side) -> tuple[str, ...]:
    if not a.files or not b.files:
        return ()
    roles: dict[str, Mapping[str, str]] = {role: {} for role in b.files}
    return file_differences({**roles, **a.files}, b.files)


def _side(name: str) -> _Side:
    path = Path(name)
    if path.is_dir():
        return _result(path)
    if path.suffix == ".lock":
        lock = read_lock(path)
        if lock is None:
            raise InputError(f"no such lock: {path}")
        return _locked(lock)
    protocol, faults = check_protocol(read_protocol_text(protocol_path(name)))
    if protocol is None:
        raise InputError(faults)
    return _Side(protocol.model_dump(mode="json"), {}, "", {}, None)


def _locked(lock: Lock) -> _Side:
    files: dict[str, Mapping[str, str]] = {r: dict(parts) for r, parts in lock.files.items()}
    n_rows = sum(len(table.rows) for table in lock.ratings.tables)
    files["ratings"] = {"state": lock.ratings.state, "rows": str(n_rows)}
    if lock.interviews is not None:
        # Names are hashed with each study's own salt, and can not be matched.
        files["interviews"] = {"number": str(len(lock.interviews))}
    return _Side(lock.settings, files, "", lock.packages, None)


def _result(folder: Path) -> _Side:
    metrics = read_metrics(folder)
    try:
        origin = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))
        files = {role: {"content": sha} for role, sha in origin["inputs"].items() if sha}
        return _Side(
            settings=origin["protocol"],
            files=files,
            standing=str(origin.get("standing", {}).get("statement", "unknown standing")),
            versions={"python": origin.get("python"), **origin.get("packages", {})},
            metrics=metrics,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{folder / PROVENANCE_FILE} is missing or damaged") from None
