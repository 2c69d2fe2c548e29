"""Live progress: what changes in a job, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from kiosk_tasks.ledger import Record
from kiosk_tasks.ledger.stamps import stamp_of
from kiosk_tasks.web.job_json import ErrorJson, job_json
from kiosk_tasks.web.job_watch import JobWatch
from kiosk_tasks.web.kept import kept
from kiosk_tasks.web.site import Site, SiteOf

__all__ = ["job_watch", "router"]

router = APIRouter(tags=["jobs"])

_HEARTBEAT_S = 15
_FAREWELL_S = 2.0
"""A stream ends by itself within that when the service stops; then it is cut off."""
_ENDED = "ended"
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {}},
        "description": "`event: job`, `data:` the job; at once and on each change, until it ends.",
    },
    204: {"description": "A browser that connects again is told not to: the job has ended."},
    404: {"model": ErrorJson, "description": "No such job."},
}


def job_watch(request: Request, site: Site) -> JobWatch:
    """Return this service's watch."""
    return kept(request, "job_watch", lambda: JobWatch(site.ledger))


async def _watch(request: Request, site: SiteOf) -> JobWatch:
    return job_watch(request, site)


JobWatchOf = Annotated[JobWatch, Depends(_watch)]


@router.get("/jobs/{job_id}/events", response_class=Response, responses=_ANSWERS)
async def events(job_id: str, request: Request, site: SiteOf, watch: JobWatchOf) -> Response:
    """Follow a job until it ends."""
    record = await run_in_threadpool(site.ledger.record, job_id)
    if record.status.terminal and request.headers.get("last-event-id") == _ENDED:
        return Response(status_code=204)
    return EventSourceResponse(
        _changes(record, watch, site, request),
        ping=_HEARTBEAT_S,
        shutdown_grace_period=_FAREWELL_S,
        sep="\n",
    )


async def _changes(
    record: Record, watch: JobWatch, site: Site, request: Request
) -> AsyncIterator[ServerSentEvent]:
    """Yield an event for the record, and one for each that follows."""
    with watch.watching(record) as box:
        current: Record | None = record
        told = None
        while current is not None:
            if stamp_of(current) != told:
                told = stamp_of(current)
                yield await run_in_threadpool(_event, current, site, request)
            if current.status.terminal:
                return
            current = await box.take()


def _event(record: Record, site: Site, request: Request) -> ServerSentEvent:
    return ServerSentEvent(
        job_json(record, site, request).model_dump_json(),
        event="job",
        id=_ENDED if record.status.terminal else None,
        sep="\n",
    )
