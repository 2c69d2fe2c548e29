"""Runs of jobs through the queue, and what each has cost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

from benchmarks.accounting import busy_seconds, minus
from benchmarks.figures import Figure, Result, rounded
from benchmarks.stack import Site, Worker
from kiosk_tasks.ledger import Record

__all__ = ["Effort", "JobFailed", "Kind", "Run", "finished", "job_result", "run_jobs", "submit"]

_POLL_S = 0.02  # a look costs the broker some 15 µs,
_POLL_SHARE = 0.05  # so there are fewer of a long job
_LIMIT_S = 300.0
ROLES = ("child", "worker", "model server", "broker", "bucket")


class JobFailed(Exception):
    """A job of a benchmark did not come to its end."""


@dataclass(frozen=True)
class Effort:
    """How much is measured. quick: for a look at whether rows work, not for figures."""

    quick: bool = False

    @property
    def rounds(self) -> int:
        """Runs of which medians are taken."""
        return 2 if self.quick else 5

    def runs(self, most: int | None = None, *, budget_s: float = 60.0) -> Iterator[int]:
        """Yield the numbers of runs: no further one begins once they have taken so long.

        most: where it is fewer than `rounds`.
        """
        end = time.monotonic() + budget_s
        for number in range(min(most or self.rounds, self.rounds)):
            if number and time.monotonic() > end:
                return
            yield number

    def of(self, full: int, quick: int) -> int:
        """Return one of the two."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Kind:
    """A job to be run again and again. key: of its input in the bucket."""

    job_type: str
    key: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Some jobs, and the costs of one of them.

    walls: seconds of each job from its submission to its end; waits: until it was claimed.
    span_s: from the first job's submission to the last one's end.
    cpu_s, peak_mb: by role, per job. stages_s: by stage. model_s: for how long the model server was
    at work; model_sum_s: the sum over its runs. passed: bytes, where they were counted.
    """

    walls: tuple[float, ...]
    waits: tuple[float, ...]
    span_s: float
    cpu_s: Mapping[str, float]
    peak_mb: Mapping[str, float]
    stages_s: Mapping[str, float]
    model_s: float
    passed: Mapping[str, float]
    records: tuple[Record, ...]

    @property
    def wall_s(self) -> float:
        """The median job's."""
        return median(self.walls)

    @property
    def wait_s(self) -> float:
        """The median job's, until it was claimed."""
        return median(self.waits)

    @property
    def worker_cpu_s(self) -> float:
        """Of parent and children."""
        return self.cpu_s["worker"] + self.cpu_s["child"]


def submit(kind: Kind) -> str:
    """Submit a job on a file that is in the bucket; return its id."""
    # Celery reads its settings when this is imported: not before the stack runs.
    from kiosk_tasks import service

    return service.submit(kind.job_type, {**kind.params, "input_file_name": kind.key}).id


def finished(job_ids: Sequence[str]) -> tuple[Record, ...]:
    """Wait until jobs have ended; return their records. Raises JobFailed."""
    from kiosk_tasks.ledger.stamps import stamps
    from kiosk_tasks.wiring import adapters

    ledger, start = adapters().ledger, time.monotonic()
    for job_id in job_ids:
        while stamps(ledger, [job_id])[job_id][0] not in ("done", "failed", "cancelled"):
            if time.monotonic() > start + _LIMIT_S:
                raise JobFailed(f"job {job_id} has not ended within {_LIMIT_S:g} s")
            time.sleep(max(_POLL_S, _POLL_SHARE * (time.monotonic() - start)))
    records = tuple(ledger.record(job_id) for job_id in job_ids)
    for record in records:
        if record.status != "done":
            raise JobFailed(f"a job {record.status}: {record.fields.get('reason')}")
    return records


def run_jobs(
    site: Site, worker: Worker, kind: Kind, count: int = 1, *, together: bool = False
) -> Run:
    """Run so many jobs, one after the other or all at once."""
    processes, log = site.processes(worker), site.model_log()
    processes.forget_peaks()
    cpu_s, passed = processes.cpu_s(), worker.passed()
    if together:
        records = finished([submit(kind) for _ in range(count)])
    else:
        records = tuple(finished([submit(kind)])[0] for _ in range(count))
    used = minus(processes.cpu_s(), cpu_s)
    stages: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for stage, seconds in record.seconds().items():
            stages[stage].append(seconds)
    begin = min(_moment(record, "created_at") for record in records)
    return Run(
        walls=tuple(_between(record, "created_at", "finished_at") for record in records),
        waits=tuple(_between(record, "created_at", "started_at") for record in records),
        span_s=max(_moment(record, "finished_at") for record in records) - begin,
        cpu_s={role: seconds / count for role, seconds in used.items()},
        peak_mb=processes.peak_mb(),
        stages_s={stage: median(seconds) for stage, seconds in stages.items()},
        model_s=busy_seconds(log.runs()) / count,
        passed={n: b / count for n, b in minus(worker.passed(), passed).items()},
        records=records,
    )


def job_result(
    runs: Sequence[Run],
    counted: Run | None = None,
    *,
    goals: Mapping[str, float],
    more: Sequence[Figure] = (),
) -> Result:
    """Return the figures of runs of one kind of job.

    counted: a run whose bytes were counted. goals: of "wall" and "worker CPU", seconds.
    """

    def figure(name: str, unit: str, of: Callable[[Run], float]) -> Figure:
        return Figure(name, unit, tuple(map(of, runs)), goals.get(name))

    def of_role(what: str, role: str) -> Callable[[Run], float]:
        return lambda run: float(getattr(run, what).get(role, 0.0))

    figures = [figure("wall", "s", lambda run: run.wall_s)]
    figures.append(figure("worker CPU", "s", lambda run: run.worker_cpu_s))
    figures += [figure(f"CPU of {role}", "s", of_role("cpu_s", role)) for role in ROLES]
    figures += [figure(f"peak of {role}", "MB", of_role("peak_mb", role)) for role in ROLES]
    figures.append(figure("model at work", "s", lambda run: run.model_s))
    stages = list(dict.fromkeys(stage for run in runs for stage in run.stages_s))
    facts = {
        "stages_s": {
            stage: rounded(median([run.stages_s[stage] for run in runs if stage in run.stages_s]))
            for stage in stages
        },
        "bytes": {name: round(passed) for name, passed in counted.passed.items()}
        if counted
        else {},
    }
    return Result((*figures, *more), facts=facts)


def _moment(record: Record, name: str) -> float:
    return datetime.fromisoformat(record.fields[name]).timestamp()


def _between(record: Record, first: str, last: str) -> float:
    return _moment(record, last) - _moment(record, first)
