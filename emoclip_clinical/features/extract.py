"""Extract interviews: every video once, every finished interview kept, one table at the end."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emoclip_clinical.features.config import ExtractionConfig, canonical_hash
from emoclip_clinical.features.face_setup import describe_faces, face_setup, load_detector
from emoclip_clinical.features.interviews import Interview, find_interviews
from emoclip_clinical.features.layout import (
    InterviewSummary,
    embeddings_schema,
    segments_schema,
)
from emoclip_clinical.features.patient import PatientChoice, patient_warning
from emoclip_clinical.features.pooled_parts import pool_part
from emoclip_clinical.features.pooling import pooled_names
from emoclip_clinical.features.prompt_sets import prompt_set_content, prompt_set_hash
from emoclip_clinical.features.reading import ReadingSettings, read_interview
from emoclip_clinical.features.scores import encode_prompt_sets, score_columns
from emoclip_clinical.features.segments import Grid
from emoclip_clinical.features.store import PartCard, PartStore
from emoclip_clinical.records import (
    InputError,
    InterviewKey,
    Progress,
    PromptSet,
    no_progress,
)

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder

FORMAT = 3
"""Number of the layout and of the calculations; parts made under another are made again."""

_PACKAGES = ("av", "numpy", "onnxruntime", "open_clip_torch", "pyarrow", "torch", "torchvision")


@dataclass(frozen=True)
class InterviewOutcome:
    """How one interview of a run ended.

    Attributes
    ----------
    key : InterviewKey
        Which.
    status, reason : str
        See `InterviewSummary`.
    n_segments, n_ok : int
        Segments, and those with scores.
    kept : bool
        Whether it was finished by an earlier run.
    warning : str
        What the user should look at, naming the interview; else empty.
    """

    key: InterviewKey
    status: str
    reason: str
    n_segments: int
    n_ok: int
    kept: bool
    warning: str = ""


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
    workers: int = 1,
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
    workers : int, default 1
        Interviews that are read at the same time, in threads; results do not depend on it.
    progress : Progress
        Called as ``progress("extract", done, total)`` after each interview.

    Returns
    -------
    ExtractionResult
        A video that can not be read is an outcome with status ``failed``; the others go on.

    Raises
    ------
    InputError
        If paths, prompts or settings can not be used, or `output` can not be written.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    interviews = find_interviews(paths)
    run = _Run(embedder=embedder, config=config, prompt_sets=tuple(prompt_sets), folder=output)
    run.prepare(interviews)
    with run.store.locked():
        outcomes = []
        for outcome in run.outcomes(interviews, overwrite=overwrite, workers=workers):
            outcomes.append(outcome)
            progress("extract", len(outcomes), len(interviews))
        unclear = [outcome.warning for outcome in sorted(outcomes, key=lambda o: o.key)]
        warnings = [*run.warnings, *filter(None, unclear), *run.merge(interviews)]
    return ExtractionResult(
        folder=output,
        interviews=tuple(sorted(outcomes, key=lambda outcome: outcome.key)),
        warnings=tuple(warnings),
    )


class _Run:
    """What stays the same over the interviews of one call."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        config: ExtractionConfig,
        prompt_sets: tuple[PromptSet, ...],
        folder: Path,
    ) -> None:
        self.store = PartStore(folder)
        self._embedder = embedder
        self._fetch_weights = config.fetch_weights
        self._config = config
        self._settings = _reading_settings(embedder, config, prompt_sets)
        self._description = _describe(embedder, config, prompt_sets, self._settings.grid)
        self._settings_hash = canonical_hash(self._description)
        self.warnings: list[str] = []
        if self._settings.grid.slots_per_window > embedder.frames_per_clip:
            self.warnings.append(
                f"segments hold {self._settings.grid.slots_per_window} frames, but the model was "
                f"trained on clips of at most {embedder.frames_per_clip}"
            )

    def prepare(self, interviews: Sequence[Interview]) -> None:
        """Refuse interviews whose boxes or reference pictures are missing, before any video."""
        if self._settings.faces is not None:
            faces = self._settings.faces.prepared(interviews, fetch_weights=self._fetch_weights)
            self._settings = replace(self._settings, faces=faces)

    def outcomes(
        self, interviews: Sequence[Interview], *, overwrite: bool, workers: int
    ) -> Iterator[InterviewOutcome]:
        """Yield an outcome for each interview, in the order in which they end."""
        if workers == 1:
            for interview in interviews:
                yield self._outcome(interview, overwrite=overwrite)
            return
        pool = ThreadPoolExecutor(max_workers=workers)
        try:
            waiting: list[Future[InterviewOutcome]] = [
                pool.submit(self._outcome, interview, overwrite=overwrite)
                for interview in interviews
            ]
            for future in as_completed(waiting):
                yield future.result()
        finally:
            # After an error or an interruption the interviews that wait are not begun.
            pool.shutdown(cancel_futures=True)

    def merge(self, interviews: Sequence[Interview]) -> list[str]:
        """Write the tables from all parts with these settings; return warnings."""
        cards = self.store.cards()
        same = [card for card in cards if card.settings_hash == self._settings_hash]
        names = self._pooled_names()
        self.store.merge(
            same,
            segments_schema=segments_schema(score_columns(self._settings.prompts)),
            embeddings_schema=embeddings_schema(self._embedder.embedding_width),
            pooled_names=names,
            pooled=[self._pool(card) for card in same],
            description={
                **self._description,
                # Beside the settings and not among them: neither changes a part.
                "training_people": self._embedder.card.get("training_people"),
                "settings_hash": self._settings_hash,
                "pooling": {
                    "statistics": list(self._config.pooling),
                    "weights": self._config.pooling_weights,
                },
                "pooled_features": list(names),
                "versions": _versions(),
                "inputs": [{"interview": card.key.name, **card.source} for card in same],
            },
        )
        asked = {interview.key for interview in interviews}
        left_out = [card.key.name for card in cards if card.settings_hash != self._settings_hash]
        earlier = [card.key.name for card in same if card.key not in asked]
        warnings = []
        if left_out:
            warnings.append(
                "not in the tables, because they were made with other settings or another model "
                f"(extract them again): {', '.join(left_out)}"
            )
        if earlier:
            warnings.append(
                f"in the tables from an earlier run with the same settings: {', '.join(earlier)}"
            )
        return warnings

    def _pooled_names(self) -> tuple[str, ...]:
        return pooled_names(
            self._settings.prompts,
            embedding_width=self._embedder.embedding_width,
            pooling=self._config.pooling,
        )

    def _pool(self, card: PartCard) -> dict[str, float | None]:
        return pool_part(
            self.store.parts / card.key.name,
            prompt_vectors=self._settings.prompts,
            pooling=self._config.pooling,
            weights=self._config.pooling_weights,
        )

    def _outcome(self, interview: Interview, *, overwrite: bool) -> InterviewOutcome:
        faces = self._settings.faces
        source = {**_source(interview), **({} if faces is None else faces.sources(interview))}
        card = None if overwrite else self.store.read_card(interview.key)
        kept = (
            card is not None
            and card.settings_hash == self._settings_hash
            and card.source == source
            and card.summary.status != "failed"
        )
        if card is None or not kept:
            reading = read_interview(interview, embedder=self._embedder, settings=self._settings)
            card = PartCard(
                key=interview.key,
                settings_hash=self._settings_hash,
                source=source,
                summary=reading.summary,
            )
            self.store.write(card, reading)
        return InterviewOutcome(
            key=card.key,
            status=card.summary.status,
            reason=card.summary.reason,
            n_segments=card.summary.n_segments,
            n_ok=card.summary.n_ok,
            kept=kept,
            warning=_warning(card.key, card.summary),
        )


def _warning(key: InterviewKey, summary: InterviewSummary) -> str:
    if summary.patient_rule is None or summary.n_people is None:
        return ""
    choice = PatientChoice(
        rule=summary.patient_rule,
        person=summary.patient_track,
        n_people=summary.n_people,
        share=summary.patient_share,
        margin=summary.patient_margin,
        confidence=summary.patient_confidence,
    )
    return patient_warning(choice, interview=key.name) or ""


def _reading_settings(
    embedder: Embedder, config: ExtractionConfig, prompt_sets: Sequence[PromptSet]
) -> ReadingSettings:
    sample_fps = config.sample_fps or embedder.sample_fps
    window_seconds = config.window_seconds or embedder.frames_per_clip / embedder.sample_fps
    grid = Grid(
        sample_fps=sample_fps,
        window_seconds=window_seconds,
        stride_seconds=config.stride_seconds or window_seconds,
    )
    # A window that is too long for the model is refused now, not after the first video.
    embedder.encode_sequences(
        np.ones((1, grid.slots_per_window, embedder.embedding_width), dtype=np.float32),
        np.ones((1, grid.slots_per_window), dtype=bool),
    )
    return ReadingSettings(
        grid=grid,
        prompts=encode_prompt_sets(embedder, prompt_sets),
        faces=face_setup(config, detector=load_detector(config)),
        quality=config.quality,
        batch_frames=config.batch_frames,
    )


def _describe(
    embedder: Embedder, config: ExtractionConfig, prompt_sets: Sequence[PromptSet], grid: Grid
) -> dict[str, object]:
    """Return everything that decides the content of the tables, apart from the videos."""
    return {
        "format": FORMAT,
        "model": {
            "hash": embedder.model_hash,
            "embedding_width": embedder.embedding_width,
            "image_size_pixels": embedder.image_size_pixels,
            "temperature": embedder.temperature,
        },
        "prompts": [
            {**prompt_set_content(prompts), "hash": prompt_set_hash(prompts)}
            for prompts in prompt_sets
        ],
        "sampling": {
            "sample_fps": grid.sample_fps,
            "window_seconds": grid.window_seconds,
            "stride_seconds": grid.stride_seconds,
        },
        "quality": config.quality.model_dump(mode="json"),
        "faces": describe_faces(config),
    }


def _source(interview: Interview) -> Mapping[str, object]:
    try:
        n_bytes, content_hash = interview.path.stat().st_size, _file_hash(interview.path)
    except OSError:
        # Reading it will fail too, with a reason for the user.
        n_bytes, content_hash = None, None
    return {
        "bytes": n_bytes,
        "sha256": content_hash,
        "start_seconds": interview.start_seconds,
        "stop_seconds": interview.stop_seconds,
    }


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
