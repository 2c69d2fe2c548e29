"""What Prometheus is told: requests by route and status, open streams, jobs, queues.

Labels are bounded: routes by their template, methods by name, queues as they are declared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import redis
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kiosk_tasks.errors import KioskError
from kiosk_tasks.jobs import job_types
from kiosk_tasks.ledger import Ledger
from kiosk_tasks.queues import in_flight, queue_lengths
from kiosk_tasks.redis_clients import mapped_broker_errors

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
        broker: redis.Redis,
        ledger: Ledger,
        *,
        broker_prefix: str,
        open_streams: Callable[[], int],
    ) -> None:
        """open_streams: tells how many clients follow jobs at present."""
        self._broker = broker
        self._ledger = ledger
        self._prefix = broker_prefix
        self._open_streams = open_streams

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; those of a broker that does not answer are left out."""
        yield _gauge("kiosk_web_open_streams", "Clients that follow a job.", self._open_streams())
        try:
            gauges = [*self._queues(), self._jobs()]
            up = 1
        except KioskError:
            gauges, up = [], 0
        yield _gauge("kiosk_broker_up", "Whether the broker answers.", up)
        yield from gauges

    def _queues(self) -> Iterator[GaugeMetricFamily]:
        queues = sorted({q for one in job_types().values() for q in _queues_of(one)})
        with mapped_broker_errors():
            lengths = queue_lengths(self._broker, queues, prefix=self._prefix)
            held = in_flight(self._broker, prefix=self._prefix)
        waiting = GaugeMetricFamily(
            "kiosk_queue_waiting", "Messages that no worker has taken.", labels=("queue", "kind")
        )
        for one in lengths:
            waiting.add_metric((one.queue, "admitting"), one.admitting)
            waiting.add_metric((one.queue, "continuing"), one.continuing)
        yield waiting
        yield _gauge("kiosk_queue_in_flight", "Messages that workers hold, on all queues.", held)

    def _jobs(self) -> GaugeMetricFamily:
        pipe = self._ledger.scripts.client.pipeline(transaction=False)
        for name in ("open", "leases"):
            pipe.zcard(self._ledger.scripts.key(name))
        with mapped_broker_errors():
            counts: list[Any] = pipe.execute()
        opened, running = map(int, counts)
        jobs = GaugeMetricFamily(
            "kiosk_jobs", "Jobs that have not ended, children included.", labels=("state",)
        )
        jobs.add_metric(("running",), running)
        jobs.add_metric(("waiting",), max(0, opened - running))
        return jobs


def _queues_of(job_type: Any) -> set[str]:
    return {job_type.queue, *(step.queue for step in job_type.steps if step.queue)}


def _gauge(name: str, told: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, told, value=value)


def _template(scope: Scope) -> str:
    """Return the path of the route as it is declared, not as it was asked for."""
    return str(getattr(scope.get("route"), "path", "other"))
