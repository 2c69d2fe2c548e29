"""Whether the service lives, whether it can work, and its numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import redis
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from kiosk_tasks.jobs import task_types
from kiosk_tasks.metrics import LedgerCollector, Source, queues_json, source_of
from kiosk_tasks.redaction import hide
from kiosk_tasks.redis_clients import mapped_broker_errors, redis_client
from kiosk_tasks.run.links import queue_names
from kiosk_tasks.web.kept import kept
from kiosk_tasks.web.metrics import Metrics, OpenStreams
from kiosk_tasks.web.readiness import OK, Readiness
from kiosk_tasks.web.routes.events import job_watch
from kiosk_tasks.web.site import Site, SiteOf

__all__ = ["router"]

router = APIRouter(tags=["health"])

_PATIENCE_S = 1.5
"""A broker that has not answered for so long is taken for one that is not there."""
_PROBE_KEY = "uploads/ready"


class HealthJson(BaseModel):
    """The process answers."""

    status: str


class ReadyJson(BaseModel):
    """Each part is "ok", or a sentence says what is wrong."""

    status: str
    broker: str
    bucket: str


class QueueJson(BaseModel):
    """One queue: jobs that wait, jobs that run, predicted work, and workers for it."""

    waiting: int
    in_flight: int
    oldest_wait_seconds: float
    outstanding_seconds: float
    model_seconds: float
    wanted_workers: int


class QueuesJson(BaseModel):
    """Every queue, by its name."""

    queues: dict[str, QueueJson]
    model_servers_wanted: int


async def _readiness(request: Request, site: SiteOf) -> Readiness:
    return kept(request, "readiness", lambda: Readiness(_checks(site)))


async def _metrics(request: Request, site: SiteOf) -> Metrics:
    kept(request, "source", lambda: _register(request, site))
    metrics: Metrics = request.app.state.metrics
    return metrics


async def _source(request: Request, site: SiteOf) -> Source:
    return kept(request, "source", lambda: _register(request, site))


async def _threads(request: Request) -> CapacityLimiter:
    """Return threads for numbers alone: all others may be waiting for a broker that is lost."""
    return kept(request, "scrapes", lambda: CapacityLimiter(4))


@router.get("/healthz")
async def healthz() -> HealthJson:
    """Tell that the process answers."""
    return HealthJson(status=OK)


@router.get("/readyz", responses={503: {"model": ReadyJson, "description": "A part is missing."}})
async def readyz(
    response: Response, readiness: Annotated[Readiness, Depends(_readiness)]
) -> ReadyJson:
    """Tell whether broker and bucket answer."""
    parts = {name: hide(said) for name, said in (await readiness.look()).items()}
    ready = set(parts.values()) == {OK}
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return ReadyJson(status=OK if ready else "unavailable", **parts)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(
    numbers: Annotated[Metrics, Depends(_metrics)],
    threads: Annotated[CapacityLimiter, Depends(_threads)],
) -> Response:
    """Tell Prometheus the numbers."""
    text = await to_thread.run_sync(numbers.text, limiter=threads)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get("/queues.json")
async def queues(
    source: Annotated[Source, Depends(_source)],
    threads: Annotated[CapacityLimiter, Depends(_threads)],
) -> QueuesJson:
    """Tell autoscalers how much work each queue has, and how many workers it wants."""
    found = await to_thread.run_sync(source.look, limiter=threads)
    return QueuesJson.model_validate(queues_json(found))


def _impatient(site: Site, url: str) -> redis.Redis:
    way = site.settings.way_to(url)
    return redis_client(url, **way, timeout_s=_PATIENCE_S, retries=0)


def _checks(site: Site) -> dict[str, Callable[[], object]]:
    settings = site.settings
    clients = [_impatient(site, url) for url in {settings.broker_url, settings.records_url}]

    def broker() -> None:
        with mapped_broker_errors():
            for client in clients:
                client.ping()

    return {"broker": broker, "bucket": lambda: site.storage.exists(_PROBE_KEY)}


def _register(request: Request, site: Site) -> Source:
    metrics: Metrics = request.app.state.metrics
    watch = job_watch(request, site)
    source = source_of(site.settings, queue_names(task_types(), site.settings.stage_queues))
    metrics.registry.register(OpenStreams(lambda: watch.open_streams))
    metrics.registry.register(LedgerCollector(source))
    return source
