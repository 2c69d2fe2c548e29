"""What happens when a worker runs one link: claim, stages, terminal state; the task boundary."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject
from celery.states import SUCCESS

from kiosk_tasks.archive_jobs import ARCHIVE_END
from kiosk_tasks.errors import BrokerUnavailable, Cancelled, ClaimLost, KioskError
from kiosk_tasks.fan_out import FanOut
from kiosk_tasks.job import Job, JobType, Status, new_job
from kiosk_tasks.ledger import Claim, LedgerReporter
from kiosk_tasks.ledger.old_fields import at_the_end
from kiosk_tasks.ledger.records import Record
from kiosk_tasks.redis_clients import BrokerRefuses
from kiosk_tasks.run.children import gather, submit_children
from kiosk_tasks.run.ending import discard, end_badly, end_children, finish, resume
from kiosk_tasks.run.failing import as_ours, pause_s, too_many_deaths
from kiosk_tasks.run.links import Link, lane_of, queue_of
from kiosk_tasks.run.messages import link_at, next_here
from kiosk_tasks.stages import check_job, run_stages
from kiosk_tasks.wiring import Adapters, adapters, make_context

__all__ = ["LinkTask", "run_link"]

log = logging.getLogger(__name__)

_LEDGER_AWAY_S = 1.0
"""A run that cannot reach the ledger waits so long before it puts its message back."""
_CUT = object()
"""What a run gives that has fanned out before its message's end: what follows is sent by its
record, and neither the message's id nor its chain may have a result before that."""
_KILL_AFTER_S = 60
"""Between the soft time limit, which ends the job with a reason, and the hard one."""


class LinkTask(Task[Any, Any]):
    """A link of a job: errors of our tree are expected, and are logged without a trace."""

    abstract = True
    throws = (KioskError,)
    Request = "kiosk_tasks.run.request:LinkRequest"
    # The ledger counts the runs of a job; Celery only has to send it again when a child is lost.
    max_retries = None
    default_retry_delay = 1

    def __init__(self, job_type: JobType[Any], name: str) -> None:
        """Take limits from the job type.

        name: the task's, by which messages find it.
        """
        self.name = name
        self.job_type = job_type
        self.soft_time_limit = job_type.seconds
        self.time_limit = job_type.seconds + _KILL_AFTER_S


def run_link(task: LinkTask, job_id: str, *, start: int, stop: int, artifact: str = "") -> Any:
    """Run the stages `start` to `stop` of a job.

    Returns the key of the artifact for the next link or, after the last stage, the job's result.
    A job that has ended, or whose later link has begun, is left alone: the message is an echo.
    """
    outside = adapters()
    try:
        claim = outside.ledger.claim(
            job_id, stage_index=start, redelivered=_was_delivered(task.request)
        )
        if claim is None:
            raise Ignore
        link = Link(start, stop, str(claim.record.fields["lane"]))
        if claim.waited_s is not None:
            outside.tallies.claimed(queue_of(link.queue), claim.waited_s)
        value = _run(task, outside, claim, link, artifact)
    except (BrokerUnavailable, BrokerRefuses) as exc:
        # Nothing can be written: the message must not be used up, and no other job could be run.
        time.sleep(_LEDGER_AWAY_S)
        raise Reject(str(exc), requeue=True) from exc
    if value is _CUT:
        raise Ignore
    return value


def _run(task: LinkTask, outside: Adapters, claim: Claim, link: Link, artifact: str) -> Any:
    """Run a claimed link; the one place where any exception is caught."""
    job_id, seconds = claim.job_id, task.job_type.seconds
    with outside.heart.beating(claim, seconds=seconds) as pulse:
        report = LedgerReporter(outside.ledger, pulse, outside.tallies)
        try:
            if claim.exhausted:
                raise too_many_deaths(claim.record.attempts)
            link, value = _stages(task.job_type, outside, claim, report, link, artifact)
            if isinstance(value, FanOut):
                key = _fan_out(task, outside, claim, link, value, report)
                return key if task.job_type.steps[link.stop - 1].ends_link else _CUT
            if link.stop < len(task.job_type.steps):
                return _hand_on(task, outside, claim, link, value, report)
            return _end_well(task, outside, claim, value, report)
        except (BrokerUnavailable, BrokerRefuses):
            raise
        except Exception as exc:  # the task boundary: whatever it is ends in the record
            # without the cause: Celery keeps its text with the result, and it may hold a password
            raise _outcome(task, outside, claim, link, as_ours(exc, job_id)) from None


def _stages(
    job_type: JobType[Any],
    outside: Adapters,
    claim: Claim,
    report: LedgerReporter,
    link: Link,
    artifact: str,
) -> tuple[Link, Any]:
    """Run the link's stages; return it, longer if the run has gone on, and the last value.

    The message ends at a stage that may fan out. One that need not is no reason for another. The
    link returned is shorter where a stage has that seldom does.
    """
    ctx = make_context(_job_of(claim.record, job_type), report, given=outside)
    if link.start == 0:
        check_job(job_type.steps, ctx)
    value = outside.workspace.get(artifact) if artifact else None
    if link.start and job_type.steps[link.start - 1].fans_out and _has_children(claim.record):
        archive = job_type.name.endswith(ARCHIVE_END)
        value, counts = gather(outside.ledger, claim.job_id, value, archive=archive)
        report.put(counts)
    for stop in range(link.start + 1, link.stop + 1):
        value = run_stages(job_type.steps[stop - 1 : stop], value, ctx)
        if isinstance(value, FanOut):
            link = Link(link.start, stop, link.queue)
            break
    more = None if isinstance(value, FanOut) else next_here(job_type, link)
    if more is not None:
        value = run_stages(job_type.steps[more.start : more.stop], value, ctx)
        link = Link(link.start, more.stop, link.queue)
    return link, value


def _job_of(record: Record, job_type: JobType[Any]) -> Job:
    job = new_job(job_type, record.payload, job_id=record.id)
    return Job(job.id, job.type_name, job.source, job.params, record.fields["created_at"])


def _hand_on(
    task: LinkTask,
    outside: Adapters,
    claim: Claim,
    link: Link,
    value: Any,
    report: LedgerReporter,
) -> str:
    """Leave the value for the next link, whose message Celery sends when this task returns.

    The chain in a message ends at a stage that may fan out: what follows is sent here.
    """
    key = outside.workspace.put(claim.job_id, task.job_type.steps[link.stop].name, value)
    fields = {**report.unwritten(), "artifact": key}
    chained = not any(step.ends_link for step in task.job_type.steps[link.start : link.stop])
    lane = _next_lane(task, link) if chained else link_at(task.job_type, link.stop).lane
    outside.ledger.release(claim, "next", lane=lane, stage_index=link.stop, fields=fields)
    if not chained:
        resume(task.app, outside.ledger, claim.job_id)
    return key


def _fan_out(
    task: LinkTask,
    outside: Adapters,
    claim: Claim,
    link: Link,
    value: FanOut,
    report: LedgerReporter,
) -> str:
    """Submit the children and let the job wait, holding no worker."""
    key = outside.workspace.put(claim.job_id, task.job_type.steps[link.stop].name, value.keep)
    told = submit_children(task.app, outside.ledger, claim.job_id, value.children, report.check)
    units = {"progress": "0", "units_done": "0", "units_total": told["total_jobs"]}
    fields = {**report.unwritten(), **told, **units, "artifact": key}
    lane = link_at(task.job_type, link.stop).lane
    if outside.ledger.release(claim, "children", lane=lane, stage_index=link.stop, fields=fields):
        resume(task.app, outside.ledger, claim.job_id)
    return key


def _end_well(
    task: LinkTask, outside: Adapters, claim: Claim, value: dict[str, str], report: LedgerReporter
) -> dict[str, str]:
    began = datetime.fromisoformat(claim.record.fields["started_at"])
    seconds = (datetime.now(UTC) - began).total_seconds()
    fields = {**at_the_end(claim.record, report.notes()), **report.unwritten(), **value}
    fields |= {"progress": "100", "total_time": f"{seconds:.4f}"}
    if not finish(task.app, outside.ledger, claim.job_id, Status.DONE, fields, claim=claim):
        raise ClaimLost(f"another run has taken over job {claim.job_id}, or it has ended.")
    if task.request.id != claim.job_id:  # the message was to end before: its id is not the job's
        task.app.backend.store_result(claim.job_id, value, SUCCESS)
    log.info("done job_id=%s seconds=%.3f", claim.job_id, seconds)
    untidy = any(step.ends_link for step in task.job_type.steps)
    if "artifact" in claim.record.fields or untidy:
        _discard_quietly(outside, claim.job_id)
    return value


def _discard_quietly(outside: Adapters, job_id: str) -> None:
    """Remove what a job that is done has left; what cannot be removed now is the reaper's."""
    try:
        discard(outside, job_id, output=False)
    except KioskError as exc:
        log.warning("not tidied job_id=%s why=%s", job_id, exc)


def _has_children(record: Record) -> bool:
    """Tell whether the stage before has fanned out."""
    return "total_jobs" in record.fields


def _next_lane(task: LinkTask, link: Link) -> str:
    """Return the list that Celery will send the next link to: the chain in the message knows."""
    rest = getattr(task.request, "chain", None)
    options = rest[-1].get("options", {}) if rest else {}
    if "queue" in options:
        return lane_of(options["queue"], options.get("priority") or 0)
    return link_at(task.job_type, link.stop).lane


def _was_delivered(request: Any) -> bool:
    """Tell whether the message was another worker's, or sent because a child was lost."""
    delivery = getattr(request, "delivery_info", None) or {}
    return bool(delivery.get("redelivered") or request.retries)


def _outcome(
    task: LinkTask, outside: Adapters, claim: Claim, link: Link, error: KioskError
) -> Exception:
    """Retry, give up, or leave quietly; return what tells Celery so."""
    job_id, record = claim.job_id, claim.record
    if not isinstance(error, Cancelled | ClaimLost):
        if error.retry and record.retries < outside.max_retries:
            outside.ledger.release(
                claim, "again", lane=record.fields["lane"], stage_index=link.start, fields={}
            )
            return task.retry(exc=error, countdown=pause_s(record.retries), throw=False)
        if end_badly(task.app, outside.ledger, job_id, error, claim=claim):
            discard(outside, job_id, output=True)
            return error
    status = outside.ledger.record(job_id).status
    if status.terminal:
        # it may have submitted some after whoever ended the job looked for its children
        end_children(task.app, outside.ledger, job_id, status)
        discard(outside, job_id, output=status is not Status.DONE)
    log.info("left job_id=%s why=%s", job_id, error)
    return Ignore()
