"""Extract interviews: every video once, every finished interview kept, one table at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.extraction_run import (
    ExtractionRun,
    RunSetup,
    extraction_run,
)
from emoclip_clinical.features.interview_tables import table_warnings
from emoclip_clinical.features.interviews import Interview, find_interviews
from emoclip_clinical.features.outcomes import InterviewOutcome
from emoclip_clinical.features.precision import choose_precision
from emoclip_clinical.features.scale_out import THIS_PROCESS, Loader, ScaleOut
from emoclip_clinical.records import InputError, Progress, PromptSet, no_progress

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder

__all__ = ["ExtractionResult", "InterviewOutcome", "extract"]


@dataclass(frozen=True)
class ExtractionResult:
    """What a run did.

    Attributes
    ----------
    folder : Path
        Where the tables lie.
    interviews : tuple of InterviewOutcome
        Those that were asked for, sorted by key.
    warnings : tuple of str
        For the user.
    """

    folder: Path
    interviews: tuple[InterviewOutcome, ...]
    warnings: tuple[str, ...]

    @property
    def n_failed(self) -> int:
        """Interviews of which nothing could be read."""
        return sum(outcome.status == "failed" for outcome in self.interviews)

    @property
    def n_partial(self) -> int:
        """Interviews of which a part could not be read."""
        return sum(outcome.status == "partial" for outcome in self.interviews)

    @property
    def n_unscored(self) -> int:
        """Interviews that were read and of which no segment has scores, as their status says."""
        known = ("ok", "partial", "failed")
        return sum(outcome.status not in known for outcome in self.interviews)

    @property
    def complete(self) -> bool:
        """True where every interview was read to its end and has scores."""
        return not (self.n_failed or self.n_partial or self.n_unscored)

    @property
    def n_kept(self) -> int:
        """Interviews that an earlier run had finished."""
        return sum(outcome.kept for outcome in self.interviews)


def extract(
    paths: Iterable[str | Path],
    *,
    embedder: Embedder,
    config: ExtractionConfig,
    prompt_sets: Sequence[PromptSet],
    output: Path,
    overwrite: bool = False,
    scale: ScaleOut = THIS_PROCESS,
    hash_memory: Path | None = None,
    progress: Progress = no_progress,
) -> ExtractionResult:
    """Turn interviews into segment scores, embeddings and pooled features.

    Parameters
    ----------
    paths : iterable of str or Path
        See `find_interviews`.
    embedder : Embedder
        The model.
    config : ExtractionConfig
        How; its `prompts` are given, loaded, as `prompt_sets`.
    prompt_sets : sequence of PromptSet
        What to score.
    output : Path
        The features folder.
    overwrite : bool, default False
        Whether interviews that are finished are made again.
    scale : ScaleOut
        How the work is shared; results do not depend on it.
    hash_memory : Path, optional
        Where hashes of videos are remembered, so that those that stay as they are need not be read
        again to know it; see `FileHashes`.
    progress : Progress
        Called as ``progress("extract", done, total)`` after each interview, and, from any thread,
        as ``progress("<interview> (seconds)", done, total)`` within long ones.

    Returns
    -------
    ExtractionResult
        A video that can not be read is an outcome with status ``failed``; the others go on.

    Raises
    ------
    InputError
        If paths, prompts or settings can not be used, or `output` can not be written; when
        merging, naming every interview that no shard has finished.
    """
    if overwrite and scale.merge_only:
        raise InputError("merging reads no interview, and there is nothing to overwrite")
    paths = tuple(paths)
    interviews = find_interviews(paths)
    setup = RunSetup(
        config=config,
        prompt_sets=tuple(prompt_sets),
        folder=output,
        # Every shard decides on the whole cohort, so that all decide alike.
        precision=choose_precision(
            embedder, interviews, wanted=config.precision, stall_seconds=config.stall_seconds
        ),
        hash_memory=hash_memory,
    )
    mine = interviews if scale.shard is None else scale.shard.of(interviews)
    workers = scale.workers or embedder.videos_at_once * (1 + len(scale.devices))
    embedders = [embedder, *_on_further_devices(scale)]
    with extraction_run(
        setup, embedders=embedders, workers=workers if scale.engine == "local" else 1
    ) as run:
        run.prepare(interviews)
        with run.store.locked(shard=scale.shard):
            if scale.shard is not None:
                run.store.clear_unfinished([interview.key.name for interview in mine])
            done = _outcomes(
                run,
                mine,
                setup=setup,
                scale=replace(scale, workers=workers),
                overwrite=overwrite,
                progress=progress,
            )
            done.sort(key=lambda outcome: outcome.key)
            warnings = [*table_warnings(paths), *run.warnings]
            warnings += (o.warning for o in done if o.warning)
            if scale.shard is None:
                warnings += run.merge(interviews)
            run.hashes.save()
    return ExtractionResult(folder=output, interviews=tuple(done), warnings=tuple(warnings))


def _on_further_devices(scale: ScaleOut) -> list[Embedder]:
    if scale.engine != "local" or not scale.devices:
        return []
    load = _loader(scale)
    return [load(device=device) for device in scale.devices]


def _loader(scale: ScaleOut) -> Loader:
    if scale.load is None:
        raise InputError("further devices and Ray need ScaleOut.load, which makes the model there")
    return scale.load


def _outcomes(
    run: ExtractionRun,
    interviews: Sequence[Interview],
    *,
    setup: RunSetup,
    scale: ScaleOut,
    overwrite: bool,
    progress: Progress,
) -> list[InterviewOutcome]:
    if scale.merge_only:
        return run.outcomes_of_parts(interviews)
    workers = scale.workers or 1
    if scale.engine == "ray":
        from emoclip_clinical.features.ray_engine import ray_outcomes

        ending = ray_outcomes(
            setup, interviews, load=_loader(scale), workers=workers, overwrite=overwrite
        )
    else:
        ending = run.outcomes(interviews, overwrite=overwrite, workers=workers, progress=progress)
    done = []
    for outcome in ending:
        done.append(outcome)
        progress("extract", len(done), len(interviews))
    return done
