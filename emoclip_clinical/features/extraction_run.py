"""What stays the same over the interviews of one extraction, in one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emoclip_clinical.core.threads import each_thread_alone
from emoclip_clinical.features.config import ExtractionConfig, canonical_hash
from emoclip_clinical.features.description import (
    all_versions,
    describe_run,
    describe_source,
    describe_tables,
    file_state,
    package_versions,
)
from emoclip_clinical.features.encoding import EncodingStopped, FrameEncoder, rows_are_independent
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.layout import (
    InterviewSummary,
    embeddings_schema,
    segments_schema,
)
from emoclip_clinical.features.outcomes import InterviewOutcome, outcome_of
from emoclip_clinical.features.pooled_parts import Pooler
from emoclip_clinical.features.precision import PrecisionChoice
from emoclip_clinical.features.reading import SecondsDone, read_interview
from emoclip_clinical.features.reading_results import InterviewReading, failed_reading
from emoclip_clinical.features.reading_settings import (
    ReadingSettings,
    reading_settings,
    segment_grid,
)
from emoclip_clinical.features.same_recordings import same_recordings
from emoclip_clinical.features.scores import encode_prompt_sets, score_columns
from emoclip_clinical.features.store import PART_TABLES, PartCard, PartStore
from emoclip_clinical.features.unforeseen import unforeseen_reason
from emoclip_clinical.file_hashes import FileHashes
from emoclip_clinical.records import InputError, InterviewKey, Progress, PromptSet

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder

_SHORTEST_SHOWN_SECONDS = 300.0
_PROGRESS_STEPS = 50


@dataclass(frozen=True)
class RunSetup:
    """What an extraction is made of, and what another process needs to take part in it.

    Attributes
    ----------
    config : ExtractionConfig
        How, with absolute paths.
    prompt_sets : tuple of PromptSet
        What to score.
    folder : Path
        The features folder.
    precision : PrecisionChoice
        What the image tower computes with.
    hash_memory : Path or None
        See `FileHashes`.
    """

    config: ExtractionConfig
    prompt_sets: tuple[PromptSet, ...]
    folder: Path
    precision: PrecisionChoice
    hash_memory: Path | None = None


@contextmanager
def extraction_run(
    setup: RunSetup, *, embedders: Sequence[Embedder], workers: int
) -> Iterator[ExtractionRun]:
    """Start the threads that encode, and stop them at the end.

    Parameters
    ----------
    setup : RunSetup
        What to do.
    embedders : sequence of Embedder
        The same model on each device that is to be used.
    workers : int
        Interviews that are read at the same time.

    Yields
    ------
    ExtractionRun
        Ready to read.
    """
    with each_thread_alone(), _memory_told(setup.config):
        ready = [
            embedder.variant(
                precision=setup.precision.precision, compiled=setup.config.compile_model
            )
            for embedder in embedders
        ]
        batch_frames = setup.config.batch_frames
        encoder = FrameEncoder(
            ready,
            batch_frames=batch_frames,
            threads_per_embedder=ready[0].batches_at_once,
            n_lanes=workers,
            # One interview at a time never shares a batch, and needs no check.
            shared_batches=workers > 1
            and all(rows_are_independent(e, batch_frames=batch_frames) for e in ready),
        )
        run = ExtractionRun(setup, embedder=ready[0], encoder=encoder)
        with encoder:
            yield run


@contextmanager
def _memory_told(config: ExtractionConfig) -> Iterator[None]:
    """Say what to set where a device's memory is too small."""
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        raise InputError(
            f"the device has too little memory for extraction.batch_frames={config.batch_frames}: "
            "set it lower; interviews that are finished are kept"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    # torch's class, and torch is not loaded here.
    return type(error).__name__ == "OutOfMemoryError"


class ExtractionRun:
    """Reads interviews into a features folder.

    Parameters
    ----------
    setup : RunSetup
        What to do.
    embedder : Embedder
        The model, in the chosen precision.
    encoder : FrameEncoder
        Its threads, started.
    """

    def __init__(self, setup: RunSetup, *, embedder: Embedder, encoder: FrameEncoder) -> None:
        config = setup.config
        self.store = PartStore(setup.folder)
        self.hashes = FileHashes(setup.hash_memory)
        self._setup = setup
        self._embedder = embedder
        self._encoder = encoder
        self._settings = _reading_settings(embedder, config, setup.prompt_sets)
        self._description = describe_run(embedder, config, setup.prompt_sets, self._settings.grid)
        self._settings_hash = canonical_hash(self._description)
        self._pooler = Pooler(
            self._settings.prompts, embedder.embedding_width, config.pooling, config.pooling_weights
        )
        self.warnings: list[str] = []
        if self._settings.grid.slots_per_window > embedder.frames_per_clip:
            self.warnings.append(
                f"segments hold {self._settings.grid.slots_per_window} frames, but the model was "
                f"trained on clips of at most {embedder.frames_per_clip}"
            )

    def prepare(self, interviews: Sequence[Interview]) -> None:
        """Refuse interviews whose boxes or reference pictures are missing, before any video."""
        if self._settings.faces is not None:
            faces = self._settings.faces.prepared(
                interviews, fetch_weights=self._setup.config.fetch_weights
            )
            self._settings = replace(self._settings, faces=faces)

    def outcomes(
        self,
        interviews: Sequence[Interview],
        *,
        overwrite: bool,
        workers: int,
        progress: Progress,
    ) -> Iterator[InterviewOutcome]:
        """Yield an outcome for each interview, in the order in which they end."""
        if workers == 1:
            for interview in interviews:
                yield self.outcome(interview, overwrite=overwrite, progress=progress)
            return
        pool = ThreadPoolExecutor(max_workers=workers)
        try:
            waiting: list[Future[InterviewOutcome]] = [
                pool.submit(self.outcome, interview, overwrite=overwrite, progress=progress)
                for interview in interviews
            ]
            for future in as_completed(waiting):
                yield future.result()
        except BaseException:
            # After an error or an interruption no interview is read to its end.
            self._encoder.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def outcome(
        self, interview: Interview, *, overwrite: bool, progress: Progress
    ) -> InterviewOutcome:
        """Read one interview and write its part, or keep the part that is there."""
        card = self.finished(interview)
        kept = card is not None and not card.read_again and not overwrite
        if card is None or not kept:
            state, source = file_state(interview.path), self._source(interview)
            reading = self._reading(interview, progress=progress)
            changed = file_state(interview.path) != state and self._source(interview) != source
            card = PartCard(
                key=interview.key,
                settings_hash=self._settings_hash,
                source=source,
                summary=_changed_summary(reading.summary) if changed else reading.summary,
                read_again=reading.read_again or changed,
                versions=package_versions(),
            )
            self.store.write(card, reading)
        return outcome_of(card, kept=kept)

    def _reading(self, interview: Interview, *, progress: Progress) -> InterviewReading:
        try:
            return read_interview(
                interview,
                embedder=self._embedder,
                settings=self._settings,
                lane=self._encoder.lane(),
                seconds_done=_seconds_done(interview.key, progress),
            )
        except (EncodingStopped, InputError, BrokenPipeError):
            # The run is over, its settings are wrong, or nobody hears its progress any more.
            raise
        except Exception as error:
            if self._encoder.failed or _is_out_of_memory(error):
                raise
            return failed_reading(
                interview,
                reason=unforeseen_reason(error),
                embedder=self._embedder,
                settings=self._settings,
            )

    def outcomes_of_parts(self, interviews: Sequence[Interview]) -> list[InterviewOutcome]:
        """Return the outcomes of interviews that other processes read.

        Raises
        ------
        InputError
            Naming every interview that has no part with these settings and this video.
        """
        cards = {interview.key: self.finished(interview) for interview in interviews}
        missing = [key.name for key, card in cards.items() if card is None]
        if missing:
            raise InputError(
                f"{name}: not extracted by any shard with these settings, this model and this video"
                for name in missing
            )
        return [outcome_of(card, kept=True) for card in cards.values() if card is not None]

    def finished(self, interview: Interview) -> PartCard | None:
        """Return the card of a part with these settings and this video; None where there is none.

        Such a part may be one of an interview that failed.
        """
        card = self.store.read_card(interview.key)
        if card is None or card.settings_hash != self._settings_hash:
            return None
        return card if card.source == self._source(interview) else None

    def merge(self, interviews: Sequence[Interview]) -> list[str]:
        """Write the tables from all parts with these settings; return warnings."""
        cards = self.store.cards()
        same = [card for card in cards if card.settings_hash == self._settings_hash]
        names = self._pooler.names
        self.store.merge(
            same,
            segments_schema=segments_schema(score_columns(self._settings.prompts)),
            embeddings_schema=embeddings_schema(self._embedder.embedding_width),
            pooled_names=names,
            pooled=[self._pooled(card) for card in same],
            description=self._features_json(same, names),
        )
        left_out = [card.key.name for card in cards if card.settings_hash != self._settings_hash]
        twice = same_recordings(_input_entry(card) for card in same)
        warnings = [*twice.of_two, *twice.of_one]
        if left_out:
            warnings.append(
                "not in the tables, because they were made with other settings or another model "
                f"(extract them again): {', '.join(left_out)}"
            )
        return [*warnings, *self._earlier(same, interviews), *_mixed_versions(same)]

    def _pooled(self, card: PartCard) -> dict[str, float | None]:
        tables = (self.store.table(card.key, name) for name in PART_TABLES)
        return self._pooler.pool(*tables)

    def _earlier(self, cards: Sequence[PartCard], interviews: Sequence[Interview]) -> list[str]:
        """Name the interviews of the tables that this run was not asked for."""
        asked = {interview.key for interview in interviews}
        earlier = [card for card in cards if card.key not in asked]
        others = [card for card in earlier if not self._same_patient_rule(card)]
        alike = [card for card in earlier if card not in others]
        warnings = []
        if alike:
            warnings.append(
                "in the tables from an earlier run with the same settings: "
                f"{', '.join(card.key.name for card in alike)}"
            )
        if others:
            told = ", ".join(f"{card.key.name} ({card.source['patient']})" for card in others)
            warnings.append(
                "in the tables from an earlier run with another rule for the patient than "
                f"{self._setup.config.patient} (extract them again, unless the rule was theirs): "
                f"{told}"
            )
        return warnings

    def _same_patient_rule(self, card: PartCard) -> bool:
        faces = self._settings.faces
        return faces is None or card.source.get("patient") == faces.rule.text

    def _features_json(self, cards: Sequence[PartCard], names: Sequence[str]) -> dict[str, object]:
        return {
            **self._description,
            # Beside the settings and not among them: none of these changes a part.
            "precision_check": self._setup.precision.to_json(),
            **describe_tables(
                self._embedder,
                self._setup.config,
                run=self._description,
                pooled_names=names,
                versions=[card.versions for card in cards],
            ),
            "inputs": [_input_entry(card) for card in cards],
        }

    def _source(self, interview: Interview) -> dict[str, object]:
        faces = self._settings.faces
        return {
            **describe_source(interview, hashes=self.hashes),
            **({} if faces is None else faces.sources(interview)),
        }


def _input_entry(card: PartCard) -> dict[str, object]:
    """Return what ``features.json`` says of an interview's video."""
    entry = {"interview": card.key.name, **card.source}
    if card.summary.patient_track is not None:
        entry["patient_track"] = card.summary.patient_track
    return entry


def _changed_summary(summary: InterviewSummary) -> InterviewSummary:
    """Say that what was read may be of two files."""
    reasons = [summary.reason] if summary.reason else []
    return replace(
        summary,
        status="failed" if summary.status == "failed" else "partial",
        reason="; ".join([*reasons, "the file changed while it was read"]),
    )


def _mixed_versions(cards: Sequence[PartCard]) -> list[str]:
    mixed = [
        f"{package} {versions}"
        for package, versions in all_versions([card.versions for card in cards]).items()
        if ", " in versions
    ]
    if not mixed:
        return []
    return [
        "the tables hold interviews made with different versions (extract --overwrite makes all "
        f"alike): {'; '.join(mixed)}"
    ]


def _seconds_done(key: InterviewKey, progress: Progress) -> SecondsDone:
    """Report how far a long interview is, a few times over its length."""
    shown = 0

    def report(done: float, total: float) -> None:
        nonlocal shown
        step = int(done * _PROGRESS_STEPS / total) if total >= _SHORTEST_SHOWN_SECONDS else 0
        # A video that is read a second time goes on where the first reading ended.
        if step > shown:
            shown = step
            progress(f"{key.name} (seconds)", min(round(done), int(total)), int(total))

    return report


def _reading_settings(
    embedder: Embedder, config: ExtractionConfig, prompt_sets: Sequence[PromptSet]
) -> ReadingSettings:
    grid = segment_grid(config, model=embedder)
    # A window that is too long for the model is refused now, not after the first video.
    embedder.encode_sequences(
        np.ones((1, grid.slots_per_window, embedder.embedding_width), dtype=np.float32),
        np.ones((1, grid.slots_per_window), dtype=bool),
    )
    return reading_settings(config, grid=grid, prompts=encode_prompt_sets(embedder, prompt_sets))
