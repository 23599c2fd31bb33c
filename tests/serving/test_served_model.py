"""The served model against the model itself, with many askers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from emoclip_clinical.core.embedder import Embedder, load_model, pad_sequences
from emoclip_clinical.features.prompt_sets import load_prompt_set
from emoclip_clinical.features.scores import encode_prompt_sets
from emoclip_clinical.records import InputError, PromptSet
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.door import Door
from emoclip_clinical.serving.encoding import PICTURES, SEQUENCES, TEXTS, ServedModel
from emoclip_clinical.serving.problems import Problem

NEAR = {"rtol": 0, "atol": 1e-6}


def pictures(n: int, *, seed: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def test_frames_clips_and_texts_asked_for_together_each_get_their_own(
    door: Door, embedder: Embedder
) -> None:
    rng = np.random.default_rng(1)
    frames = [pictures(n, seed=n, side=48 + n) for n in range(1, 41, 3)]
    clips = [
        [pictures(int(t), seed=100 * i + j, side=40 + i) for j, t in enumerate(lengths)]
        for i, lengths in enumerate(rng.integers(1, 39, (8, 3)))
    ]
    texts = [[f"text {i} of {n}" for i in range(n)] for n in (1, 5, 70)]

    async def ask() -> list[np.ndarray]:
        return await asyncio.gather(
            *(door.model.encode_frames(f) for f in frames),
            *(door.model.encode_clips(c) for c in clips),
            *(door.model.encode_texts(t) for t in texts),
        )

    expected = [
        *map(embedder.encode_frames, frames),
        *map(embedder.encode_clips, clips),
        *map(embedder.encode_text, texts),
    ]
    for got, wanted in zip(run(ask()), expected, strict=True):
        np.testing.assert_allclose(got, wanted, **NEAR)
    assert [door.model.n_waiting(kind) for kind in (PICTURES, SEQUENCES, TEXTS)] == [0, 0, 0]


def test_threads_hand_in_what_is_prepared(door: Door, embedder: Embedder) -> None:
    prepared = [
        np.stack([embedder.prepare(picture) for picture in pictures(n, seed=n)])
        for n in range(1, 20)
    ]

    def read(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        vectors = door.model.submit_pictures(part).result(timeout=30)
        padded, valid = pad_sequences([vectors, vectors[:1]])
        valid[0, :-1] = len(part) == 1  # missing frames, too
        return vectors, door.model.submit_sequences(padded, valid).result(timeout=30)

    with ThreadPoolExecutor(8) as readers:
        answers = list(readers.map(read, prepared))
    for part, (vectors, embeddings) in zip(prepared, answers, strict=True):
        np.testing.assert_allclose(vectors, embedder.encode_prepared(part), **NEAR)
        padded, valid = pad_sequences([vectors, vectors[:1]])
        valid[0, :-1] = len(part) == 1
        np.testing.assert_allclose(embeddings, embedder.encode_sequences(padded, valid), **NEAR)


def test_prompts_are_encoded_as_extract_does(door: Door, embedder: Embedder) -> None:
    prompts = load_prompt_set("mafw_compounds")
    wanted = encode_prompt_sets(embedder, [prompts])
    for got, expected in zip(run(door.model.encode_prompts(prompts)), wanted, strict=True):
        assert (got.name, got.classes) == (expected.name, expected.classes)
        np.testing.assert_allclose(got.vectors, expected.vectors, **NEAR)


def test_limits_on_clients_texts_do_not_hold_for_the_servers_own(
    open_door: Callable[..., Door], embedder: Embedder
) -> None:
    door = open_door(max_waiting_texts=4, max_texts=1, max_text_characters=5)
    for name in ("basic_seven", "mafw_compounds"):
        wanted = encode_prompt_sets(embedder, [load_prompt_set(name)])
        for got, expected in zip(run(door.prompts.vectors(name)), wanted, strict=True):
            assert (got.name, got.classes) == (expected.name, expected.classes)
            np.testing.assert_allclose(got.vectors, expected.vectors, **NEAR)
    with pytest.raises(Problem, match="at most 5 characters"):
        run(door.model.encode_prompts(load_prompt_set("basic_seven")))


def test_nothing_is_nothing(door: Door) -> None:
    assert run(door.model.encode_frames(pictures(0, seed=0))).shape == (0, 32)
    assert run(door.model.encode_clips([])).shape == (0, 32)
    assert run(door.model.encode_texts([])).shape == (0, 32)


def test_every_wrong_clip_is_listed(door: Door) -> None:
    clips = [
        np.zeros((0, 8, 8, 3), np.uint8),
        pictures(2, seed=0),
        np.zeros((40, 8, 8, 3), np.uint8),
    ]
    with pytest.raises(InputError) as refused:
        run(door.model.encode_clips(clips))
    assert len(refused.value.faults) == 2
    assert door.model.n_waiting(PICTURES) == 0


def test_frames_of_another_type_give_their_room_back(door: Door) -> None:
    with pytest.raises(InputError, match="uint8"):
        run(door.model.encode_frames(np.zeros((20, 8, 8, 3), np.float32)))
    assert door.model.n_waiting(PICTURES) == 0


def test_more_than_may_ever_wait_is_refused(open_door: Callable[..., Door]) -> None:
    door = open_door(max_waiting_frames=10)
    with pytest.raises(Problem) as refused:
        run(door.model.encode_frames(pictures(11, seed=0)))
    assert refused.value.status == 413


class Slow:
    """An embedder whose image tower takes its time."""

    def __init__(self, embedder: Embedder, *, seconds: float) -> None:
        self._embedder = embedder
        self._seconds = seconds
        self.n_encoded = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def encode_prepared(self, frames: np.ndarray) -> np.ndarray:
        import time

        time.sleep(self._seconds)
        self.n_encoded += len(frames)
        return self._embedder.encode_prepared(frames)


@pytest.fixture
def slow(model_folder) -> Slow:
    return Slow(load_model(model_folder, device="cpu"), seconds=0.2)


def test_a_full_queue_is_429_and_says_when_to_come_again(slow: Slow) -> None:
    config = ServingConfig(max_waiting_frames=8, max_batch_frames=4)

    async def ask(model: ServedModel) -> list[Any]:
        return await asyncio.gather(
            *(model.encode_frames(pictures(4, seed=i)) for i in range(6)), return_exceptions=True
        )

    with ServedModel(slow, config=config) as model:
        answers = run(ask(model))
        refused = [answer for answer in answers if isinstance(answer, Problem)]
        assert len(refused) == 4
        assert {problem.status for problem in refused} == {429}
        assert all(int(problem.headers["Retry-After"]) >= 1 for problem in refused)
        # Those that were let in are answered, and there is room again.
        assert run(model.encode_frames(pictures(8, seed=0))).shape == (8, 32)


def test_what_takes_too_long_is_504_and_is_not_encoded(slow: Slow) -> None:
    config = ServingConfig(max_batch_frames=1, request_seconds=0.5)
    with ServedModel(slow, config=config) as model:
        with pytest.raises(Problem) as late:
            run(model.encode_frames(pictures(100, seed=0)))
        assert late.value.status == 504
        assert model.n_waiting(PICTURES) == 0
    assert slow.n_encoded < 20


def test_who_goes_away_is_not_encoded(slow: Slow) -> None:
    async def leave(model: ServedModel) -> np.ndarray:
        asked = asyncio.create_task(model.encode_frames(pictures(100, seed=0)))
        await asyncio.sleep(0.3)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert model.n_waiting(PICTURES) == 0
        return await model.encode_frames(pictures(1, seed=1))

    with ServedModel(slow, config=ServingConfig(max_batch_frames=1)) as model:
        run(leave(model))
    assert slow.n_encoded < 20


def test_a_model_without_text_tower_says_so(slow: Slow) -> None:
    slow.has_text_tower = False  # type: ignore[attr-defined]
    two = PromptSet("two", {"one": ("1",), "two": ("2",)})
    with ServedModel(slow, config=ServingConfig()) as model:
        for work in (model.encode_texts(["a"]), model.encode_prompts(two)):
            with pytest.raises(Problem) as refused:
                run(work)
            assert refused.value.status == 422
            assert "no text tower" in refused.value.faults[0]


def test_threads_are_alive_until_the_end(open_door: Callable[..., Door]) -> None:
    door = open_door()
    assert door.model.is_alive
    door.model.__exit__(None, None, None)
    assert not door.model.is_alive
