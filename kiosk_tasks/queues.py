"""How much waits: O(1) reads of the broker's lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from kiosk_tasks.run.links import ADMIT, CONTINUE, lane_of

__all__ = ["QueueLength", "in_flight", "queue_lengths"]


@dataclass(frozen=True)
class QueueLength:
    """Messages waiting on one queue.

    admitting: jobs that have not begun. continuing: later links of jobs that have.
    """

    queue: str
    admitting: int
    continuing: int

    @property
    def waiting(self) -> int:
        """All messages that no worker has taken."""
        return self.admitting + self.continuing


def queue_lengths(client: redis.Redis, queues: Sequence[str], *, prefix: str) -> list[QueueLength]:
    """Return what waits on each queue, over its lists of all priorities.

    prefix: of the broker's keys (`Settings.broker_prefix`).
    """
    pipe = client.pipeline(transaction=False)
    for queue in queues:
        pipe.llen(prefix + lane_of(queue, ADMIT))
        pipe.llen(prefix + lane_of(queue, CONTINUE))
    counts: list[Any] = pipe.execute()
    pairs = zip(counts[::2], counts[1::2], strict=True)
    return [QueueLength(q, int(a), int(c)) for q, (a, c) in zip(queues, pairs, strict=True)]


def in_flight(client: redis.Redis, *, prefix: str) -> int:
    """Return how many messages workers hold and have not acknowledged, on all queues."""
    count: Any = client.hlen(f"{prefix}unacked")
    return int(count)
