"""What it costs to run each stage as a task of its own, by image size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.figures import Result, Table
from benchmarks.inputs import field
from benchmarks.rows.jobs import MPP
from benchmarks.runs import Effort, Kind, Run, run_jobs
from benchmarks.stack import Site

__all__ = ["row"]

SIDES = (64, 256, 512, 1024, 2048, 4096)
MODES = ("queue", "stage")
_FEWER = {4096: 3}  # runs of that side
_BUDGET_S = 40.0  # of a side
COLUMNS = (
    *("side, px", "worker CPU, queue, s", "stage, s", "more, s"),
    *("job wall, queue, s", "stage, s", "more, s"),
    *("broker CPU, queue, ms", "stage, ms", "bucket, queue, MB", "stage, MB"),
)


def row(site: Site, effort: Effort) -> Result:
    """Run the same jobs either way in turns, on one worker."""
    kinds = {
        side: Kind("predict", site.put(f"{side}.tif", field(side)), MPP)
        for side in SIDES[: effort.of(len(SIDES), 3)]
    }
    found: dict[tuple[int, str], list[Run]] = {(s, mode): [] for s in kinds for mode in MODES}
    counted = {}
    with site.worker("predict") as worker:
        run_jobs(site, worker, kinds[64], 2)
        for side, kind in kinds.items():
            many = effort.of(max(1, 2048 // side // 2), 1)
            for _ in effort.runs(_FEWER.get(side), budget_s=_BUDGET_S):
                for mode in MODES:
                    with _links(mode):
                        found[side, mode].append(run_jobs(site, worker, kind, min(many, 10)))
    with site.worker("predict", counted=True) as worker:
        run_jobs(site, worker, kinds[64])
        for side, kind in kinds.items():
            for mode in MODES:
                with _links(mode):
                    counted[side, mode] = run_jobs(site, worker, kind).passed
    rows = []
    for side in kinds:
        cpu, wall, broker = (
            [median([of(run) for run in found[side, mode]]) for mode in MODES]
            for of in (_cpu, _wall, _broker)
        )
        megabytes = [counted[side, mode]["bucket"] / 1e6 for mode in MODES]
        more = [cpu[1] - cpu[0], wall[1] - wall[0]]
        rows.append((side, *cpu, more[0], *wall, more[1], *broker, *megabytes))
    return Result(tables=(Table("each stage a task of its own", COLUMNS, tuple(rows)),))


def _cpu(run: Run) -> float:
    return run.worker_cpu_s


def _wall(run: Run) -> float:
    return run.wall_s


def _broker(run: Run) -> float:
    return 1000 * run.cpu_s["broker"]


@contextmanager
def _links(mode: str) -> Iterator[None]:
    """Have this process, which submits, decide how jobs are cut."""
    os.environ["KIOSK_LINKS"] = mode
    try:
        yield
    finally:
        del os.environ["KIOSK_LINKS"]
