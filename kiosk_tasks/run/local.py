"""A job in this process: the same stages as one link, with no broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kiosk_tasks.errors import KioskError
from kiosk_tasks.fan_out import Child, FanOut, Gathered, Outcome, child_id
from kiosk_tasks.job import Job, Status, new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.outputs import output_folder, parts_folder
from kiosk_tasks.ports import Fact
from kiosk_tasks.stages import check_job, run_stages
from kiosk_tasks.wiring import Adapters, make_context

__all__ = ["MemoryReporter", "run_local"]

OnChange = Callable[[str, int], None]
"""Called with the status word and the percentage."""


class MemoryReporter:
    """The `Reporter` of a local run: facts stay here, changes go to a callback."""

    def __init__(self, on_change: OnChange | None = None) -> None:
        """on_change: told of every new status word and percentage."""
        self._on_change = on_change or (lambda _status, _percent: None)
        self._notes: dict[str, Fact] = {}
        self._status, self._percent = "new", 0
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, status: str | None) -> Iterator[None]:
        """Enclose one stage."""
        self._status = str(status or self._status)
        self._on_change(self._status, self._percent)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def waiting(self) -> None:
        """Say that the job waits for its children."""
        self._status = str(Status.WAITING)
        self._on_change(self._status, self._percent)

    def check(self) -> None:
        """Go on: nobody but Ctrl-C stops a local run."""

    def progress(self, done: int, total: int) -> None:
        """Pass the percentage on."""
        self._percent = 100 * done // max(total, 1)
        self._on_change(self._status, self._percent)

    def note(self, **facts: Fact) -> None:
        """Keep facts."""
        self._notes.update(facts)

    def notes(self) -> dict[str, Fact]:
        """Return the facts and the seconds of the stages that are done."""
        return {**self._notes, "seconds": {name: round(s, 4) for name, s in self.seconds.items()}}


def run_local(
    job: Job, *, given: Adapters | None = None, report: MemoryReporter | None = None
) -> dict[str, Any]:
    """Run all stages of a job here; return what the last one gave.

    Raises the KioskError that made the job fail.
    """
    steps = find(job.type_name).steps
    report = report or MemoryReporter()
    ctx = make_context(job, report, given=given)
    check_job(steps, ctx)
    children: list[str] = []
    value: Any = None
    try:
        for step in steps:
            value = run_stages([step], value, ctx)
            if isinstance(value, FanOut):
                children = [child_id(job.id, number) for number in range(len(value.children))]
                report.waiting()
                value = _run_children(value, children, report, given)
    finally:  # whatever became of it: neither its parts nor its children's results are of use
        ctx.storage.delete_all(parts_folder(job.id))
        for child in children:
            ctx.storage.delete_all(output_folder(child))
    result: dict[str, Any] = value
    return result


def _run_children(
    work: FanOut, ids: Sequence[str], report: MemoryReporter, given: Adapters | None
) -> Gathered:
    """Run the children one after the other; a child that fails is told of, as in a queue."""
    outcomes, done = [], 0
    total = sum(child.files or 1 for child in work.children)
    for child, job_id in zip(work.children, ids, strict=True):
        outcomes.append(_run_child(child, job_id, given))
        done += child.files or 1
        report.progress(done, total)
    return Gathered(work.keep, tuple(outcomes))


def _run_child(child: Child, job_id: str, given: Adapters | None) -> Outcome:
    job = new_job(find(child.type_name), child.fields, job_id=job_id)
    start = time.perf_counter()
    try:
        output = run_local(job, given=given)
    except KioskError as exc:
        return Outcome(job_id, job.source.name, ok=False, reason=str(exc))
    seconds = time.perf_counter() - start
    return Outcome(job_id, job.source.name, ok=True, output=output, seconds=seconds)
