"""How throughput grows with worker processes, and costs with the size of an image."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.figures import Figure, Result, Table, rounded
from benchmarks.inputs import field
from benchmarks.rows.jobs import MPP
from benchmarks.runs import ROLES, Effort, Kind, Run, run_jobs
from benchmarks.stack import Site

__all__ = ["processes", "sizes", "throughput"]

TWO_GOAL = 1.8  #: times the throughput of one process
SIDES = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
_ROUNDS = {4096: 3, 8192: 2}  # fewer than else
_BUDGET_S = 40.0  # of a side
_SPOTS_SIDE = 1024
LOADS = {64: 60, 512: 24, 2048: 6, 8192: 0}
"""Jobs of a round, by their side; 0: one for each process."""
PROCESSES = (1, 2, 4)


def processes(site: Site, effort: Effort) -> Result:
    """Find spots, which asks no model server, in images of a folder: only workers work."""
    kind = Kind("spot", site.put("spots.tif", field(_SPOTS_SIDE)), {"diameter": 9})
    rates: dict[int, list[float]] = {}
    many = effort.of(24, 6)
    for count in (1, 2):
        with site.worker("spot", processes=count, bucket="file") as worker:
            run_jobs(site, worker, kind, 2 * count, together=True)
            rates[count] = [
                many / run_jobs(site, worker, kind, many, together=True).span_s
                for _ in effort.runs()
            ]
    one, two = (Figure(f"{n} process{'es' * (n > 1)}", "1/s", tuple(rates[n])) for n in (1, 2))
    ratios = tuple(rate / one.median for rate in two.values)
    ratio = Figure("two against one", "", ratios, TWO_GOAL, at_least=True)
    return Result((ratio, one, two))


def sizes(site: Site, effort: Effort) -> Result:
    """One worker process and one job at a time, by the side of the image."""
    sides = SIDES[: effort.of(len(SIDES), 5)]
    kinds = {s: Kind("predict", site.put(f"{s}.tif", field(s)), MPP) for s in sides}
    costs = []
    with site.worker("predict") as worker:
        run_jobs(site, worker, kinds[64], 2)
        found = {
            side: [
                run_jobs(site, worker, kind, effort.of(max(1, min(20, 2048 // side)), 2))
                for _ in effort.runs(_ROUNDS.get(side), budget_s=_BUDGET_S)
            ]
            for side, kind in kinds.items()
        }
    with site.worker("predict", counted=True) as worker:
        run_jobs(site, worker, kinds[64])
        for side, kind in kinds.items():
            passed = run_jobs(site, worker, kind).passed
            costs.append(_costs(side, found[side], passed))
    return Result(tables=(_table(costs),), facts={"costs": costs})


def throughput(site: Site, effort: Effort) -> Result:
    """As many jobs as keep all processes busy, sent at once."""
    sides = list(LOADS)[: effort.of(len(LOADS), 2)]
    kinds = {s: Kind("predict", site.put(f"{s}.tif", field(s)), MPP) for s in sides}
    rates: list[dict[str, Any]] = []
    for count in PROCESSES:
        with site.worker("predict", processes=count) as worker:
            run_jobs(site, worker, kinds[64], 4 * count, together=True)
            for side, kind in kinds.items():
                if side == max(LOADS) and count > 2:
                    continue  # memory: each process has such an image of its own
                many = (LOADS[side] and effort.of(LOADS[side], 8)) or count
                rounds = 1 if side == max(LOADS) else None
                values = [
                    many / run_jobs(site, worker, kind, many, together=True).span_s
                    for _ in effort.runs(rounds, budget_s=_BUDGET_S)
                ]
                rates.append({"side": side, "processes": count, "rates": [*map(rounded, values)]})
    return Result(facts={"rates": rates})


def _costs(side: int, runs: list[Run], passed: Mapping[str, float]) -> dict[str, Any]:
    """Return what one job takes of each resource, medians."""
    return {
        "side": side,
        "wall_s": rounded(median([run.wall_s for run in runs])),
        "in_worker_s": rounded(median([run.wall_s - run.wait_s for run in runs])),
        "model_s": rounded(median([run.model_s for run in runs])),
        "cpu_s": {r: rounded(median([run.cpu_s.get(r, 0.0) for run in runs])) for r in ROLES},
        "child_peak_mb": rounded(median([run.peak_mb["child"] for run in runs])),
        "bytes": {name: round(count) for name, count in passed.items()},
    }


def _table(costs: list[dict[str, Any]]) -> Table:
    columns = (
        *("side, px", "wall, s", *(f"CPU of {role}, s" for role in ROLES), "model at work, s"),
        *("peak of child, MB", "to and from bucket, MB", "model server, MB", "broker, kB"),
    )
    rows = []
    for c in costs:
        passed = c["bytes"]
        moved = (passed["bucket"] / 1e6, passed["model server"] / 1e6, passed["broker"] / 1e3)
        cpus = (c["cpu_s"][role] for role in ROLES)
        rows.append((c["side"], c["wall_s"], *cpus, c["model_s"], c["child_peak_mb"], *moved))
    return Table("costs of a job by its size", columns, tuple(rows))
