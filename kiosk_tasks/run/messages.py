"""Sending: a job's links as Celery messages, the first time and again.

Messages carry the job's id and the key of an artifact, never pixels; what the job is stands in the
ledger. A chain of links ends at a stage that fans out; the rest is sent when the children are done.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from celery import Celery, chain
from celery.canvas import Signature
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from kiosk_tasks.job import Job, JobType
from kiosk_tasks.jobs import find
from kiosk_tasks.ledger import Ledger, Owner
from kiosk_tasks.run.links import ADMIT, CONTINUE, Link, lane_of, plan_links
from kiosk_tasks.settings import Settings

__all__ = ["link_at", "next_here", "planned", "reach", "send", "submit"]

log = logging.getLogger(__name__)


def planned(job_type: JobType[Any]) -> tuple[Link, ...]:
    """Return the job type's links under this process's settings, which takes a millisecond."""
    settings = Settings.load()
    return plan_links(job_type, mode=settings.links, stage_queues=settings.stage_queues)


def link_at(job_type: JobType[Any], start: int) -> Link:
    """Return the link that begins at a stage, or what is left from there of the one around it."""
    link = next(link for link in planned(job_type) if link.stop > start)
    return replace(link, start=start)


def reach(job_type: JobType[Any], start: int) -> int:
    """Return the stage before which one task must stop that runs all it can from `start` on."""
    stages = enumerate(job_type.steps[start:], start + 1)
    return next((stop for stop, step in stages if step.ends_link), len(job_type.steps))


def next_here(job_type: JobType[Any], link: Link) -> Link | None:
    """Return the link that a run may go on with, when a stage that might fan out has not.

    None if there is none, or if it is for another queue or, by KIOSK_LINKS, for a task of its own.
    """
    stop = link.stop
    if stop == len(job_type.steps) or not job_type.steps[stop - 1].ends_link:
        return None
    more = link_at(job_type, stop)
    same_queue = link.queue in (more.lane, lane_of(more.queue, ADMIT))
    return more if same_queue and Settings.load().links == "queue" else None


def submit(
    app: Celery,
    ledger: Ledger,
    job: Job,
    *,
    parent: str = "",
    mirror: str = "",
    links: Sequence[Link] = (),
    owner: Owner | None = None,
    ignore_result: bool = False,
    **options: Any,
) -> AsyncResult[Any]:
    """Write the job's record, then send its first link.

    In this order: a crash between the two leaves a record that is sent again, never a message that
    nobody accounts for. A job that is recorded already is not sent a second time.
    parent, mirror, owner: as for `Ledger.submit`. options: as for `Task.apply_async`.
    links: the job type's, where the caller has planned them already.
    ignore_result: as for `send`.
    """
    links = links or planned(find(job.type_name))
    priority = ADMIT if options.get("priority", ADMIT) >= ADMIT else CONTINUE  # as kombu does
    lane = lane_of(options.get("queue") or links[0].queue, priority)
    if not ledger.submit(job, lane=lane, parent=parent, mirror=mirror, owner=owner):
        return app.AsyncResult(job.id)
    try:
        sent = send(app, job.type_name, job.id, links=links, ignore_result=ignore_result, **options)
    except OperationalError as exc:  # it is accepted all the same: the reaper sends it
        log.warning("not sent job_id=%s why=%s", job.id, exc)
        return app.AsyncResult(job.id)
    return sent if sent.id == job.id else app.AsyncResult(job.id)


def send(
    app: Celery,
    type_name: str,
    job_id: str,
    *,
    start: int = 0,
    artifact: str = "",
    links: Sequence[Link] = (),
    ignore_result: bool = False,
    **options: Any,
) -> AsyncResult[Any]:
    """Send a recorded job's links from a stage on; the last link's id and result are the job's.

    artifact: key of the value that the first of them gets, where it is not the job's first.
    links: all of the job type's, where the caller has planned them already.
    ignore_result: nobody will ask Celery for the job's result, only the ledger; else it costs two
        round trips of the worker and two of whoever submits.
    """
    job_type = find(type_name)
    links = [link for link in links or planned(job_type) if link.stop > start]
    signatures = []
    for link in links:
        first = replace(link, start=max(start, link.start))
        given = (artifact,) if first.start == start and start else ()
        signature = _signature(app, job_type, job_id, first, given)
        signature.options["ignore_result"] |= ignore_result
        signatures.append(signature)
        if job_type.steps[link.stop - 1].ends_link:
            break
    whole = links[len(signatures) - 1].stop == len(job_type.steps)
    named = {"task_id": job_id, **options} if whole else options
    if len(signatures) == 1:
        return signatures[0].apply_async(**named)
    return chain(*signatures).apply_async(**named)


def _signature(
    app: Celery, job_type: JobType[Any], job_id: str, link: Link, given: tuple[str, ...]
) -> Signature[Any]:
    name = job_type.steps[link.start].name
    task = app.tasks[f"{job_type.name}.{name}" if link.start else job_type.name]
    signature: Signature[Any] = task.s(*given, job_id=job_id, stop=link.stop)
    signature.options.update(
        queue=link.queue,
        priority=link.priority,
        ignore_result=link.stop < len(job_type.steps),
    )
    return signature
