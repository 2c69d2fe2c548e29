"""What Prometheus is told: requests by route and status, open streams, jobs, queues.

Labels are bounded: routes by their template, methods by name, queues as they are declared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kiosk_tasks.errors import KioskError
from kiosk_tasks.jobs import task_types
from kiosk_tasks.ledger import Ledger
from kiosk_tasks.queues import numbers_of
from kiosk_tasks.run.links import queue_names

__all__ = ["HttpMetrics", "Metrics", "Sources", "add_metrics"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The numbers of one running service."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "kiosk_http_requests",
            "HTTP requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "kiosk_http_request_seconds",
            "Time until an answer began, seconds.",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self.registry)


def add_metrics(app: FastAPI) -> None:
    """Count every request to an application."""
    app.state.metrics = Metrics()
    app.add_middleware(HttpMetrics, metrics=app.state.metrics)


class HttpMetrics:
    """ASGI middleware that counts and times requests."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        """metrics: takes the numbers."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; a stream counts when it begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message["status"], time.perf_counter() - begun)
            await send(message)

        await self._app(scope, receive, counting)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = _template(scope)
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(method, route).observe(seconds)


class Sources:
    """A collector of what is asked for when Prometheus asks: O(1) commands, one round trip each."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        stage_queues: Mapping[str, str],
        open_streams: Callable[[], int],
    ) -> None:
        """open_streams: tells how many clients follow jobs at present."""
        self._ledger = ledger
        self._stage_queues = stage_queues
        self._open_streams = open_streams

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; those of a broker that does not answer are left out."""
        yield _gauge("kiosk_web_open_streams", "Clients that follow a job.", self._open_streams())
        try:
            gauges = list(self._gauges())
            up = 1
        except KioskError:
            gauges, up = [], 0
        yield _gauge("kiosk_broker_up", "Whether the broker answers.", up)
        yield from gauges

    def _gauges(self) -> Iterator[GaugeMetricFamily]:
        queues = queue_names(task_types(), self._stage_queues)
        numbers = numbers_of(self._ledger, queues)
        waiting = GaugeMetricFamily(
            "kiosk_queue_waiting", "Jobs that no worker has taken.", labels=("queue",)
        )
        held = GaugeMetricFamily(
            "kiosk_queue_in_flight", "Jobs that a worker has.", labels=("queue",)
        )
        for one in numbers.queues:
            waiting.add_metric((one.queue,), one.waiting)
            held.add_metric((one.queue,), one.in_flight)
        yield waiting
        yield held
        jobs = GaugeMetricFamily(
            "kiosk_jobs", "Jobs that have not ended, children included.", labels=("state",)
        )
        jobs.add_metric(("running",), numbers.running)
        jobs.add_metric(("waiting",), max(0, numbers.open - numbers.running))
        yield jobs


def _gauge(name: str, told: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, told, value=value)


def _template(scope: Scope) -> str:
    """Return the path of the route as it is declared, not as it was asked for."""
    return str(getattr(scope.get("route"), "path", "other"))
