"""What a server tells Prometheus of itself: counts and times, never content."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_BATCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The figures of one server, in a registry of its own.

    Attributes
    ----------
    registry : CollectorRegistry
        Where other parts of the server put theirs, under names that begin with ``emoclip_``.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "emoclip_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "emoclip_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("method", "route"),
            buckets=_REQUEST_SECONDS,
            registry=self.registry,
        )
        self._batch_items = Histogram(
            "emoclip_batch_items",
            "Items that were encoded together.",
            ("kind",),
            buckets=_BATCH_ITEMS,
            registry=self.registry,
        )
        self._batch_seconds = Histogram(
            "emoclip_batch_seconds",
            "Time that encoding a batch took.",
            ("kind",),
            buckets=_BATCH_SECONDS,
            registry=self.registry,
        )
        self._batch_waited_seconds = Histogram(
            "emoclip_batch_waited_seconds",
            "Time that the first item of a batch had waited.",
            ("kind",),
            buckets=_BATCH_SECONDS,
            registry=self.registry,
        )

    def request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Take note of an answer; `route` is the template of its path, `method` a known one."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def batch(self, kind: str, *, n_items: int, waited_seconds: float, seconds: float) -> None:
        """Take note of a batch; see `BatchLog`."""
        self._batch_items.labels(kind).observe(n_items)
        self._batch_seconds.labels(kind).observe(seconds)
        self._batch_waited_seconds.labels(kind).observe(waited_seconds)

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Show what a function returns whenever the metrics are read.

        Parameters
        ----------
        name : str
            Without the prefix ``emoclip_``.
        description : str
            What it is, with its unit.
        value : callable
            Answers at once, in any thread.
        """
        Gauge(f"emoclip_{name}", description, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        content: bytes = generate_latest(self.registry)
        return content
