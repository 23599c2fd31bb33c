"""Write the whole synthetic study as a study folder."""

from __future__ import annotations

import multiprocessing
import shutil
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emoclip_clinical.records import InputError, Progress, no_progress

from .appearance import draw_identity, draw_scene
from .captions import class_prompts
from .clips import ClipPlan, draw_clip, plan_clips
from .cohort import Cohort, Visit, draw_cohort
from .config import SyntheticConfig
from .interviews import expressivity_from_latent, render_interview
from .prompt_file import write_prompts
from .seeds import Stream, generator
from .tables import clip_table, rating_table, truth_table
from .video import write_video

_CLIPS_PER_JOB = 50


@dataclass(frozen=True)
class WrittenStudy:
    """What `write_study` has made.

    Attributes
    ----------
    folder : Path
    cohort : Cohort
    n_clips : int
    n_interviews : int
    """

    folder: Path
    cohort: Cohort
    n_clips: int
    n_interviews: int


def write_study(
    folder: Path,
    *,
    config: SyntheticConfig,
    workers: int = 2,
    progress: Progress = no_progress,
) -> WrittenStudy:
    """Draw the synthetic study into a folder.

    Writes ``clips/``, ``clips.csv``, ``interviews/``, ``ratings.csv``, ``truth.csv`` and
    ``prompts/synthetic.yaml``.

    Parameters
    ----------
    folder : Path
        Made if it is not there. ``clips`` and ``interviews`` must not be in it yet.
    config : SyntheticConfig
    workers : int
        Processes that draw and encode; the bytes do not depend on it. With 1 everything
        happens in this process.
    progress : Progress

    Returns
    -------
    WrittenStudy

    Raises
    ------
    InputError
        Where the folder already holds clips or interviews.
    """
    taken = [name for name in ("clips", "interviews") if (folder / name).exists()]
    if taken:
        raise InputError([f"folder must not hold {name!r} yet, found it there" for name in taken])
    (folder / "clips").mkdir(parents=True)
    (folder / "interviews").mkdir()
    (folder / "prompts").mkdir(exist_ok=True)
    try:
        plans, cohort = plan_clips(config), draw_cohort(config)
        captions = _draw_all(plans, cohort, folder=folder, config=config, workers=workers,
                             progress=progress)  # fmt: skip
    except BaseException:
        # Half a study would look like a whole one to the commands that read it.
        shutil.rmtree(folder / "clips")
        shutil.rmtree(folder / "interviews")
        raise
    _write_csv(clip_table(plans, captions), folder / "clips.csv")
    _write_csv(rating_table(cohort), folder / "ratings.csv")
    _write_csv(truth_table(cohort, effect=config.effect), folder / "truth.csv")
    write_prompts(class_prompts(), path=folder / "prompts" / "synthetic.yaml")
    return WrittenStudy(
        folder=folder, cohort=cohort, n_clips=len(plans), n_interviews=len(cohort.visits)
    )


def _draw_all(
    plans: list[ClipPlan],
    cohort: Cohort,
    *,
    folder: Path,
    config: SyntheticConfig,
    workers: int,
    progress: Progress,
) -> list[str]:
    """Draw every interview and clip, and return the captions in the order of the plans."""
    jobs = [plans[i : i + _CLIPS_PER_JOB] for i in range(0, len(plans), _CLIPS_PER_JOB)]
    total = len(plans) + len(cohort.visits)
    captions: list[list[str]] = [[] for _ in jobs]
    done = 0
    if workers == 1:
        for visit in cohort.visits:
            write_interview(visit, folder=folder, config=config)
            progress("drawing", done := done + 1, total)
        for place, job in enumerate(jobs):
            captions[place] = _write_clips(job, folder=folder, config=config)
            progress("drawing", done := done + len(job), total)
        return [caption for part in captions for caption in part]
    # spawn, because a forked child of a process that has used a video library may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        futures: dict[Future[list[str]], int | None] = {
            pool.submit(write_interview, visit, folder=folder, config=config): None
            for visit in cohort.visits
        }
        for place, job in enumerate(jobs):
            futures[pool.submit(_write_clips, job, folder=folder, config=config)] = place
        try:
            for future in as_completed(futures):
                written, finished = future.result(), futures[future]
                if finished is not None:
                    captions[finished] = written
                done += max(len(written), 1)
                progress("drawing", done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [caption for part in captions for caption in part]


def _write_clips(plans: list[ClipPlan], *, folder: Path, config: SyntheticConfig) -> list[str]:
    captions = []
    for plan in plans:
        clip = draw_clip(plan, config=config)
        write_video(
            folder / "clips" / f"{plan.name}.mp4",
            chunks=[clip.frames],
            frames_per_second=config.clip_frames_per_second,
            size_pixels=config.size_pixels,
            quality_crf=config.quality_crf,
        )
        captions.append(clip.caption)
    return captions


def write_interview(visit: Visit, *, folder: Path, config: SyntheticConfig) -> list[str]:
    """Draw one visit's interview as ``interviews/<key>_interview.mp4``.

    Parameters
    ----------
    visit : Visit
    folder : Path
        A study folder with ``interviews/`` in it.
    config : SyntheticConfig

    Returns
    -------
    list of str
        No captions: an interview has none.
    """
    identity = draw_identity(generator(config.seed, Stream.INTERVIEW, 0, visit.subject))
    rng = generator(config.seed, Stream.INTERVIEW, 1, visit.number)
    write_video(
        folder / "interviews" / f"{visit.key.name}_interview.mp4",
        chunks=render_interview(
            expressivity_from_latent(visit.expressivity),
            identity=identity,
            scene=draw_scene(rng),
            config=config,
            rng=rng,
        ),
        frames_per_second=config.interview_frames_per_second,
        size_pixels=config.size_pixels,
        quality_crf=config.quality_crf,
    )
    return []


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, lineterminator="\n", float_format="%.17g")
