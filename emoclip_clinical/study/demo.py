"""The whole road on the synthetic study: draw, train, judge, extract, regress, report."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emoclip_clinical.core.embedder import load_model
from emoclip_clinical.core.evaluation.predictions import Predictions
from emoclip_clinical.core.evaluation.zero_shot import classify
from emoclip_clinical.features.prompt_sets import load_prompt_set
from emoclip_clinical.records import InputError, Progress, no_progress
from emoclip_clinical.study.clip_sources import load_study_clips
from emoclip_clinical.study.extract import run_extract
from emoclip_clinical.study.protocol import PROTOCOL_FILE, Study, open_study
from emoclip_clinical.study.regress import TargetResult, run_regress
from emoclip_clinical.study.shipped import shipped_protocol
from emoclip_clinical.study.synthetic import SyntheticConfig, WrittenStudy, write_study
from emoclip_clinical.study.train import run_train

TRUTH_FILE = "truth.csv"
SMALL: Mapping[str, float] = {
    "n_training_clips": 132,
    "n_validation_clips": 11,
    "n_test_clips": 44,
    "n_training_people": 12,
    "n_validation_people": 2,
    "n_test_people": 4,
    "n_subjects": 26,
    "interview_seconds": 8.0,
    "n_population": 20_000,
}
"""Settings of a cohort in miniature, for trying commands; what it finds means nothing."""
N_RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Demo:
    """What the demo found, beside what was planted.

    Attributes
    ----------
    study : Study
        The folder, complete.
    written : WrittenStudy
        The cohort and its truth.
    zero_shot : Predictions
        Held-out clips of people that training never saw.
    uar_interval : tuple of float
        95 % interval of the UAR over people.
    results : tuple of TargetResult
        One each target.
    seconds : mapping of str to float
        Wall time of each step.
    """

    study: Study
    written: WrittenStudy
    zero_shot: Predictions
    uar_interval: tuple[float, float]
    results: tuple[TargetResult, ...]
    seconds: Mapping[str, float]


def run_demo(
    folder: Path,
    *,
    config: SyntheticConfig,
    protocol: str = "demo",
    overrides: tuple[str, ...] = (),
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Demo:
    """Make a synthetic study and take it from videos to reports.

    Parameters
    ----------
    folder : Path
        Must not exist, be empty, or, with `overwrite`, hold an earlier demo.
    config : SyntheticConfig
        The cohort; its seed is also the study's.
    protocol : str
        The shipped one that the study begins with.
    overrides : tuple of str
        `section.key=value`, over the protocol of the demo.
    workers : int
        Processes that draw.
    overwrite : bool
        Replace an earlier demo.
    progress : callable
        Called after each finished unit of each step.

    Returns
    -------
    Demo

    Raises
    ------
    InputError
        If the folder holds something else.
    """
    _make_room(folder, overwrite=overwrite)
    text = shipped_protocol(protocol).replace("seed: 0", f"seed: {config.seed}", 1)
    (folder / PROTOCOL_FILE).write_text(text, encoding="utf-8")
    study = open_study(folder, overrides=overrides)
    clock = _StopWatch()
    written = write_study(folder, config=config, workers=workers, progress=progress)
    clock.lap("draw")
    run_train(study, device="cpu", progress=progress)
    clock.lap("train")
    zero_shot, interval = _judge(study, progress=progress)
    clock.lap("evaluate")
    run_extract(study, [folder / study.protocol.data.interviews], device="cpu", progress=progress)
    clock.lap("extract")
    results = run_regress(study, command="demo", progress=progress)
    clock.lap("regress")
    return Demo(study, written, zero_shot, interval, results, clock.laps)


def _make_room(folder: Path, *, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"a study is a folder, but {folder} is a file")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / TRUTH_FILE).is_file():
            raise InputError(f"{folder} holds something that is not a demo; name another folder")
        if not overwrite:
            raise InputError(f"{folder} holds a demo already; --overwrite replaces it")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _judge(study: Study, *, progress: Progress) -> tuple[Predictions, tuple[float, float]]:
    """Classify the held-out test clips by the study's own prompt set, and keep the figures."""
    protocol = study.protocol
    clips = [c for c in load_study_clips(study, protocol.data.clips).clips if c.split == "test"]
    prompts = load_prompt_set(protocol.extraction.prompts[0], folder=study.folder)
    model = load_model(study.model_folder, device="cpu")
    found = classify(model, clips, prompts, progress=progress)
    interval = found.intervals(
        ("uar",), seed=protocol.seed, n_resamples=N_RESAMPLES, confidence=CONFIDENCE
    )["uar"]
    assert interval is not None, "the synthetic test clips are of two people at least"
    low, high = interval.low, interval.high
    folder = study.path(protocol.data.results) / "zero_shot"
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "uar": found.uar,
        "uar_ci_low": low,
        "uar_ci_high": high,
        "war": found.war,
        "chance": found.chance,
        "n_clips": len(found.observed),
        "n_people": len(set(found.groups)),
        "recalls": found.recalls(),
        "prompt_set": prompts.name,
        "model_hash": model.model_hash,
    }
    (folder / "metrics.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return found, (low, high)


class _StopWatch:
    """Wall time by step; for the person who waits, never for a result."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = now - self._last
        self._last = now
