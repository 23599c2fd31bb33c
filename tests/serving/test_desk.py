"""Work for requests: in its turn, within its time, and ended where nobody waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.desk import Desk, Wanted
from emoclip_clinical.serving.problems import Problem

N_THREADS = 2


@pytest.fixture
def make() -> Iterator[Callable[..., Desk]]:
    desks: list[Desk] = []

    def made(**limits: object) -> Desk:
        desks.append(Desk(config=ServingConfig.model_validate(limits)))
        return desks[-1]

    yield made
    for desk in desks:
        desk.close()


async def ask(desk: Desk, work: Callable[[Wanted], int]) -> int:
    async with desk.turn():
        return await desk.do(work)


def endless(ended: threading.Event) -> Callable[[Wanted], int]:
    def work(wanted: Wanted) -> int:
        try:
            while True:
                wanted()
                time.sleep(0.001)
        finally:
            ended.set()

    return work


def test_every_request_gets_its_own_result_and_few_run_at_once(make: Callable[..., Desk]) -> None:
    running, most = set(), 0

    def work_of(number: int) -> Callable[[Wanted], int]:
        def work(wanted: Wanted) -> int:
            nonlocal most
            running.add(number)
            most = max(most, len(running))
            time.sleep(0.01)
            running.discard(number)
            return number

        return work

    async def all_of_them() -> list[int]:
        desk = make(max_estimates=20)
        return await asyncio.gather(*(ask(desk, work_of(i)) for i in range(20)))

    assert asyncio.run(all_of_them()) == list(range(20))
    assert most <= N_THREADS


def test_more_than_fit_are_told_to_come_back(make: Callable[..., Desk]) -> None:
    async def run() -> None:
        desk, gate = make(max_estimates=3), threading.Event()
        waiting = [asyncio.ensure_future(ask(desk, lambda _: int(gate.wait(20)))) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(Problem) as caught:
            await ask(desk, lambda _: 1)
        gate.set()
        assert await asyncio.gather(*waiting) == [1, 1, 1]
        assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "5")
        assert await ask(desk, lambda _: 7) == 7

    asyncio.run(run())


def test_what_takes_too_long_is_ended(make: Callable[..., Desk]) -> None:
    async def run() -> None:
        desk = make(request_seconds=0.1)
        ended = [threading.Event() for _ in range(N_THREADS + 1)]
        works = [*map(endless, ended)]
        found = await asyncio.gather(*(ask(desk, w) for w in works), return_exceptions=True)
        assert [isinstance(one, Problem) and one.status for one in found] == [504] * 3
        # The third has waited for its turn.
        assert all(event.wait(5) for event in ended[:N_THREADS])
        assert await ask(desk, lambda _: 7) == 7

    asyncio.run(run())


def test_what_nobody_waits_for_is_ended(make: Callable[..., Desk]) -> None:
    async def run() -> None:
        desk, ended = make(max_estimates=1), threading.Event()
        asked = asyncio.ensure_future(ask(desk, endless(ended)))
        await asyncio.sleep(0.05)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert ended.wait(5)
        assert await ask(desk, lambda _: 7) == 7

    asyncio.run(run())
