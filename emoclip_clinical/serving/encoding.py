"""The model of a server: what many requests ask of it, encoded together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from emoclip_clinical.core.embedder import Embedder, combine_prompts
from emoclip_clinical.core.threads import each_thread_alone, usable_cores
from emoclip_clinical.features.scores import PromptVectors, named_vectors
from emoclip_clinical.records import PromptSet
from emoclip_clinical.serving.batching import (
    Batcher,
    BatchingStopped,
    BatchLog,
    QueueFullError,
    Room,
)
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.model_kinds import PICTURES, SEQUENCES, TEXTS, model_kinds
from emoclip_clinical.serving.problems import Problem, shortened

__all__ = ["PICTURES", "SEQUENCES", "TEXTS", "ServedModel"]

_PREPARED_AT_ONCE = 16
_MOST_PREPARING_THREADS = 4

T = TypeVar("T")


class ServedModel:
    """A model behind its queues, to be entered as a context.

    On a CPU there are as many encoding threads as cores, each with a batch of its own and alone
    in it: they need not wait for one another after every layer, and what an item becomes does
    not depend on the number of cores. A GPU has two, so that one batch is copied while the other
    is computed.

    Parameters
    ----------
    embedder : Embedder
        The model; with its `batch_frames` no smaller than the batches of `config`.
    config : ServingConfig
        Sizes of batches and queues.
    log : BatchLog, optional
        Hears of every batch.

    Attributes
    ----------
    embedder : Embedder
        For its facts and for `prepare`; nobody else lets it encode.
    name, model_hash : str
        Which model.
    temperature : float
        As the embedder's, which is asked for once.
    """

    def __init__(
        self, embedder: Embedder, *, config: ServingConfig, log: BatchLog | None = None
    ) -> None:
        self.embedder = embedder
        self.name = embedder.config.name
        self.model_hash = embedder.model_hash
        self.temperature = embedder.temperature
        self._config = config
        self._batcher = Batcher(
            model_kinds(embedder, config),
            max_delay_seconds=config.max_delay_seconds,
            n_threads=embedder.batches_at_once,
            log=log,
        )
        self._preparing = ThreadPoolExecutor(
            min(usable_cores(), _MOST_PREPARING_THREADS), thread_name_prefix="prepare"
        )
        self._open = ExitStack()

    def __enter__(self) -> ServedModel:
        """Start the threads."""
        self._open.enter_context(each_thread_alone())
        self._open.enter_context(self._batcher)
        self._open.callback(self._preparing.shutdown, cancel_futures=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up what waits, and stop the threads."""
        self._open.close()

    @property
    def about(self) -> dict[str, object]:
        """Which model it is, for answers."""
        return {"name": self.name, "hash": self.model_hash}

    @property
    def is_alive(self) -> bool:
        """Whether all encoding threads are there."""
        return self._batcher.n_alive() == self.embedder.batches_at_once

    def n_waiting(self, kind: str) -> int:
        """Return how many `PICTURES`, `TEXTS` or `SEQUENCES` wait."""
        return self._batcher.n_waiting(kind)

    async def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts; as `Embedder.encode_text`.

        Returns
        -------
        float32 ndarray of shape (n, d)
            L2-normalised.

        Raises
        ------
        Problem
            422 without a text tower, and for texts that are too long; else as `encode_frames`.
        """
        self.require_text_tower()
        longest = self._config.max_text_characters
        if too_long := [i for i, text in enumerate(texts) if len(text) > longest]:
            faults = [
                f"text {i}: at most {longest} characters were wanted, got {len(texts[i])}"
                for i in too_long
            ]
            raise Problem(422, shortened(faults))
        if not texts:
            return self._nothing()
        return await self._text_vectors(texts)

    async def encode_frames(self, frames: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Encode pictures; as `Embedder.encode_frames`.

        Parameters
        ----------
        frames : uint8 ndarray of shape (n, height, width, 3), or a sequence of (h_i, w_i, 3)
            RGB.

        Returns
        -------
        float32 ndarray of shape (n, d)
            Frame vectors, not normalised.

        Raises
        ------
        InputError
            For another type or shape.
        Problem
            413 for more than may ever wait; 429 where there is no room; 503 at the server's end;
            504 where they were not encoded in time.
        """
        if len(frames) == 0:
            return self._nothing()
        async with self._room(PICTURES, len(frames)) as room:
            return await self._frame_vectors(frames, room)

    async def encode_clips(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Embed clips; as `Embedder.encode_clips`.

        Parameters
        ----------
        clips : sequence of uint8 ndarray of shape (t_i, height_i, width_i, 3)
            RGB frames, sampled at the model's rate.

        Returns
        -------
        float32 ndarray of shape (n, d)
            L2-normalised.

        Raises
        ------
        InputError
            Listing every clip of another type or shape, without a frame, or too long.
        Problem
            As `encode_frames`.
        """
        if len(clips) == 0:
            return self._nothing()
        self.embedder.check_clips(clips)
        frames = [frame for clip in clips for frame in clip]
        async with (
            self._room(PICTURES, len(frames)) as room,
            self._room(SEQUENCES, len(clips)) as places,
        ):
            vectors = await self._frame_vectors(frames, room)
            ends = np.cumsum([len(clip) for clip in clips])
            sequences = np.split(vectors, ends[:-1])
            return await _result(places.put([(v, np.ones(len(v), dtype=bool)) for v in sequences]))

    async def encode_prompts(self, prompts: PromptSet) -> tuple[PromptVectors, ...]:
        """Encode the classes of a prompt set; as `features.scores.encode_prompt_sets`.

        Raises
        ------
        Problem
            As `encode_texts`.
        """
        sentences = [text for texts in prompts.classes.values() for text in texts]
        return await self._prompt_vectors(prompts, await self.encode_texts(sentences))

    async def encode_loaded_prompts(self, prompts: PromptSet) -> tuple[PromptVectors, ...]:
        """Encode a prompt set of the server's, whatever a client may send; as `encode_prompts`.

        Raises
        ------
        Problem
            422 without a text tower; 429, 503 and 504 as `encode_frames`.
        """
        self.require_text_tower()
        sentences = [text for texts in prompts.classes.values() for text in texts]
        step = self._config.max_waiting_texts
        parts = [sentences[i : i + step] for i in range(0, len(sentences), step)]
        vectors = np.concatenate([await self._text_vectors(part) for part in parts])
        return await self._prompt_vectors(prompts, vectors)

    async def _text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        async with self._room(TEXTS, len(texts)) as room:
            return await _result(room.put(list(texts)))

    async def _prompt_vectors(
        self, prompts: PromptSet, vectors: np.ndarray
    ) -> tuple[PromptVectors, ...]:
        """Return what the vectors of all sentences of a set make."""
        ends = np.cumsum([len(texts) for texts in prompts.classes.values()])
        groups = dict(zip(prompts.classes, np.split(vectors, ends[:-1]), strict=True))
        return named_vectors(prompts, *await asyncio.to_thread(combine_prompts, prompts, groups))

    def submit_pictures(self, pictures: np.ndarray) -> Future[np.ndarray]:
        """Hand in prepared pictures, for threads: wait for room, but not for the vectors.

        Parameters
        ----------
        pictures : uint8 ndarray of shape (n, 3, s, s)
            From `Embedder.prepare`; not written to until the future is done.

        Returns
        -------
        Future of float32 ndarray of shape (n, d)
            Frame vectors, not normalised.

        Raises
        ------
        BatchingStopped
            If the server ends; the future's error, too, where it ends later.
        """
        with self._batcher.wait_for_room(PICTURES, len(pictures)) as room:
            return room.put(pictures)

    def submit_sequences(self, vectors: np.ndarray, valid: np.ndarray) -> Future[np.ndarray]:
        """Hand in sequences of frame vectors, for threads; as `submit_pictures`.

        Parameters
        ----------
        vectors : float32 ndarray of shape (n, t, d)
            Frame vectors.
        valid : bool ndarray of shape (n, t)
            False at padding and at missing frames; at least one True a row.

        Returns
        -------
        Future of float32 ndarray of shape (n, d)
            L2-normalised.
        """
        with self._batcher.wait_for_room(SEQUENCES, len(vectors)) as room:
            return room.put(list(zip(vectors, valid, strict=True)))

    def require_text_tower(self) -> None:
        """Refuse texts and scores where the model can not embed texts.

        Raises
        ------
        Problem
            422.
        """
        if not self.embedder.has_text_tower:
            raise Problem(
                422,
                f"the model {self.name} has no text tower: it embeds clips, but neither embeds "
                "texts nor scores clips against them",
            )

    def _nothing(self) -> np.ndarray:
        return np.empty((0, self.embedder.embedding_width), dtype=np.float32)

    @asynccontextmanager
    async def _room(self, kind: str, n_items: int) -> AsyncIterator[Room]:
        """Keep room for a request, whose time runs from here on."""
        most = self._config.max_waiting_texts if kind == TEXTS else self._config.max_waiting_frames
        if n_items > most:
            raise Problem(413, f"a request may hold at most {most} {kind}, got {n_items}")
        try:
            with self._batcher.room(kind, n_items) as room:
                async with asyncio.timeout(self._config.request_seconds):
                    yield room
        except QueueFullError as error:
            raise Problem(
                429,
                f"too many {kind} are waiting to be encoded",
                retry_after_seconds=error.retry_after_seconds,
            ) from None
        except TimeoutError:
            raise Problem(
                504,
                f"the {kind} were not encoded within {self._config.request_seconds:g} s",
            ) from None
        except BatchingStopped:
            raise Problem(503, "the server is ending", retry_after_seconds=10) from None

    async def _frame_vectors(
        self, frames: Sequence[np.ndarray] | np.ndarray, room: Room
    ) -> np.ndarray:
        waiting: list[Future[np.ndarray]] = []
        try:
            for start in range(0, len(frames), _PREPARED_AT_ONCE):
                part = frames[start : start + _PREPARED_AT_ONCE]
                waiting.append(room.put(await self.in_thread(partial(self._prepared, part))))
            return np.concatenate([await _result(future) for future in waiting])
        finally:
            for future in waiting:
                future.cancel()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do a piece of work of milliseconds in one of the few threads that prepare pictures."""
        return await asyncio.get_running_loop().run_in_executor(self._preparing, work)

    def _prepared(self, frames: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        side = self.embedder.image_size_pixels
        out = np.empty((len(frames), 3, side, side), dtype=np.uint8)
        for picture, frame in zip(out, frames, strict=True):
            picture[:] = self.embedder.prepare(frame)
        return out


async def _result(future: Future[Any]) -> np.ndarray:
    rows: np.ndarray = await asyncio.wrap_future(future)
    return rows
