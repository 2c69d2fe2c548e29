"""A worker that starts, waits, and takes a job."""

from __future__ import annotations

import random
import time

import psutil

from benchmarks.figures import Figure, Result
from benchmarks.inputs import field
from benchmarks.runs import Effort, Kind, finished, run_jobs, submit
from benchmarks.stack import Site

__all__ = ["first_job", "idle_memory", "pick_up"]

START_GOAL_S = 4.0
PARENT_GOAL_MB, CHILD_GOAL_MB = 130.0, 110.0
PICK_UP_GOAL_MS = 10.0
_SETTLED_S = 1.0  # a worker that is ready has finished importing; its child may still be forked


def first_job(site: Site, effort: Effort) -> Result:
    """Start workers for which a 512² job waits already."""
    kind = _kind(site, 512)
    done, ready = [], []
    for _ in range(effort.rounds):
        job_id = submit(kind)
        start = time.perf_counter()
        with site.worker("predict") as worker:
            finished([job_id])
            done.append(time.perf_counter() - start)
            ready.append(worker.start_s)
    return Result(
        (
            Figure("start to first job done", "s", tuple(done), START_GOAL_S),
            Figure("start to ready", "s", tuple(ready)),
        )
    )


def idle_memory(site: Site, effort: Effort) -> Result:
    """Resident memory of parent and child before the first job, and after one of 512²."""
    kind = _kind(site, 512)
    columns: dict[str, list[float]] = {}
    for _ in range(effort.rounds):
        with site.worker("predict") as worker:
            time.sleep(_SETTLED_S)
            before = _memory(worker.process)
            run_jobs(site, worker, kind)
            after = _memory(worker.process)
        for name, value in before.items():
            columns.setdefault(name, []).append(value)
        for name, value in after.items():
            columns.setdefault(f"{name}, after a 512² job", []).append(value)
    goals = {"parent, resident": PARENT_GOAL_MB, "child, resident": CHILD_GOAL_MB}
    return Result(
        tuple(
            Figure(name, "MB", tuple(values), goals.get(name)) for name, values in columns.items()
        )
    )


def pick_up(site: Site, effort: Effort) -> Result:
    """From a job's submission until a worker that waits has claimed it."""
    kind, delays = _kind(site, 64), []
    pauses = random.Random(0)  # noqa: S311  # the broker is asked in turns of a second
    with site.worker("predict") as worker:
        run_jobs(site, worker, kind, 2)
        for _ in range(effort.of(20, 6)):
            time.sleep(pauses.uniform(0.3, 1.5))
            (wait_s,) = run_jobs(site, worker, kind).waits
            delays.append(1000 * wait_s)
    return Result((Figure("submission to claim", "ms", tuple(delays), PICK_UP_GOAL_MS),))


def _kind(site: Site, side: int) -> Kind:
    return Kind("predict", site.put(f"{side}.tif", field(side)), {"mpp": 0.65})


def _memory(worker: psutil.Process) -> dict[str, float]:
    (child,) = worker.children()
    parent, its = worker.memory_full_info(), child.memory_full_info()
    return {
        "parent, resident": parent.rss / 1e6,
        "child, resident": its.rss / 1e6,
        "child, of its own": its.uss / 1e6,
    }
