"""What happens when a worker runs one link: claim, stages, terminal state; the task boundary."""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Task
from celery.exceptions import Ignore
from celery.states import FAILURE

from kiosk_tasks.errors import (
    Cancelled,
    ClaimLost,
    InternalError,
    KioskError,
    OutOfMemory,
)
from kiosk_tasks.job import Job, JobType, Status, new_job
from kiosk_tasks.ledger import Claim, LedgerReporter
from kiosk_tasks.ledger.records import Record
from kiosk_tasks.stages import check_job, run_stages
from kiosk_tasks.wiring import Adapters, adapters, make_context

__all__ = ["LinkTask", "run_link"]

log = logging.getLogger(__name__)

_BACKOFF_MAX_S = 60
_KILL_AFTER_S = 60
"""Between the soft time limit, which ends the job with a reason, and the hard one."""


class LinkTask(Task[Any, Any]):
    """A link of a job: errors of our tree are expected, and are logged without a trace."""

    abstract = True
    throws = (KioskError,)

    def __init__(self, job_type: JobType[Any], name: str, *, max_retries: int) -> None:
        """Take limits from the job type.

        name: the task's, by which messages find it.
        max_retries: how often it is run again after an error that may pass.
        """
        self.max_retries = max_retries
        self.name = name
        self.job_type = job_type
        self.soft_time_limit = job_type.seconds
        self.time_limit = job_type.seconds + _KILL_AFTER_S


def run_link(task: LinkTask, job_id: str, *, start: int, stop: int, artifact: str = "") -> Any:
    """Run the stages `start` to `stop` of a job; the one place where any exception is caught.

    Returns the key of the artifact for the next link or, after the last stage, the job's result.
    A job that has ended, or whose later link has begun, is left alone: the message is an echo.
    """
    outside, job_type = adapters(), task.job_type
    claim = outside.ledger.claim(job_id, stage_index=start)
    if claim is None:
        raise Ignore
    try:
        record = outside.ledger.record(job_id)
        job = _job_of(record, job_type)
        value = outside.workspace.get(artifact) if artifact else None
        ctx = make_context(job, LedgerReporter(outside.ledger, claim), given=outside)
        if start == 0:
            check_job(job_type.steps, ctx)
        value = run_stages(job_type.steps[start:stop], value, ctx)
        if stop < len(job_type.steps):
            return outside.workspace.put(job_id, job_type.steps[stop].name, value)
        _finish(outside, claim, record, value)
    except Exception as exc:  # the task boundary: whatever it is ends in the record
        _end_badly(task, outside, claim, _as_ours(exc, job_id))
    else:
        return value


def _job_of(record: Record, job_type: JobType[Any]) -> Job:
    job = new_job(job_type, record.payload, job_id=record.id)
    return Job(job.id, job.type_name, job.source, job.params, record.fields["created_at"])


def _finish(outside: Adapters, claim: Claim, record: Record, value: dict[str, str]) -> None:
    began = datetime.fromisoformat(record.fields["started_at"])
    seconds = (datetime.now(UTC) - began).total_seconds()
    fields = {**value, "progress": "100", "total_time": f"{seconds:.4f}"}
    if not outside.ledger.finish(claim.job_id, Status.DONE, fields, claim=claim):
        raise ClaimLost(f"another run has taken over job {claim.job_id}.")
    outside.workspace.clear(claim.job_id)
    log.info("done job_id=%s seconds=%.3f", claim.job_id, seconds)


def _as_ours(error: Exception, job_id: str) -> KioskError:
    if isinstance(error, KioskError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory(
            "the worker has not enough memory for this image. "
            "Split the image, or run the worker with more."
        )
    if isinstance(error, SoftTimeLimitExceeded):
        return InternalError("the job took longer than its time limit. Split the image.")
    log.error("unforeseen job_id=%s", job_id, exc_info=error)
    return InternalError(f"an unforeseen error ({type(error).__name__}: {error}); see the log.")


def _end_badly(task: Task[Any, Any], outside: Adapters, claim: Claim, error: KioskError) -> None:
    """Retry, give up, or leave quietly; always raises."""
    job_id = claim.job_id
    if isinstance(error, Cancelled | ClaimLost):
        if isinstance(error, Cancelled):
            outside.workspace.clear(job_id)
        log.info("left job_id=%s why=%s", job_id, error)
        raise Ignore
    if error.retry and task.request.retries < (task.max_retries or 0):
        raise task.retry(exc=error, countdown=_backoff_s(task.request.retries))
    outside.ledger.finish(job_id, Status.FAILED, {"reason": str(error)}, claim=claim)
    outside.workspace.clear(job_id)
    log.info("failed job_id=%s reason=%s", job_id, error)
    if task.request.id != job_id:  # a link before the last: the job's own result is not ours
        task.app.backend.store_result(job_id, error, FAILURE)
    raise error


def _backoff_s(retries: int) -> float:
    """Return seconds to wait: doubling, with jitter so that jobs do not come back all at once."""
    return min(2.0**retries, _BACKOFF_MAX_S) * random.uniform(0.5, 1.0)  # noqa: S311
