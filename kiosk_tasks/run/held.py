"""What the broker holds: how long its lists are, who waits longest, whose messages workers have."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import redis

from kiosk_tasks.redis_clients import mapped_broker_errors

__all__ = ["BrokerLists", "LaneContent"]

_TAIL = 20
"""Messages looked at from the old end of a list, to find one of a job that still waits."""


@dataclass(frozen=True)
class LaneContent:
    """One list of the broker.

    oldest: jobs of the messages that have been there longest, the oldest first.
    held: jobs of the messages, of whatever list, that workers hold and have not acknowledged.
    """

    length: int
    oldest: tuple[str, ...]
    held: frozenset[str]


class BrokerLists:
    """The lists of Celery's Redis transport under one prefix; read only."""

    def __init__(self, client: redis.Redis, *, prefix: str) -> None:
        """client: decodes its replies. prefix: of the broker's keys."""
        self._redis = client
        self._prefix = prefix

    def look(self, lane: str) -> LaneContent:
        """Return what there is, seen at one moment; its cost does not grow with the list."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.llen(self._prefix + lane)
        pipe.lrange(self._prefix + lane, -_TAIL, -1)
        pipe.hvals(f"{self._prefix}unacked")
        with mapped_broker_errors():
            length, tail, unacked = pipe.execute()
        oldest = _jobs(json.loads(message) for message in reversed(tail))
        held = _jobs(json.loads(entry)[0] for entry in unacked)
        return LaneContent(length, tuple(oldest), frozenset(held))


def _jobs(messages: Iterable[Any]) -> list[str]:
    return [job for job in map(_job_of, messages) if job]


def _job_of(message: Any) -> str:
    """Return the job that a message is about: it names it, or becomes a job of its own id."""
    try:
        _, fields, _ = json.loads(base64.b64decode(message["body"]))
        return str(fields.get("job_id") or message["headers"]["id"])
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        return ""  # someone else's message: it is no job of ours
