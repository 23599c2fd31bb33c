"""Clients that ask again and again until the server ends, so that there is always load."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2
import numpy as np

from emoclip_clinical.core.embedder import Embedder

TEXTS = "/v1/embeddings/text"


def figure(url: str, name: str, *, headers: dict[str, str] | None = None) -> float:
    """Return one figure of the server's metrics."""
    text = httpx2.get(f"{url}/metrics", headers=headers, timeout=60).text
    return next(float(li.split()[1]) for li in text.splitlines() if li.startswith(f"{name} "))


def embedded(response: httpx2.Response) -> np.ndarray:
    """Return the embeddings of an answer, (n, dim)."""
    return np.array([row["embedding"] for row in response.json()["rows"]], dtype=np.float32)


@dataclass(frozen=True)
class Asked:
    """An answer, `None` where the server was gone, and the moments around it."""

    response: httpx2.Response | None
    began: float
    ended: float


class Load:
    """Clients in threads, each with its own texts."""

    def __init__(
        self,
        url: str,
        threads: ThreadPoolExecutor,
        *,
        n_clients: int,
        texts_of: Callable[[int], list[str]],
        headers: dict[str, str] | None = None,
    ) -> None:
        self._url = url
        self._headers = headers
        self._texts_of = texts_of
        self._futures = [threads.submit(self._ask_on, i) for i in range(n_clients)]

    def n_running(self) -> float:
        """Return how many requests the server works on, without the one that asks."""
        return figure(self._url, "emoclip_running_requests", headers=self._headers) - 1

    def when_open(self, end: Callable[[], None]) -> None:
        """Tell the server to end while it works on requests."""
        self._counted_at = time.monotonic()
        self._n_open = self.n_running()
        end()
        self._told_at = time.monotonic()

    def n_lost(self) -> int:
        """Return how many clients had a request open at the end that was not answered."""
        return sum(future.result()[-1].began < self._counted_at for future in self._futures)

    def assert_kept(self, embedder: Embedder, *, n_others: int = 0) -> None:
        """Check that every accepted request was answered, and each with its own.

        `n_others` requests of others may have been open too.
        """
        n_kept = 0
        for client, future in enumerate(self._futures):
            *answered, last = future.result()
            if last.response is None:
                assert last.began > self._told_at, "an answer is lost"
            else:
                assert last.response.status_code == 503
            own = embedder.encode_text(self._texts_of(client))
            for asked in answered:
                assert asked.response is not None
                np.testing.assert_allclose(embedded(asked.response), own, rtol=0, atol=1e-6)
                n_kept += asked.ended > self._counted_at
        assert n_kept >= self._n_open - n_others > 0

    def _ask_on(self, client: int) -> list[Asked]:
        every: list[Asked] = []
        while True:
            began = time.monotonic()
            response = self._ask(client)
            every.append(Asked(response, began, time.monotonic()))
            if response is None or response.status_code != 200:
                return every

    def _ask(self, client: int) -> httpx2.Response | None:
        body = {"texts": self._texts_of(client)}
        try:
            return httpx2.post(f"{self._url}{TEXTS}", json=body, headers=self._headers, timeout=120)
        except httpx2.TransportError:
            return None
