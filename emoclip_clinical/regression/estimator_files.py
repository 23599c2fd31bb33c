"""Estimators on disk: arrays and JSON, nothing that could run code when it is read.

A folder ``estimator/`` holds ``estimator.json`` and ``arrays.npz``. Models that are linear in the
features are written so; others keep their state in objects of other libraries, which only a pickle
(or code that is as free to run) would hold, and are refused.

``estimator.json`` holds a hash of ``arrays.npz`` and one of all else that it says itself, so that a
change of either file is seen. Format 1 had the first hash only; it is read as it was.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.conformal import Calibration
from emoclip_clinical.regression.estimator import FinalEstimator
from emoclip_clinical.regression.features import ImputeRule
from emoclip_clinical.regression.linear_model import LinearModel
from emoclip_clinical.regression.reach import Reach

CARD, ARRAYS = "estimator.json", "arrays.npz"
FORMAT = "emoclip-clinical estimator 2"
UNSEALED_FORMAT = "emoclip-clinical estimator 1"
"""Its ``estimator.json`` has no hash of itself."""
SEAL = "card_sha256"
NOTICE = "Research use only. Not a medical device. Not for diagnosis or treatment decisions."


class _Card(BaseModel):
    """What ``estimator.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: str
    notice: str
    target: str = Field(min_length=1)
    items: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    kind: str
    impute: ImputeRule
    settings: dict[str, float]
    level: float = Field(gt=0, lt=1)
    distance_limit: float = Field(ge=0)
    n_subjects: int = Field(ge=1)
    n_visits: int = Field(ge=1)
    feature_names: tuple[str, ...] = Field(min_length=1)
    rows_seen: tuple[str, ...]
    source: dict[str, Any]
    arrays_sha256: str


def cannot_save_reason(estimator: FinalEstimator) -> str | None:
    """Say why an estimator can not be written without a pickle; None where it can."""
    models = (estimator.model, *estimator.fold_models)
    if all(isinstance(model, LinearModel) for model in models):
        return None
    return (
        f"the {estimator.kind} estimator of {estimator.target} was not saved: it can not be "
        "written without a pickle, which could run code when it is read; models that are linear in "
        "the features (ridge) can"
    )


def save_estimator(estimator: FinalEstimator, folder: str | Path) -> None:
    """Write an estimator; each file is written whole or not at all.

    The same estimator gives the same bytes.

    Parameters
    ----------
    estimator : FinalEstimator
    folder : path
        ``results/<target>/estimator``; made where it is missing.

    Raises
    ------
    InputError
        If the model is not linear in the features.
    """
    reason = cannot_save_reason(estimator)
    if reason is not None or not isinstance(estimator.model, LinearModel):
        raise InputError(reason or "only linear models can be saved")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **_arrays(estimator))
    content = buffer.getvalue()
    card = _Card(
        format=FORMAT,
        notice=NOTICE,
        target=estimator.target,
        items=estimator.items,
        minimum=estimator.minimum,
        maximum=estimator.maximum,
        kind=estimator.kind,
        impute=estimator.impute,
        settings=dict(estimator.model.settings),
        level=estimator.level,
        distance_limit=estimator.distance_limit,
        n_subjects=estimator.n_subjects,
        n_visits=estimator.n_visits,
        feature_names=estimator.feature_names,
        rows_seen=estimator.rows_seen,
        source=dict(estimator.source),
        arrays_sha256=hashlib.sha256(content).hexdigest(),
    )
    _write_whole(folder / ARRAYS, content)
    said = card.model_dump(mode="json")
    said[SEAL] = _sealed(said)
    text = json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False)
    _write_whole(folder / CARD, (text + "\n").encode())


def load_estimator(folder: str | Path) -> FinalEstimator:
    """Read an estimator that `save_estimator` wrote, now or in format 1.

    Raises
    ------
    InputError
        If there is none, if it is of another format, or if a file was changed or is damaged. In
        format 1 a change of ``estimator.json`` is seen only where it contradicts itself or the
        arrays.
    """
    folder = Path(folder)
    card = _read_card(folder)
    try:
        content = (folder / ARRAYS).read_bytes()
    except OSError:
        raise InputError(f"{folder.name}: {ARRAYS} is missing") from None
    if hashlib.sha256(content).hexdigest() != card.arrays_sha256:
        raise InputError(f"{ARRAYS}: not the file that {CARD} was written with; fit it again")
    arrays = _read_arrays(content)
    _check_shapes(arrays, card)
    models = [
        LinearModel(float(intercept), slopes, medians, tuple(sorted(card.settings.items())))
        for intercept, slopes, medians in zip(
            arrays["intercepts"], arrays["coefficients"], arrays["model_medians"], strict=True
        )
    ]
    return FinalEstimator(
        target=card.target,
        items=card.items,
        minimum=card.minimum,
        maximum=card.maximum,
        kind=card.kind,
        impute=card.impute,
        feature_names=card.feature_names,
        model=models[0],
        fold_models=tuple(models[1:]),
        calibration=Calibration(arrays["residual"], arrays["fold"], arrays["weight"]),
        level=card.level,
        medians=arrays["medians"],
        reach=Reach(
            arrays["mean"], arrays["scale"], arrays["axes"], arrays["variances"],
            float(arrays["rest"][0]),
        ),
        distance_limit=card.distance_limit,
        n_subjects=card.n_subjects,
        n_visits=card.n_visits,
        rows_seen=card.rows_seen,
        source=card.source,
    )  # fmt: skip


def _arrays(estimator: FinalEstimator) -> dict[str, np.ndarray]:
    every = (estimator.model, *estimator.fold_models)
    models = [model for model in every if isinstance(model, LinearModel)]
    reach, calibration = estimator.reach, estimator.calibration
    return {
        "intercepts": np.array([m.intercept for m in models]),
        "coefficients": np.stack([m.coefficients for m in models]),
        "model_medians": np.stack([m.medians for m in models]),
        "residual": calibration.residual,
        "fold": calibration.fold,
        "weight": calibration.weight,
        "medians": estimator.medians,
        "mean": reach.mean,
        "scale": reach.scale,
        "axes": reach.axes,
        "variances": reach.variances,
        "rest": np.array([reach.rest]),
    }


def _read_card(folder: Path) -> _Card:
    try:
        raw = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except OSError:
        raise InputError(
            f"{folder}: no estimator is here; regress writes it to results/<target>/estimator"
        ) from None
    except ValueError as error:
        raise InputError(f"{CARD}: not a readable JSON file") from error
    found = raw.get("format") if isinstance(raw, dict) else None
    if found not in (FORMAT, UNSEALED_FORMAT):
        raise InputError(f"{CARD}: format {FORMAT!r} is wanted, got {found!r}")
    if found == FORMAT and raw.pop(SEAL, None) != _sealed(raw):
        raise InputError(f"{CARD}: not as it was written; fit it again")
    try:
        card = _Card.model_validate(raw)
    except ValidationError as error:
        raise InputError(
            f"{CARD}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()
        ) from None
    if faults := _contradictions(card):
        raise InputError(faults)
    return card


def _sealed(said: Mapping[str, Any]) -> str:
    """Return the hash of what a card says, whatever its spaces and the order of its keys."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _contradictions(card: _Card) -> list[str]:
    faults = []
    twice = sorted(name for name, n in Counter(card.feature_names).items() if n > 1)
    if twice:
        faults.append(f"{CARD}: feature_names holds {', '.join(map(repr, twice[:5]))} twice")
    low, high = card.minimum, card.maximum
    if low is not None and high is not None and low >= high:
        faults.append(f"{CARD}: minimum must be below maximum, got {low:g} and {high:g}")
    if card.n_subjects > card.n_visits:
        faults.append(
            f"{CARD}: n_subjects can not be above n_visits, got {card.n_subjects} and "
            f"{card.n_visits}"
        )
    return faults


def _read_arrays(content: bytes) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{ARRAYS}: not readable arrays") from error


def _check_shapes(arrays: Mapping[str, np.ndarray], card: _Card) -> None:
    p, n = len(card.feature_names), card.n_visits
    k, axes = len(arrays.get("intercepts", ())), len(arrays.get("variances", ()))
    wanted = {
        "intercepts": (k,), "coefficients": (k, p), "model_medians": (k, p), "residual": (n,),
        "fold": (n,), "weight": (n,), "medians": (p,), "mean": (p,), "scale": (p,),
        "axes": (axes, p), "variances": (axes,), "rest": (1,),
    }  # fmt: skip
    faults = []
    for name, shape in wanted.items():
        found = arrays.get(name)
        if found is None or found.shape != shape:
            got = "none" if found is None else found.shape
            faults.append(f"{ARRAYS}: {name} of shape {shape} is wanted, got {got}")
        elif not np.isfinite(found).all():
            faults.append(f"{ARRAYS}: {name} holds values that are not finite")
    fold = arrays.get("fold")
    if not faults and fold is not None and not (fold.min() >= 0 and fold.max() < k - 1):
        faults.append(f"{ARRAYS}: fold must lie between 0 and {k - 2}")
    if faults:
        raise InputError(faults)


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
