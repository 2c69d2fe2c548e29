"""What Prometheus is told of the service: requests by route and status, open streams.

Labels are bounded: routes by their template, methods by name. What tells of jobs and queues is in
`kiosk_tasks.metrics`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HttpMetrics", "Metrics", "OpenStreams", "add_metrics"]

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


class OpenStreams:
    """A collector of how many clients follow a job."""

    def __init__(self, count: Callable[[], int]) -> None:
        """count: tells how many there are now."""
        self._count = count

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the one gauge."""
        told = "Clients that follow a job."
        yield GaugeMetricFamily("kiosk_web_open_streams", told, value=self._count())


def _template(scope: Scope) -> str:
    """Return the path of the route as it is declared, not as it was asked for."""
    return str(getattr(scope.get("route"), "path", "other"))
