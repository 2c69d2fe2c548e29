"""What a day was like under a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.autoscaling.cluster import Cluster, Outcome
from benchmarks.autoscaling.conditions import Conditions, Scaler
from benchmarks.autoscaling.jobs import Trace
from benchmarks.autoscaling.traces import all_traces

__all__ = ["Figures", "Make", "Rule", "measure", "measure_day"]

Make = Callable[[], Mapping[str, Scaler | None]]


@dataclass(frozen=True)
class Rule:
    """A policy with its settings. make: fresh scalers, that remember nothing."""

    name: str
    make: Make
    settings: str = ""


@dataclass(frozen=True)
class Figures:
    """Seconds of waiting, hours of pods, and what went wrong. turns: changes of direction an hour.

    A wait is what lies between a job's arrival and its end, beyond its own service time.
    """

    p50_s: float
    p95_s: float
    longest_s: float
    worker_h: float
    gpu_h: float
    reruns: float
    turns: float
    unfinished: int

    def no_worse(self, other: Figures) -> bool:
        """Return whether neither is larger, and one is smaller."""
        return (
            self.p95_s <= other.p95_s
            and self.worker_h <= other.worker_h
            and (self.p95_s, self.worker_h) != (other.p95_s, other.worker_h)
        )


def measure(name: str, rule: Rule, conditions: Conditions, seeds: Sequence[int]) -> Figures:
    """Return the mean of days that differ only by chance; percentiles are of all their jobs."""
    outcomes = []
    for seed in seeds:
        (trace,) = [trace for trace in all_traces(seed) if trace.name == name]
        outcomes.append(Cluster(trace, rule.make(), replace(conditions, seed=seed)).run())
    return _figures(outcomes)


def measure_day(trace: Trace, rule: Rule, conditions: Conditions) -> Figures:
    """Return the figures of one day."""
    return _figures([Cluster(trace, rule.make(), conditions).run()])


def _figures(outcomes: Sequence[Outcome]) -> Figures:
    waits = np.concatenate([outcome.waits() for outcome in outcomes])
    hours, days = 3600.0 * len(outcomes), len(outcomes)
    workers = [workers for outcome in outcomes for workers in outcome.workers.values()]
    servers = [outcome.models.deployment for outcome in outcomes]
    return Figures(
        p50_s=float(np.percentile(waits, 50)),
        p95_s=float(np.percentile(waits, 95)),
        longest_s=float(waits.max()),
        worker_h=sum(w.deployment.pod_seconds for w in workers) / hours,
        gpu_h=sum(server.pod_seconds for server in servers) / hours,
        reruns=sum(w.kills for w in workers) / days,
        turns=sum(w.deployment.turns for w in workers) / sum(o.end_s for o in outcomes) * 3600,
        unfinished=sum(len(outcome.jobs) for outcome in outcomes) - len(waits),
    )
