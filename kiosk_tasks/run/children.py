"""A fan-out: children submitted once whatever happens, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery

from kiosk_tasks.fan_out import Child, Gathered, Outcome, child_id
from kiosk_tasks.job import Status, new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ledger import Ledger, Record
from kiosk_tasks.run.messages import planned, submit

__all__ = ["gather", "submit_children"]

_RESULT_FIELDS = ("output_file_name", "output_url")


def submit_children(
    app: Celery,
    ledger: Ledger,
    parent: str,
    children: Sequence[Child],
    check: Callable[[], None],
) -> None:
    """Submit the children of a job.

    Their ids follow from the parent's, so that a second run of the stage submits none twice.
    check: raises if the parent should stop.
    """
    jobs = [
        new_job(find(child.type_name), child.fields, job_id=child_id(parent, number))
        for number, child in enumerate(children)
    ]
    links = {name: planned(find(name)) for name in {job.type_name for job in jobs}}
    for job in jobs:
        check()
        submit(app, ledger, job, parent=parent, links=links[job.type_name])


def gather(ledger: Ledger, parent: str, keep: Any) -> Gathered:
    """Return what became of a job's children, in their order."""
    ids = ledger.children(parent)
    found = {record.id: record for record in ledger.records(ids)}
    return Gathered(keep, tuple(_outcome(child, found.get(child)) for child in ids))


def _outcome(child: str, record: Record | None) -> Outcome:
    if record is None:
        return Outcome(child, "", ok=False, reason=f"the record of job {child} is gone.")
    name, fields = record.fields["original_name"], record.fields
    if record.status is not Status.DONE:
        return Outcome(child, name, ok=False, reason=fields.get("reason", ""))
    return Outcome(child, name, ok=True, output={f: fields.get(f, "") for f in _RESULT_FIELDS})
