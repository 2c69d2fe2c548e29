"""The rows of `make bench`, in the order in which they are measured.

A row is a function of the stack and the effort; one that fails does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.figures import Result
from benchmarks.rows import jobs, links, modules, parts, real_model, scaling, start
from benchmarks.runs import Effort
from benchmarks.stack import Site

__all__ = ["ROWS", "Row"]


@dataclass(frozen=True)
class Row:
    """One thing that is measured. old: what the predecessor took, as it is told in the table."""

    title: str
    measure: Callable[[Site, Effort], Result]
    old: str = ""


ROWS: Mapping[str, Row] = {
    "start": Row("start of a worker to its first job done", start.first_job, "15.6 s"),
    "idle": Row("memory of an idle worker", start.idle_memory, "845 MB"),
    "pickup": Row("an idle worker picks a job up after", start.pick_up, "0 to 5 s"),
    "nuclear-512": Row("512² nuclear job", jobs.nuclear(512), "0.86 s wall, 0.79 CPU s"),
    "nuclear-512-labels": Row("512² nuclear job, label image only", jobs.nuclear(512, bare=True)),
    "nuclear-2048": Row("2048² nuclear job", jobs.nuclear(2048), "18.7 s wall, 17.4 CPU s"),
    "nuclear-2048-labels": Row(
        "2048² nuclear job, label image only", jobs.nuclear(2048, bare=True)
    ),
    "mesmer-1024": Row("1024² × 2 Mesmer job", jobs.mesmer, "4.36 s wall, 4.0 CPU s"),
    "track": Row("tracking 10 × 256²", jobs.track, "13.5 s wall, 7.0 CPU s"),
    "zip-6": Row("zip of 6 × 512²", jobs.zipped, "14.1 to 15.6 s"),
    "grpc": Row("gRPC round trip (1, 2048, 2048, 1) float32", parts.round_trip, "2.11 s"),
    "watershed": Row("deep watershed 2048², nuclear parameters", parts.watershed, "12.9 CPU s"),
    "ledger": Row("what a job costs the ledger", modules.module("ledger")),
    "real-512": Row("512² with the shipped model", real_model.row(512)),
    "real-2048": Row("2048² with the shipped model", real_model.row(2048)),
    "crops": Row("2,000 crops of 64² in one zip", jobs.many_crops),
    "processes": Row("two worker processes against one", scaling.processes),
    "links": Row("KIOSK_LINKS=stage against links by queue", links.row),
    "sizes": Row("one worker process, tasks of 64 px to 8k", scaling.sizes),
    "throughput": Row("1, 2 and 4 worker processes", scaling.throughput),
}
