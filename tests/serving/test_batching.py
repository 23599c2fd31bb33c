"""Batches: whatever is asked by whom and when, everyone gets what one alone would get."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoclip_clinical.serving.batching import Batcher, BatchingStopped, Kind, QueueFullError


def tripled(parts: list[list[int]]) -> np.ndarray:
    """An encoder whose answer says which item it is of."""
    return np.array([[3 * item, item] for part in parts for item in part], dtype=np.int64)


class Recorder:
    """An encoder that keeps its batches, and waits at a gate."""

    def __init__(self, encode: Callable[[list[list[int]]], np.ndarray] = tripled) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self._encode = encode

    def __call__(self, parts: list[list[int]]) -> np.ndarray:
        self.entered.release()
        self.gate.wait(10)
        self.batches.append([item for part in parts for item in part])
        return self._encode(parts)


@contextmanager
def batcher_of(
    encode: Callable[[list[list[int]]], np.ndarray],
    *,
    max_batch: int = 8,
    max_waiting: int = 10_000,
    delay: float = 0.002,
    threads: int = 1,
    share: int | None = None,
) -> Iterator[Batcher]:
    kind = Kind("numbers", encode, max_batch, max_waiting, share or max_batch)
    with Batcher([kind], max_delay_seconds=delay, n_threads=threads) as batcher:
        yield batcher


def put(batcher: Batcher, items: list[int]) -> Future[np.ndarray]:
    with batcher.room("numbers", len(items)) as room:
        return room.put(items)


def held_up(batcher: Batcher, encoder: Recorder) -> Future[np.ndarray]:
    """Occupy the one thread until the gate opens."""
    encoder.gate.clear()
    first = put(batcher, [-1])
    assert encoder.entered.acquire(timeout=10)
    return first


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    max_batch=st.integers(1, 20),
    threads=st.integers(1, 4),
    share=st.integers(1, 20),
    delay=st.sampled_from([0.0, 0.001]),
)
def test_every_request_gets_its_own_answer_in_order(
    sizes: list[int], max_batch: int, threads: int, share: int, delay: float
) -> None:
    encoder = Recorder()
    with (
        batcher_of(
            encoder, max_batch=max_batch, threads=threads, share=share, delay=delay
        ) as batcher,
        ThreadPoolExecutor(8) as clients,
    ):
        asked = [list(range(1000 * i, 1000 * i + size)) for i, size in enumerate(sizes)]
        answers = list(clients.map(lambda items: put(batcher, items).result(timeout=20), asked))
    for items, answer in zip(asked, answers, strict=True):
        np.testing.assert_array_equal(answer, tripled([items]))
    # Each item was encoded once, and no batch was too large.
    encoded = sorted(item for batch in encoder.batches for item in batch)
    assert encoded == sorted(item for items in asked for item in items)
    assert max(map(len, encoder.batches)) <= max_batch
    assert batcher.n_waiting("numbers") == 0


def test_what_waits_is_encoded_together() -> None:
    encoder = Recorder()
    with batcher_of(encoder, max_batch=8) as batcher:
        first = held_up(batcher, encoder)
        others = [put(batcher, [i]) for i in range(20)]
        encoder.gate.set()
        for future in [first, *others]:
            future.result(timeout=10)
    assert encoder.batches == [[-1], list(range(8)), list(range(8, 16)), [16, 17, 18, 19]]


def test_one_item_does_not_wait_for_company_for_long() -> None:
    with batcher_of(tripled, delay=0.05) as batcher:
        began = time.monotonic()
        put(batcher, [1]).result(timeout=10)
        waited = time.monotonic() - began
    assert 0.05 <= waited < 2


def test_a_full_batch_does_not_wait() -> None:
    with batcher_of(tripled, delay=30.0, max_batch=4) as batcher:
        put(batcher, [1, 2, 3, 4]).result(timeout=10)


def test_a_long_request_and_short_ones_take_turns() -> None:
    encoder = Recorder()
    with batcher_of(encoder, max_batch=4) as batcher:
        held_up(batcher, encoder)
        long = put(batcher, list(range(100, 140)))
        short = [put(batcher, [i]) for i in range(3)]
        encoder.gate.set()
        long.result(timeout=10)
        for future in short:
            future.result(timeout=10)
    assert encoder.batches[1] == [100, 101, 102, 103]
    assert set(encoder.batches[2]) >= {0, 1, 2}


def test_idle_threads_share_what_waits() -> None:
    both = threading.Barrier(2)

    def together(parts: list[list[int]]) -> np.ndarray:
        # Passes only where two threads encode at the same time.
        both.wait(timeout=10)
        return tripled(parts)

    with batcher_of(together, max_batch=32, threads=2, share=4) as batcher:
        time.sleep(0.05)
        items = list(range(16))
        np.testing.assert_array_equal(put(batcher, items).result(timeout=10), tripled([items]))


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    encoder = Recorder()
    with batcher_of(encoder, max_waiting=10) as batcher:
        held_up(batcher, encoder)
        waiting = put(batcher, list(range(8)))
        with pytest.raises(QueueFullError) as refused:
            batcher.room("numbers", 3)
        assert 0 <= refused.value.retry_after_seconds <= 60
        with batcher.room("numbers", 2), pytest.raises(QueueFullError):
            batcher.room("numbers", 1)
        # What was kept and not used is given back.
        assert batcher.n_waiting("numbers") == 8
        encoder.gate.set()
        waiting.result(timeout=10)
        put(batcher, list(range(10))).result(timeout=10)


def test_who_waits_for_room_gets_it_before_later_ones() -> None:
    encoder = Recorder()
    with batcher_of(encoder, max_waiting=4, max_batch=4) as batcher:
        held_up(batcher, encoder)
        put(batcher, [1, 2, 3])
        answers: list[np.ndarray] = []

        def patient() -> None:
            with batcher.wait_for_room("numbers", 4) as room:
                future = room.put([5, 6, 7, 8])
            answers.append(future.result(timeout=10))

        thread = threading.Thread(target=patient)
        thread.start()
        for _ in range(1000):
            try:
                batcher.room("numbers", 1).__exit__(None, None, None)
            except QueueFullError:
                break
            time.sleep(0.005)
        else:
            pytest.fail("a later request passed one that waits for room")
        encoder.gate.set()
        thread.join(timeout=10)
    np.testing.assert_array_equal(answers[0], tripled([[5, 6, 7, 8]]))


def test_more_than_the_queue_holds_can_still_be_waited_for() -> None:
    with batcher_of(tripled, max_waiting=4) as batcher:
        with batcher.wait_for_room("numbers", 9) as room:
            future = room.put(list(range(9)))
        np.testing.assert_array_equal(future.result(timeout=10), tripled([list(range(9))]))


def test_what_was_cancelled_is_not_encoded() -> None:
    encoder = Recorder()
    with batcher_of(encoder) as batcher:
        held_up(batcher, encoder)
        dropped, kept = put(batcher, [1, 2, 3]), put(batcher, [4])
        assert dropped.cancel()
        assert batcher.n_waiting("numbers") == 1
        encoder.gate.set()
        kept.result(timeout=10)
    assert encoder.batches == [[-1], [4]]


def test_cancelling_while_it_is_encoded_harms_no_one() -> None:
    encoder = Recorder()
    with batcher_of(encoder) as batcher:
        first = held_up(batcher, encoder)
        assert first.cancel()
        after = put(batcher, [4])
        encoder.gate.set()
        np.testing.assert_array_equal(after.result(timeout=10), tripled([[4]]))


def test_an_error_reaches_only_the_request_that_caused_it() -> None:
    def brittle(parts: list[list[int]]) -> np.ndarray:
        if any(item == 13 for part in parts for item in part):
            raise ValueError("thirteen")
        return tripled(parts)

    encoder = Recorder(brittle)
    with batcher_of(encoder) as batcher:
        held_up(batcher, encoder)
        futures = [put(batcher, [i]) for i in (11, 12, 13, 14)]
        encoder.gate.set()
        with pytest.raises(ValueError, match="thirteen"):
            futures[2].result(timeout=10)
        for i, future in zip((11, 12, 14), futures[:2] + futures[3:], strict=True):
            np.testing.assert_array_equal(future.result(timeout=10), tripled([[i]]))
        # The thread goes on.
        put(batcher, [15]).result(timeout=10)


def test_the_rest_of_a_failed_request_is_not_encoded() -> None:
    def brittle(parts: list[list[int]]) -> np.ndarray:
        if any(item == 2 for part in parts for item in part):
            raise ValueError("two")
        return tripled(parts)

    encoder = Recorder(brittle)
    with batcher_of(encoder, max_batch=4) as batcher:
        held_up(batcher, encoder)
        failed = put(batcher, list(range(40)))
        encoder.gate.set()
        with pytest.raises(ValueError, match="two"):
            failed.result(timeout=10)
        put(batcher, [50]).result(timeout=10)
    assert sum(map(len, encoder.batches)) < 20
    assert batcher.n_waiting("numbers") == 0


def test_an_encoder_that_loses_rows_is_found_out() -> None:
    with (
        batcher_of(lambda parts: tripled(parts)[:-1]) as batcher,
        pytest.raises(AssertionError, match="rows for"),
    ):
        put(batcher, [1, 2]).result(timeout=10)


def test_the_end_tells_those_who_wait() -> None:
    encoder = Recorder()
    with batcher_of(encoder) as batcher:
        first = held_up(batcher, encoder)
        waiting = put(batcher, [1])
        threading.Timer(0.1, encoder.gate.set).start()
    np.testing.assert_array_equal(first.result(timeout=1), tripled([[-1]]))
    with pytest.raises(BatchingStopped):
        waiting.result(timeout=1)
    with pytest.raises(BatchingStopped):
        put(batcher, [2])
    assert batcher.n_alive() == 0


def test_kinds_do_not_share_a_batch_and_the_older_goes_first() -> None:
    encoder = Recorder()
    words: list[list[str]] = []

    def lengths(parts: list[list[str]]) -> np.ndarray:
        words.append([word for part in parts for word in part])
        encoder.batches.append([])
        return np.array([[len(word)] for part in parts for word in part])

    kinds = [Kind("numbers", encoder, 8, 100, 8), Kind("words", lengths, 8, 100, 8)]
    with Batcher(kinds, max_delay_seconds=0.001, n_threads=1) as batcher:
        held_up(batcher, encoder)
        with batcher.room("words", 1) as room:
            word = room.put(["four"])
        number = put(batcher, [7])
        time.sleep(0.01)
        encoder.gate.set()
        assert word.result(timeout=10).tolist() == [[4]]
        assert number.result(timeout=10).tolist() == [[21, 7]]
    assert words == [["four"]]
    assert encoder.batches == [[-1], [], [7]]
