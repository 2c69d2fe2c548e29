"""What workers counted (`ledger/tallies.py`) as Prometheus' histograms and counters."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from kiosk_tasks.ledger import tallies

__all__ = ["tally_metrics"]

_HISTOGRAMS = {
    tallies.STAGE: ("kiosk_stage_seconds", "How long stages took.", ("job_type", "stage")),
    tallies.WAIT: ("kiosk_job_wait_seconds", "How long jobs waited for a worker.", ("queue",)),
    tallies.MODEL_REPLY: (
        "kiosk_model_request_seconds",
        "How long the model server took to answer.",
        ("model",),
    ),
}
_COUNTERS = {
    tallies.TILES: ("kiosk_model_tiles", "Tiles that the model server was sent.", ("model",)),
    tallies.SLOTS: (
        "kiosk_model_batch_slots",
        "Tiles that its requests had room for.",
        ("model",),
    ),
    tallies.REAPED: ("kiosk_reaper_jobs", "Jobs that reapers found, by what it was.", ("what",)),
}
"""Kind of tally -> name of the metric, what it tells, labels."""
_REAPER_FINDS = ("run_died", "message_gone", "given_up", "tidied")

_Counts = dict[tuple[str, ...], int]


def tally_metrics(kept: Mapping[str, str]) -> Iterator[Metric]:
    """Yield the metrics of what the ledger has kept, its hash as it was read."""
    found: dict[str, _Counts] = defaultdict(dict)
    for name, count in kept.items():
        kind, *labels = json.loads(name)
        found[kind][tuple(labels)] = int(count)
    found[tallies.REAPED] = {(what,): 0 for what in _REAPER_FINDS} | found[tallies.REAPED]
    for kind, (metric, told, labels) in _HISTOGRAMS.items():
        histogram = HistogramMetricFamily(metric, told, labels=labels)
        for values, counts in sorted(_by_labels(found[kind]).items()):
            histogram.add_metric(values, _cumulated(counts), counts.get(tallies.SUM, 0) / 1e6)
        yield histogram
    for kind, (metric, told, labels) in _COUNTERS.items():
        counter = CounterMetricFamily(metric, told, labels=labels)
        for values, total in sorted(found[kind].items()):
            counter.add_metric(values, total)
        yield counter


def _by_labels(counts: _Counts) -> dict[tuple[str, ...], dict[str, int]]:
    """Return the counts of the buckets, and the sum, of each set of labels."""
    found: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for (*labels, bucket), count in counts.items():
        found[tuple(labels)][bucket] = count
    return found


def _cumulated(counts: Mapping[str, int]) -> list[tuple[str, float]]:
    """Return how many fell below each bound, also of buckets that another release had."""
    placed = [(float(bucket), n) for bucket, n in counts.items() if bucket != tallies.SUM]
    bounds = (*tallies.BUCKETS_S, float("inf"))
    return [(_bound(most), float(sum(n for at, n in placed if at <= most))) for most in bounds]


def _bound(seconds: float) -> str:
    return "+Inf" if seconds == float("inf") else str(seconds)
