"""Soft counters of what workers measure: seconds of stages, of waiting, of the model server.

They are kept in one hash beside the job records, so that they outlive the processes that counted,
and anybody can read all of them with one command. A process collects them in memory and a thread
adds them to the hash once a second: no job waits for that. What a process had collected when it was
killed is lost, and so is what a server that is away did not take: nothing is scaled or decided by
these numbers. Those that must be exact are the ledger's own (`numbers.py`).

    <prefix>tallies         [metric, labels…, bucket] as JSON -> how many; bucket `sum`: µs
    <prefix>tallies:models  names of models that are counted under their own name
"""

from __future__ import annotations

import json
import logging
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

import redis

__all__ = [
    *("BUCKETS_S", "KEY", "OTHER", "SUM"),
    *("MODEL_REPLY", "REAPED", "SLOTS", "STAGE", "TILES", "WAIT"),
    "Tallies",
]

log = logging.getLogger(__name__)

BUCKETS_S = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 120.0, 300.0, 600.0),
)
"""Upper bounds of the histograms' buckets, seconds; what is longer counts under `inf`."""
KEY, SUM = "tallies", "sum"
OTHER = "other"
"""The name under which models are counted that came when `MOST_MODELS` were known."""
MOST_MODELS = 100
STAGE, WAIT, MODEL_REPLY = "stage_seconds", "wait_seconds", "model_seconds"
TILES, SLOTS, REAPED = "model_tiles", "model_slots", "reaped"
_OF_MODELS = frozenset({MODEL_REPLY, TILES, SLOTS})
_FLUSH_EVERY_S = 1.0
_Labels: TypeAlias = tuple[str, ...]


class Tallies:
    """The counters of one process; made after a fork, not before."""

    def __init__(self, client: redis.Redis | None, *, prefix: str = "") -> None:
        """client: of these counters alone, one that gives up soon; None counts nothing."""
        self._client = client
        self._key, self._models_key = f"{prefix}{KEY}", f"{prefix}{KEY}:models"
        self._changed = threading.Condition()
        self._counts: Counter[_Labels] = Counter()
        self._names: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        self._closed = self._away = self._works = False

    def claimed(self, queue: str, waited_s: float) -> None:
        """Count a job that was taken off a queue, and how long it had waited there."""
        self._works = True
        self._observe((WAIT, queue), waited_s)

    def stage(self, job_type: str, stage: str, seconds: float) -> None:
        """Count a stage that has come to its end."""
        self._observe((STAGE, job_type, stage), seconds)

    def replied(self, model: str, *, tiles: int, slots: int, seconds: float) -> None:
        """Count an answer of the model server; not in a process that runs no job of the ledger.

        tiles: how many there were in the request. slots: how many there might have been.
        """
        if self._works:
            self._observe((MODEL_REPLY, model), seconds)
            self._add({(TILES, model): tiles, (SLOTS, model): slots})

    def reaped(self, found: Mapping[str, int]) -> None:
        """Count what a reaper has found, and write it at once."""
        self._add({(REAPED, what): count for what, count in found.items() if count})
        self.flush()

    def flush(self) -> None:
        """Write what was collected; what the server does not take now is dropped."""
        with self._changed:
            counts, self._counts = self._counts, Counter()
        if not counts or self._client is None:
            return
        try:
            pipe = self._client.pipeline(transaction=True)
            for labels, amount in counts.items():
                pipe.hincrby(self._key, json.dumps(self._bounded(labels)), amount)
            pipe.execute()
            self._away = False
        except redis.RedisError as exc:
            if not self._away:
                log.warning("numbers for the metrics are dropped until the ledger is back: %s", exc)
            self._away = True

    def close(self) -> None:
        """Write what is left, and end the thread and the connection."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self.flush()
        if self._client is not None:
            self._client.close()

    def _observe(self, labels: _Labels, seconds: float) -> None:
        place = bisect_left(BUCKETS_S, seconds)
        bucket = f"{BUCKETS_S[place]:g}" if place < len(BUCKETS_S) else "inf"
        micros = round(1e6 * max(0.0, seconds))
        self._add({(*labels, bucket): 1, (*labels, SUM): micros})

    def _add(self, amounts: Mapping[_Labels, int]) -> None:
        if self._client is None or not amounts:
            return
        with self._changed:
            waits = not self._counts  # else the thread is awake: each waking costs 0.1 ms
            self._counts.update(amounts)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="tallies", daemon=True)
                self._thread.start()
            if waits:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._counts or self._closed)
                if self._changed.wait_for(lambda: self._closed, timeout=_FLUSH_EVERY_S):
                    return
            self.flush()

    def _bounded(self, labels: _Labels) -> list[str]:
        """Return the labels, with a model's name only if it is one of the first hundred."""
        metric, *rest = labels
        if metric not in _OF_MODELS:
            return [metric, *rest]
        model, *rest = rest
        if model not in self._names:
            self._names[model] = self._admit(model)
        return [metric, self._names[model], *rest]

    def _admit(self, model: str) -> str:
        """Ask once per process and model; two that ask together may both be turned away."""
        assert self._client is not None  # noqa: S101  # only a flush asks
        new = self._client.sadd(self._models_key, model)
        if new and int(self._client.scard(self._models_key)) > MOST_MODELS:
            self._client.srem(self._models_key, model)
            return OTHER
        return model
