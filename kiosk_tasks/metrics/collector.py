"""A look at the ledger as Prometheus reads it. Labels are bounded: they are declared names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from kiosk_tasks.errors import KioskError
from kiosk_tasks.ledger.numbers import Numbers
from kiosk_tasks.metrics.histograms import tally_metrics
from kiosk_tasks.metrics.source import Snapshot, Source
from kiosk_tasks.queues import QueueState

__all__ = ["LedgerCollector"]

_OF_QUEUES = {
    "waiting": ("waiting", "Jobs that no worker has taken."),
    "in_flight": ("in_flight", "Jobs that a worker has."),
    "oldest_wait_seconds": ("oldest_wait_s", "How long the oldest of the waiting jobs has waited."),
    "outstanding_seconds": ("outstanding_s", "Predicted work of all open jobs, on one process."),
    "model_seconds": ("model_s", "The part of it that the model server has to do."),
    "wanted_workers": ("wanted_workers", "How many workers should be there."),
}
"""Name of the metric -> name of the field, and what it tells."""


class LedgerCollector:
    """Looks when it is asked: everything that it yields at once is of one moment."""

    def __init__(self, source: Source) -> None:
        """source: of the ledger to look at."""
        self._source = source

    def describe(self) -> Iterable[Metric]:
        """Name nothing: registering this must not need a broker."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield what the ledger says; of a broker that is away, only that it is."""
        try:
            found = self._source.look()
        except KioskError:
            yield _up(0)
            return
        yield _up(1)
        yield from _queues(found.states)
        yield _most(found.most_workers)
        yield GaugeMetricFamily(
            "kiosk_model_servers_wanted",
            "How many model servers should be there.",
            value=found.model_servers_wanted,
        )
        yield from _jobs(found.numbers)
        yield from _of_the_ledger(found)


def _up(value: int) -> GaugeMetricFamily:
    return GaugeMetricFamily("kiosk_broker_up", "Whether the broker answers.", value=value)


def _queues(states: Iterable[QueueState]) -> Iterator[GaugeMetricFamily]:
    states = list(states)
    for name, (field, told) in _OF_QUEUES.items():
        gauge = GaugeMetricFamily(f"kiosk_queue_{name}", told, labels=("queue",))
        for state in states:
            gauge.add_metric((state.queue,), getattr(state, field))
        yield gauge


def _most(workers: Mapping[str, int]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(
        "kiosk_queue_max_workers", "How many workers the queue may have.", labels=("queue",)
    )
    for queue, most in workers.items():
        gauge.add_metric((queue,), most)
    return gauge


def _jobs(numbers: Numbers) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "kiosk_jobs", "Jobs that have not ended, children included.", labels=("state",)
    )
    jobs.add_metric(("running",), numbers.running)
    jobs.add_metric(("waiting",), max(0, numbers.open - numbers.running))
    yield jobs
    yield _counted(
        "kiosk_jobs_submitted",
        "Jobs that were submitted.",
        ("job_type",),
        {(name,): count for name, count in numbers.submitted.items()},
    )
    yield _counted(
        "kiosk_jobs_ended",
        "Jobs that have ended, by how.",
        ("job_type", "status"),
        {(name, status): count for (name, status), count in numbers.ended.items()},
    )


def _of_the_ledger(found: Snapshot) -> Iterator[Metric]:
    yield from tally_metrics(found.tallies)
    since = found.numbers.seconds_since_reaping
    if since is not None:
        yield GaugeMetricFamily(
            "kiosk_reaper_seconds_since_look",
            "Since a reaper last looked for lost jobs.",
            value=since,
        )
    yield GaugeMetricFamily(
        "kiosk_ledger_time_seconds",
        "The moment that these numbers are of, by the ledger's clock.",
        value=found.numbers.time_s,
    )


def _counted(
    name: str, told: str, labels: tuple[str, ...], counts: Mapping[tuple[str, ...], int]
) -> CounterMetricFamily:
    counter = CounterMetricFamily(name, told, labels=labels)
    for values, count in sorted(counts.items()):
        counter.add_metric(values, count)
    return counter
