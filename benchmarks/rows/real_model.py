"""What a job takes beyond the model server's own time, with the shipped nuclear model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks.figures import Figure, Result
from benchmarks.inputs import field
from benchmarks.rows.jobs import MPP, measured
from benchmarks.runs import Effort, Kind, Run, job_result
from benchmarks.stack import SHIPPED, Site

__all__ = ["row"]

BEYOND_GOAL = {512: 0.4, 2048: 0.3}
WALL_GOAL = {2048: 1.2}  #: of one tile nothing overlaps
CASES = {"pixel size given": MPP, "pixel size unknown": {}}


def row(side: int) -> Callable[[Site, Effort], Result]:
    """Return the row of that side: with the pixel size given, and found by looking."""

    def measure(site: Site, effort: Effort) -> Result:
        key = site.put(f"{side}.tif", field(side))
        figures, facts = [], {}
        for case, params in CASES.items():
            kind = Kind("predict", key, params)
            per_round = 3 if side == 512 else 1
            runs, counted = measured(
                site, effort, kind, "predict", per_round=per_round, models=SHIPPED
            )
            plain = job_result(runs, counted, goals={}, more=_ratios(runs, side))
            figures += [replace(f, name=f"{f.name}, {case}") for f in plain.figures]
            facts[case] = dict(plain.facts)
        return Result(tuple(figures), facts={"cases": facts})

    return measure


def _ratios(runs: list[Run], side: int) -> list[Figure]:
    """Return shares of what the model server took: of its CPU, and of its time at work."""

    def figure(name: str, values: list[float], goal: float | None) -> Figure:
        return Figure(name, "", tuple(values), goal)

    goal = BEYOND_GOAL[side]
    beyond = [(run.wall_s - run.wait_s - run.model_s) / run.model_s for run in runs]
    cpu = [run.worker_cpu_s / run.cpu_s["model server"] for run in runs]
    return [
        figure("worker CPU / model server CPU", cpu, goal),
        figure("time in the worker beyond the model / model", beyond, goal),
        figure("job wall / model", [run.wall_s / run.model_s for run in runs], WALL_GOAL.get(side)),
    ]
