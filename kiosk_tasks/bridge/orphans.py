"""Hashes whose frontend died before it pushed their key."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import redis

from kiosk_tasks.bridge.events import queue_of
from kiosk_tasks.redis_clients import mapped_broker_errors

__all__ = ["Orphans"]

_KEYS_PER_STEP = 500


class Orphans:
    """A slow walk over all keys of the database, one short step at a time, again and again.

    Ages are measured here: the clock of a frontend is its own affair.
    """

    def __init__(self, client: redis.Redis, *, queues: Collection[str], age_s: float) -> None:
        """age_s: how long a hash must have been seen new, and no job's, to count as an orphan."""
        self._redis = client
        self._queues = frozenset(queues)
        self._age_s = age_s
        self._cursor = 0
        self._since: dict[str, float] = {}
        self._seen: set[str] = set()

    def step(self) -> list[str]:
        """Look at a few keys; return those of hashes that are orphans."""
        with mapped_broker_errors():
            cursor, keys = self._scan()
            new = self._new([key for key in keys if queue_of(key) in self._queues])
        now = time.monotonic()
        self._seen.update(new)
        orphans = [key for key in new if now - self._since.setdefault(key, now) >= self._age_s]
        if cursor == 0:
            self._since = {key: self._since[key] for key in self._seen}
            self._seen = set()
        self._cursor = cursor
        return orphans

    def _scan(self) -> tuple[int, list[str]]:
        answer: Any = self._redis.scan(self._cursor, count=_KEYS_PER_STEP, _type="hash")
        cursor, keys = answer
        return int(cursor), keys

    def _new(self, keys: list[str]) -> list[str]:
        """Return those that nothing has happened to; an accepted one has been told its job's id."""
        pipe = self._redis.pipeline(transaction=False)
        for key in keys:
            pipe.hget(key, "status")
            pipe.hget(key, "job_id")
        answers = pipe.execute()
        pairs = zip(keys, answers[::2], answers[1::2], strict=True)
        return [key for key, status, job_id in pairs if status == "new" and not job_id]
