"""A study in miniature with one input of each kind, for tests of locks; no video is decoded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.study.history import record_look
from emoclip_clinical.study.protocol import Study, open_study
from emoclip_clinical.study.provenance import json_sha256
from emoclip_clinical.study.regress import regress_inputs
from emoclip_clinical.study.standing import Standing, standings

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEOPLE = [f"sub-{i:03d}" for i in range(18)]
PROTOCOL = """\
# Our plan, in our words.
version: 1
data:
  features: features.csv     # made elsewhere
  scales: [mood.yaml]
extraction: {prompts: [own.yaml]}
regression:
  targets: [mood.total]      # the sum of both
  folds: 3
  repeats: 2
  inner_folds: 2
  permutations: 19
  bootstrap: 0
  importance: false
"""
SCALE = """\
name: mood
title: A scale of mood
source: nowhere
item_minimum: 1
item_maximum: 7
items:
  - {code: M1, name: one, face: visible}
  - {code: M2, name: two, face: partly}
sums:
  - {name: total, title: Total, items: [M1, M2]}
"""
PROMPTS = "name: own\nclasses: {calm: a calm face, sad: a sad face}\n"


def build(folder: Path) -> Path:
    """Write everything but the ratings."""
    rng = np.random.default_rng(5)
    (folder / "protocol.yaml").write_text(PROTOCOL)
    (folder / "mood.yaml").write_text(SCALE)
    (folder / "own.yaml").write_text(PROMPTS)
    (folder / "clips.csv").write_text("path,caption\na.mp4,a smile\n")
    (folder / "a.mp4").write_bytes(b"a clip")
    (folder / "interviews").mkdir()
    for name in PEOPLE:
        (folder / "interviews" / f"{name}_clinic tape.mp4").write_bytes(rng.bytes(64))
    model = folder / "models" / "emoclip"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(rng.bytes(64))
    card = {"architecture": {}, "preprocessing": {}, "weights_sha256": "0" * 64}
    (model / "model.json").write_text(json.dumps(card))
    features = pd.DataFrame(rng.normal(size=(len(PEOPLE), 3)).round(4), columns=list("abc"))
    features.insert(0, "participant_id", PEOPLE)
    features.to_csv(folder / "features.csv", index=False)
    return folder


def ratings(folder: Path, *, empty: bool = False) -> pd.DataFrame:
    """Return ratings of everybody that follow the first feature, or a table without values."""
    first = pd.read_csv(folder / "features.csv")["a"]
    table = pd.DataFrame({"participant_id": PEOPLE})
    table["M1"] = np.clip(np.round(4 + 1.5 * first), 1, 7).astype(int).astype(str)
    table["M2"] = np.clip(np.round(4 - first**2), 1, 7).astype(int).astype(str)
    if empty:
        table[["M1", "M2"]] = ""
    return table


def write_ratings(folder: Path, table: pd.DataFrame | None = None) -> None:
    """Write ratings.csv."""
    (ratings(folder) if table is None else table).to_csv(folder / "ratings.csv", index=False)


def standing_of(folder: Path, *overrides: str, now: datetime = MOMENT) -> Standing:
    """Return where a result of the study would stand now."""
    study = open_study(folder, overrides=overrides)
    return standings(study, **paths(study), inputs=regress_inputs(study, **paths(study)), now=now)[
        0
    ]


def look(folder: Path, *overrides: str, command: str = "regress", now: datetime = MOMENT) -> None:
    """Record a look as regress does, without the analysis that follows it."""
    study = open_study(folder, overrides=overrides)
    mark = record_look(
        folder,
        command=command,
        targets=study.protocol.regression.targets,
        settings_sha256=json_sha256(study.protocol.model_dump(mode="json")),
        now=now,
        inputs=regress_inputs(study, **paths(study)),
    )
    result = folder / "results" / study.protocol.regression.targets[0]
    result.mkdir(parents=True, exist_ok=True)
    (result / "provenance.json").write_text(json.dumps({"history": mark.as_record()}))


def paths(study: Study) -> dict[str, Path]:
    """Return what regress would read."""
    data = study.protocol.data
    return {"features": study.path(data.features), "ratings": study.path(data.ratings)}
