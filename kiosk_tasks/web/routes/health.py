"""Whether the service lives, whether it can work, and its numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import redis
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from kiosk_tasks.redaction import hide
from kiosk_tasks.redis_clients import mapped_broker_errors, redis_client
from kiosk_tasks.web.kept import kept
from kiosk_tasks.web.metrics import Metrics, Sources
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


async def _readiness(request: Request, site: SiteOf) -> Readiness:
    return kept(request, "readiness", lambda: Readiness(_checks(site)))


async def _metrics(request: Request, site: SiteOf) -> Metrics:
    kept(request, "sources", lambda: _register(request, site))
    metrics: Metrics = request.app.state.metrics
    return metrics


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
def metrics(numbers: Annotated[Metrics, Depends(_metrics)]) -> Response:
    """Tell Prometheus the numbers."""
    return Response(numbers.text(), media_type=CONTENT_TYPE_LATEST)


def _impatient(site: Site, url: str) -> redis.Redis:
    tls = site.settings.tls(url)
    return redis_client(url, tls=tls, timeout_s=_PATIENCE_S, retries=0)


def _checks(site: Site) -> dict[str, Callable[[], object]]:
    settings = site.settings
    clients = [_impatient(site, url) for url in {settings.broker_url, settings.records_url}]

    def broker() -> None:
        with mapped_broker_errors():
            for client in clients:
                client.ping()

    return {"broker": broker, "bucket": lambda: site.storage.exists(_PROBE_KEY)}


def _register(request: Request, site: Site) -> Sources:
    metrics: Metrics = request.app.state.metrics
    watch = job_watch(request, site)
    sources = Sources(
        site.ledger,
        stage_queues=site.settings.stage_queues,
        open_streams=lambda: watch.open_streams,
    )
    metrics.registry.register(sources)
    return sources
