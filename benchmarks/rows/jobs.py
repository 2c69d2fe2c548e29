"""Jobs of the predecessor's table, with nearly free models; and an archive of many crops.

An input has no pixel size; `mpp` says that it is the model's own, as the predecessor assumes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.figures import Figure, Result
from benchmarks.inputs import crops, field, movie, tissue, zipped_fields
from benchmarks.runs import Effort, Kind, Run, job_result, run_jobs
from benchmarks.stack import FREE, Site

__all__ = ["many_crops", "measured", "mesmer", "nuclear", "track", "zipped"]

MPP = {"mpp": 0.65}
GOALS: Mapping[int, Mapping[str, float]] = {
    512: {"worker CPU": 0.10},
    2048: {"wall": 1.5, "worker CPU": 1.5},
}
CROPS_GOAL = 150.0  #: images per second
_CROPS_BUDGET_S = 60.0


def measured(
    site: Site,
    effort: Effort,
    kind: Kind,
    *queues: str,
    per_round: int = 1,
    models: Mapping[str, str] = FREE,
) -> tuple[list[Run], Run]:
    """Return runs of a kind of job by a worker of one process, and one whose bytes were counted.

    per_round: jobs of a run; of slow ones a single job warms the worker up, too.
    """
    first = min(per_round, 2)
    with site.worker(*queues, models=models) as worker:
        run_jobs(site, worker, kind, first)
        runs = [run_jobs(site, worker, kind, effort.of(per_round, 1)) for _ in effort.runs()]
    with site.worker(*queues, models=models, counted=True) as worker:
        run_jobs(site, worker, kind)
        return runs, run_jobs(site, worker, kind, first)


def nuclear(side: int, *, bare: bool = False) -> Callable[[Site, Effort], Result]:
    """Return the row of nuclear jobs of that side. bare: label images only."""

    def row(site: Site, effort: Effort) -> Result:
        params = {**MPP, "labels_only": True} if bare else MPP
        kind = Kind("predict", site.put(f"{side}.tif", field(side)), params)
        per_round = 8 if side == 512 else 2
        runs, counted = measured(site, effort, kind, "predict", per_round=per_round)
        return job_result(runs, counted, goals=GOALS[side])

    return row


def mesmer(site: Site, effort: Effort) -> Result:
    """1024² px of two channels, at the model's pixel size."""
    kind = Kind("mesmer", site.put("tissue.tif", tissue(1024)), {"mpp": 0.5})
    runs, counted = measured(site, effort, kind, "mesmer", per_round=3)
    return job_result(runs, counted, goals={"wall": 0.6, "worker CPU": 0.6})


def track(site: Site, effort: Effort) -> Result:
    """Ten frames of 256² px."""
    kind = Kind("track", site.put("movie.tif", movie(10, 256)), MPP)
    runs, counted = measured(site, effort, kind, "track", "predict", per_round=3)
    return job_result(runs, counted, goals={"wall": 1.0})


def zipped(site: Site, effort: Effort) -> Result:
    """Six fields of 512² px in one archive."""
    kind = Kind("predict", site.put("fields.zip", zipped_fields(6, 512)), MPP)
    runs, counted = measured(site, effort, kind, "predict", per_round=2)
    return job_result(runs, counted, goals={"wall": 1.5})


def many_crops(site: Site, effort: Effort) -> Result:
    """2,000 crops of 64² px in one archive, by a worker of one process, for either bucket."""
    count = effort.of(2000, 100)
    kind = Kind("predict", site.put("crops.zip", crops(count)), MPP)
    first = Kind("predict", site.put("some.zip", crops(20)), MPP)
    rates, runs = [], {}
    for bucket, called in (("s3", "bucket over HTTP"), ("file", "bucket in a folder")):
        with site.worker("predict", bucket=bucket) as worker:
            run_jobs(site, worker, first)
            runs[bucket] = [
                run_jobs(site, worker, kind) for _ in effort.runs(budget_s=_CROPS_BUDGET_S)
            ]
        values = tuple(count / run.wall_s for run in runs[bucket])
        name = f"images per second, {called}"
        rates.append(Figure(name, "1/s", values, CROPS_GOAL, at_least=True))
    return job_result(runs["s3"], goals={}, more=rates)
