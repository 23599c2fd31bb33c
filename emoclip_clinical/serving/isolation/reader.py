"""VideoReader: reads one uploaded file in a process of its own, and outlives whatever it holds."""

from __future__ import annotations

import asyncio
import contextlib
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pyarrow as pa

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.reading import SecondsDone, no_seconds
from emoclip_clinical.features.reading_results import InterviewReading
from emoclip_clinical.features.reading_settings import segment_grid
from emoclip_clinical.features.scores import PromptVectors
from emoclip_clinical.features.segments import Grid
from emoclip_clinical.records import InputError
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.encoding import ServedModel
from emoclip_clinical.serving.isolation.limits import ProcessLimits
from emoclip_clinical.serving.isolation.orders import MOST_SEGMENTS, ModelFacts, VideoOrder
from emoclip_clinical.serving.isolation.processes import ForkServer, ForkServerError
from emoclip_clinical.serving.isolation.sessions import TableSession, VideoSession
from emoclip_clinical.serving.isolation.talks import OpenFile, Talk
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.score_limits import most_rows

_MOST_WINDOW_FRAMES = 4096
_TABLE_SECONDS = 30.0
_TABLES_AT_ONCE = 2
_CPU_SECONDS_PER_SECOND = 2
"""Decoding and the rest of the reading are two threads."""

T = TypeVar("T")


class VideoReader:
    """Reads what was uploaded, each file in a process of its own.

    Parameters
    ----------
    model : ServedModel
        Where pictures become vectors.
    config : ServingConfig
        Limits.
    """

    def __init__(self, model: ServedModel, *, config: ServingConfig) -> None:
        self._model = model
        self._config = config
        self._forks = ForkServer()
        self._videos = ThreadPoolExecutor(config.decoders, thread_name_prefix="video")
        self._tables = ThreadPoolExecutor(_TABLES_AT_ONCE, thread_name_prefix="table")
        self._talks: set[Talk[Any]] = set()

    def ready(self) -> None:
        """Wait until a video can be read without waiting for libraries.

        Raises
        ------
        InputError
            If they can not be loaded.
        """
        try:
            self._forks.ready()
        except ForkServerError as error:
            raise InputError(str(error)) from None

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Processes that read a file now."""
        return self._forks.process_ids()

    def check(self, extraction: ExtractionConfig) -> Grid:
        """Refuse settings with which an uploaded video can not be read.

        Parameters
        ----------
        extraction : ExtractionConfig
            How.

        Returns
        -------
        Grid
            Where its segments begin and end.

        Raises
        ------
        InputError
            Listing every fault.
        """
        faults = []
        if extraction.face == "precomputed":
            faults.append("face 'precomputed' is not there for videos that are uploaded")
        if extraction.patient == "reference":
            faults.append("patient 'reference' is not there for videos that are uploaded")
        embedder = self._model.embedder
        try:
            grid = segment_grid(extraction, model=embedder)
        except InputError as error:
            raise InputError([*faults, *error.faults]) from None
        most = min(embedder.longest_clip_frames or _MOST_WINDOW_FRAMES, _MOST_WINDOW_FRAMES)
        if grid.slots_per_window > most:
            faults.append(
                f"a segment may have at most {most} sampled frames, got {grid.slots_per_window}: "
                "ask for a shorter window_seconds or a lower sample_fps"
            )
        if faults:
            raise InputError(faults)
        return grid

    async def read(
        self,
        file: OpenFile,
        *,
        extraction: ExtractionConfig,
        prompts: tuple[PromptVectors, ...],
        progress: SecondsDone = no_seconds,
    ) -> InterviewReading:
        """Read a video as `extract` does.

        Parameters
        ----------
        file : OpenFile
            The video; must stay open until this returns.
        extraction : ExtractionConfig
            How, with absolute paths.
        prompts : tuple of PromptVectors
            What to score.
        progress : SecondsDone
            Called from another thread, a few times a second.

        Returns
        -------
        InterviewReading
            Its key is the same for all.

        Raises
        ------
        Problem
            422 where the file can not be read or its process died twice; 413 where it is too
            long, or has too many scores; 503 at the server's end; 504 where it takes too long.
        InputError
            As `check`.
        """
        order = self._order(extraction, prompts)

        def session() -> VideoSession:
            return VideoSession(
                order,
                limits=self._limits(self._config.decoder_seconds),
                encoding=self._model,
                progress=progress,
            )

        seconds = self._config.decoder_seconds
        talk = Talk(self._forks, file, session, seconds=seconds, what="the video")
        reading = await self._in_thread(self._videos, talk)
        if reading.summary.status == "failed":
            raise Problem(422, f"the video can not be read: {reading.summary.reason}")
        return reading

    async def read_table(self, file: OpenFile, *, most_rows: int) -> pa.Table:
        """Read an Arrow stream.

        Parameters
        ----------
        file : OpenFile
            The stream.
        most_rows : int
            Rows that it may have; it is read no further.

        Returns
        -------
        pyarrow.Table
            Columns of float32, float64, int64, string or bool, or lists of one length of float32
            or float64, without those of other types; metadata as in the stream.

        Raises
        ------
        Problem
            422 where it is no sound stream, listing what is wrong; 413 where it is too large;
            503 and 504 as `read`.
        """
        limits = self._limits(_TABLE_SECONDS)
        talk = Talk(
            self._forks,
            file,
            lambda: TableSession(limits=limits, most_rows=most_rows),
            seconds=_TABLE_SECONDS,
            what="the table",
        )
        seconds = self._config.request_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._in_thread(self._tables, talk)
        except TimeoutError:
            raise Problem(504, f"the table was not read within {seconds:g} s") from None

    def close(self) -> None:
        """End every process; who waits for one gets a `Problem`."""
        for talk in list(self._talks):
            talk.stop()
        for pool in (self._videos, self._tables):
            pool.shutdown(cancel_futures=True)
        self._forks.close()

    def _order(
        self, extraction: ExtractionConfig, prompts: tuple[PromptVectors, ...]
    ) -> VideoOrder:
        embedder = self._model.embedder
        return VideoOrder(
            extraction=extraction,
            grid=self.check(extraction),
            prompts=prompts,
            model=ModelFacts(
                embedding_width=embedder.embedding_width,
                image_size_pixels=embedder.image_size_pixels,
                temperature=self._model.temperature,
                resize=embedder.resize,
            ),
            batch_frames=self._config.max_batch_frames,
            most_seconds=self._config.max_video_seconds,
            most_segments=min(MOST_SEGMENTS, most_rows(prompts, config=self._config)),
        )

    def _limits(self, seconds: float) -> ProcessLimits:
        return ProcessLimits(
            memory_mib=self._config.decoder_mib,
            cpu_seconds=math.ceil(seconds * _CPU_SECONDS_PER_SECOND),
        )

    async def _in_thread(self, pool: ThreadPoolExecutor, talk: Talk[T]) -> T:
        """Run a talk; where the one who waits is cancelled, end it first."""
        future = pool.submit(talk.run)
        self._talks.add(talk)
        ended = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            if not future.cancel():
                talk.stop()
            while not ended.done():
                # The process reads from a file that is closed once this returns.
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([ended])
            if not ended.cancelled():
                ended.exception()
            raise
        finally:
            self._talks.discard(talk)
