"""A fan-out: children submitted once whatever happens, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery

from kiosk_tasks.fan_out import Child, Gathered, Outcome, child_id
from kiosk_tasks.job import Status, new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ledger import Ledger, Record
from kiosk_tasks.ledger.old_fields import of_children
from kiosk_tasks.run.messages import planned, submit

__all__ = ["gather", "submit_children"]

_RESULT_FIELDS = ("output_file_name", "output_url")
_MOST_LISTED = 1000
"""Children that a parent's record lists for older clients; of more it says how many there are."""
_BATCH = 500
"""Records read at a time: those of 10,000 children would be 50 MB."""


def submit_children(
    app: Celery,
    ledger: Ledger,
    parent: str,
    children: Sequence[Child],
    check: Callable[[], None],
) -> dict[str, str]:
    """Submit the children of a job; return what its record says of them.

    Their ids follow from the parent's, so that a second run of the stage submits none twice.
    check: raises if the parent should stop.
    """
    links = {child.type_name: planned(find(child.type_name)) for child in children}
    for child in children:  # before any is submitted; kept, 10,000 would be 30 MB
        new_job(find(child.type_name), child.fields)
    ids = []
    for number, child in enumerate(children):
        check()
        job = new_job(
            find(child.type_name),
            child.fields,
            job_id=child_id(parent, number),
            input_bytes=child.input_bytes,
            files=child.files,
        )
        submit(app, ledger, job, parent=parent, links=links[child.type_name], ignore_result=True)
        ids += _ids(job.id, child.files)
    return {"total_jobs": str(len(ids)), **_listed("children", ids)}


def gather(
    ledger: Ledger, parent: str, keep: Any, *, archive: bool = False
) -> tuple[Gathered, dict[str, str]]:
    """Return what became of a job's children, in their order, and what its record says of them.

    archive: whether they are files of one, of each of which older clients read more.
    """
    ids = ledger.children(parent)
    outcomes, done = list[Outcome](), list[Record]()
    ended: dict[bool, list[str]] = {True: [], False: []}
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        found = {record.id: record for record in ledger.records(batch)}
        for child in batch:
            record = found.get(child)
            outcomes.append(_outcome(child, record))
            for ok, which in _ended(child, record, ok=outcomes[-1].ok).items():
                ended[ok] += which
        if archive and sum(map(len, ended.values())) <= _MOST_LISTED:
            done += [record for record in found.values() if record.status is Status.DONE]
    told = {
        **(of_children(done) if sum(map(len, ended.values())) <= _MOST_LISTED else {}),
        **_listed("children:done", ended[True]),
        **_listed("children:failed", ended[False]),
    }
    return Gathered(keep, tuple(outcomes)), told


def _ids(child: str, files: int | None) -> list[str]:
    """Return what a child is listed as: each of its files, where it does many."""
    return [child] if files is None else [child_id(child, number) for number in range(files)]


def _ended(child: str, record: Record | None, *, ok: bool) -> dict[bool, list[str]]:
    """Return which of a child's ids are done, and which have failed; it has one, or many files."""
    files = int(record.fields.get("files") or 0) if record else 0
    if not (files and ok and record):
        return {ok: _ids(child, files or None)}
    words = {True: "files:done", False: "files:failed"}
    return {one: list(filter(None, record.fields[f].split(","))) for one, f in words.items()}


def _listed(field: str, ids: Sequence[str]) -> dict[str, str]:
    """Return a field of the parent's record that lists children, unless there are too many."""
    return {field: ",".join(ids)} if len(ids) <= _MOST_LISTED else {}


def _outcome(child: str, record: Record | None) -> Outcome:
    if record is None:
        return Outcome(child, "", ok=False, reason=f"the record of job {child} is gone.")
    name, fields = record.fields["original_name"], record.fields
    if record.status is not Status.DONE:
        return Outcome(child, name, ok=False, reason=fields.get("reason", ""))
    output = {f: fields.get(f, "") for f in _RESULT_FIELDS}
    return Outcome(child, name, ok=True, output=output, seconds=float(fields.get("total_time", 0)))
