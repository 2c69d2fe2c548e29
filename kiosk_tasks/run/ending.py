"""Ending a job: its record, its files, its children, and the parent that waited for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.result import denied_join_result
from celery.states import FAILURE
from kombu.exceptions import OperationalError

from kiosk_tasks.errors import BrokerUnavailable, Cancelled, KioskError
from kiosk_tasks.job import Status
from kiosk_tasks.jobs import find
from kiosk_tasks.ledger import Claim, Ledger, Record
from kiosk_tasks.outputs import output_folder, parts_folder
from kiosk_tasks.run.messages import send
from kiosk_tasks.wiring import Adapters

__all__ = ["discard", "end_badly", "end_children", "finish", "resume"]

log = logging.getLogger(__name__)

_BATCH = 500
"""Children's records read at a time."""


def finish(
    app: Celery,
    ledger: Ledger,
    job_id: str,
    status: Status,
    fields: dict[str, str],
    *,
    claim: Claim | None = None,
) -> bool:
    """Write a terminal status, and go on with the parent if this was its last child.

    Returns False if the job had ended before, or the claim was lost.
    """
    ending = ledger.finish(job_id, status, fields, claim=claim)
    if ending.parent:
        try:
            resume(app, ledger, ending.parent)
        except BrokerUnavailable as exc:  # it waits all the same: the reaper sends it
            log.warning("not sent job_id=%s why=%s", ending.parent, exc)
    return ending.written


def end_badly(
    app: Celery, ledger: Ledger, job_id: str, error: KioskError, *, claim: Claim | None = None
) -> bool:
    """End a job with what went wrong, and its children with it; False as for `finish`."""
    status = Status.CANCELLED if isinstance(error, Cancelled) else Status.FAILED
    if not finish(app, ledger, job_id, status, {"reason": str(error)}, claim=claim):
        return False
    end_children(app, ledger, job_id, status)
    # whoever waits for the result by the job's id learns of it, whichever link it was
    app.backend.store_result(job_id, error, FAILURE)
    log.info("%s job_id=%s reason=%s", status, job_id, error)
    return True


def end_children(app: Celery, ledger: Ledger, job_id: str, status: Status | None) -> None:
    """Cancel the children, of a job that has ended, that have not; nobody waits for them.

    status: the job's; None if its record is gone.
    """
    for child in ledger.children(job_id):
        end_badly(
            app, ledger, child, Cancelled(f"its parent, job {job_id}, is {status or 'gone'}.")
        )


def discard(
    outside: Adapters, job_id: str, *, output: bool, sign: Callable[[], None] = lambda: None
) -> None:
    """Remove what an ended job's runs have left: artifacts, and all that a fan-out was made of.

    output: also what lies where its result would be; only for a job that is not done.
    sign: leaves a sign of life, for each of its children; there may be thousands.
    """
    outside.workspace.clear(job_id)
    outside.storage.delete_all(parts_folder(job_id))
    children = outside.ledger.children(job_id)
    for start in range(0, len(children), _BATCH):
        batch = children[start : start + _BATCH]
        found = {record.id: record for record in outside.ledger.records(batch)}
        for child in batch:
            sign()
            _discard_output(outside, child, found.get(child))
    if output:
        outside.storage.delete_all(output_folder(job_id))


def _discard_output(outside: Adapters, child: str, record: Record | None) -> None:
    """Remove the result of an ended job's child: its parent had it, or never will.

    One that is not done has none, or removes it itself.
    """
    folder = output_folder(child)
    if record is None:
        outside.storage.delete_all(folder)
    elif record.status is Status.DONE:
        key = record.fields.get("output_file_name", "")
        if key.startswith(folder):
            outside.storage.delete(key)


def resume(app: Celery, ledger: Ledger, job_id: str) -> Any:
    """Send the link that a job waits for, as its record names it; raises BrokerUnavailable."""
    fields = ledger.record(job_id).fields
    type_name, start = find(fields["job_type"]).name, int(fields["stage_index"])
    # Nobody waits here for the result: without this each sending leaves a subscription behind.
    try:
        with denied_join_result():
            return send(app, type_name, job_id, start=start, artifact=fields.get("artifact", ""))
    except OperationalError as exc:
        raise BrokerUnavailable(f"the message of job {job_id} could not be sent.") from exc
