"""SIGKILL at random moments of a cohort: in the end it is as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time

import pytest

from emoclip_clinical import load_model
from emoclip_clinical.core.checkpoint import save_checkpoint
from emoclip_clinical.core.model import build_model
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.extract import extract
from emoclip_clinical.features.scale_out import ScaleOut
from emoclip_clinical.records import PromptSet

TABLES = ("segments.parquet", "embeddings.parquet", "interviews.parquet", "features.json")
PROMPTS = PromptSet(name="two", classes={"smile": ("a smile",), "frown": ("a frown",)})
CONFIG = ExtractionConfig(face="whole_frame", batch_frames=8)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, small_model):
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(folder, built=build_model(small_model, seed=0), config=small_model, card={})
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, make_video, lively):
    folder = tmp_path_factory.mktemp("cohort")
    for seed in range(6):
        make_video(
            folder / f"sub-{seed}.mp4",
            images=lively(250, seed=seed),
            milliseconds=[40 * i for i in range(250)],
        )
    return folder


def _extract(cohort, model_folder, output, workers):
    return extract(
        [cohort],
        embedder=load_model(model_folder, device="cpu"),
        config=CONFIG,
        prompt_sets=[PROMPTS],
        output=output,
        scale=ScaleOut(workers=workers),
    )


def content(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_ten_random_moments(cohort, model_folder, tmp_path, workers):
    # A forked process begins at once, so that the moments fall into the work itself.
    context = multiprocessing.get_context("fork")
    began = time.monotonic()
    whole = context.Process(target=_extract, args=(cohort, model_folder, tmp_path / "w", workers))
    whole.start()
    whole.join()
    seconds = time.monotonic() - began
    expected = content(tmp_path / "w")
    rng = random.Random(workers)
    kills = round_ = 0
    while kills < 10:
        output = tmp_path / str(round_)
        job = context.Process(target=_extract, args=(cohort, model_folder, output, workers))
        job.start()
        job.join(timeout=rng.uniform(0, 0.7 * seconds))
        if job.exitcode is None:
            job.kill()
            job.join()
            kills += 1
        if job.exitcode == 0:
            assert content(output) == expected
            round_ += 1
        else:
            assert job.exitcode == -signal.SIGKILL
    parts = tmp_path / str(round_) / "parts"
    finished = list(parts.glob("sub-*"))
    last = _extract(cohort, model_folder, tmp_path / str(round_), workers)
    assert last.n_kept == len(finished)
    assert content(tmp_path / str(round_)) == expected
    assert not list(parts.glob(".unfinished*"))
