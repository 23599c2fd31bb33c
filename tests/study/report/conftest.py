"""Two small studies of tables: two targets, sites, visits and raters; and one with recordings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.regression.results import write_results
from emoclip_clinical.regression.supplement import supplement
from emoclip_clinical.study.protocol import open_study
from emoclip_clinical.study.regress import TargetResult, run_regress
from emoclip_clinical.study.report import figures, write_report

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = "<script>document.title='taken'</script>"
SETTINGS = {
    "regression.targets": ["negative_symptoms", "N1"],
    "regression.site": "site",
    "regression.confounds": ["age", "sex"],
    "regression.repeats": 2,
    "regression.permutations": 60,
    "regression.bootstrap": 100,
    "report.notes": ["A pilot & no more."],
    "regression.published": [
        {"measure": "pearson_r", "value": 0.85, "at_most": True, "source": "Elsewhere 2024"}
    ],
}


def write_tables(folder: Path, *, n_subjects: int) -> None:
    """Write features and ratings: a trait moves the first feature and the negative items."""
    rng = np.random.default_rng(5)
    features, ratings = [], []
    for k in range(n_subjects):
        trait = rng.normal()
        who = {"site": "north" if k % 2 else "south", "sex": "f" if k % 3 else "m",
               "age": int(rng.integers(19, 66))}  # fmt: skip
        for visit in ("1", "2")[: 1 + (k % 4 != 3)]:
            keys = {"participant_id": f"sub-{k:03d}", "session_id": f"ses-{visit}"}
            state = trait + 0.4 * rng.normal()
            values = rng.normal(size=4)
            values[0] += 1.5 * state
            names = ("mean_smile", "mean_frown", "entropy", HOSTILE)
            features.append(keys | dict(zip(names, values, strict=True)))
            for rater in ("ann", "ben"):
                noise = rng.normal(size=7)
                items = np.clip(np.round(3 + 1.2 * state + 0.8 * noise), 1, 7).astype(int)
                named = {f"N{i}": int(v) for i, v in enumerate(items, 1)}
                ratings.append(keys | {"rater_id": rater} | who | named)
    pd.DataFrame(features).to_csv(folder / "features.csv", index=False)
    pd.DataFrame(ratings).to_csv(folder / "ratings.csv", index=False)


@pytest.fixture(scope="session")
def two_targets(tmp_path_factory: pytest.TempPathFactory) -> tuple[TargetResult, ...]:
    """Results of two targets, two sites, two visits, two raters, as ``regress`` writes them."""
    folder = tmp_path_factory.mktemp("study")
    write_tables(folder, n_subjects=40)
    study = open_study(folder, settings=SETTINGS)
    return run_regress(study, features=folder / "features.csv", now=lambda: NOW)


@pytest.fixture(scope="session")
def recorded(
    two_targets: tuple[TargetResult, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """One target's result with recordings, moments and a standing."""
    made = two_targets[0].estimate
    folder = tmp_path_factory.mktemp("recorded") / "negative_symptoms"
    keys = made.design.keys
    rng = np.random.default_rng(1)
    quality = keys.assign(
        status=np.where(np.arange(len(keys)) % 9, "ok", "partial"),
        seconds=rng.normal(900, 60, len(keys)).round(1),
        face_coverage=1 - 0.5 * rng.random(len(keys)) ** 2,
    )
    more = supplement(made, quality=quality)
    write_results(made, folder, more=more, quality=quality)
    moments = pd.concat(
        [
            keys.assign(
                interview=keys["participant_id"] + "_" + keys["session_id"],
                segment=segment,
                onset=40.5 * segment,
                duration=2.5,
                face_coverage=0.9,
                influence=rng.normal(size=len(keys)),
                rank=segment + 1,
            )
            for segment in range(4)
        ]
    )
    moments.to_csv(folder / "moments.csv", index=False)
    provenance = json.loads((two_targets[0].folder / "provenance.json").read_text())
    provenance["features"] = {"model": {"hash": "ab" * 32}, "folder": "C:\\videos\\Ann"}
    provenance["protocol"]["extraction"]["prompts"] = ["basic_seven", "own_prompts.yaml"]
    provenance["protocol"]["data"]["ratings"] = "clinic/secret_ratings.csv"
    provenance["standing"] = {
        "kind": "matches_lock",
        "statement": "matches the lock; no earlier look recorded in this folder",
        "earlier_looks": 2,
        "differences": ["extraction.prompts: own_prompts.yaml is new"],
    }
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    write_report(folder)
    return folder


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawing out where a test is about words: it takes most of a report's time."""

    def blank(
        draw: object, *, name: str, alt: str, height_inches: float = 0, left: float = 0
    ) -> str:
        return f'<svg role="img" aria-label="{alt}" id="{name}"></svg>'

    monkeypatch.setattr(figures, "svg", blank)


@pytest.fixture
def copied(recorded: Path, tmp_path: Path) -> Path:
    """A copy of the recorded result, to be changed."""
    return Path(shutil.copytree(recorded, tmp_path / "result"))


@pytest.fixture
def change(copied: Path) -> Callable[..., Path]:
    """Return a function that changes keys of a JSON file of the copied result."""

    def changed(name: str, **keys: object) -> Path:
        path = copied / name
        content = json.loads(path.read_text(encoding="utf-8"))
        for dotted, value in keys.items():
            *inner, last = dotted.split("__")
            part = content
            for key in inner:
                part = part[key]
            part[last] = value
        path.write_text(json.dumps(content), encoding="utf-8")
        return copied

    return changed
