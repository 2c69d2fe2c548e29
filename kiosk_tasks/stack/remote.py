"""What an autoscaler tells and asks workers over the broker: Celery's remote control."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import redis
from celery import Celery
from kombu.exceptions import OperationalError

__all__ = ["CeleryRemote", "Remote"]

log = logging.getLogger(__name__)

_ANSWER_WITHIN_S = 1.0
"""Workers answer within milliseconds, and nobody waits once all have; a hung one costs this."""


class Remote(Protocol):
    """Messages to workers, by the names of their nodes; those that did not answer are left out."""

    def leave(self, queue: str, nodes: Sequence[str]) -> set[str]:
        """Have them take no more from the queue; return those that agreed."""

    def rejoin(self, queue: str, nodes: Sequence[str]) -> set[str]:
        """Have them take from the queue again; return those that agreed."""

    def held(self, nodes: Sequence[str]) -> dict[str, int]:
        """Return how many jobs each has taken and not ended."""


class CeleryRemote:
    """The real one."""

    def __init__(self, app: Celery) -> None:
        """app: any with the workers' broker settings."""
        self._control = app.control

    def leave(self, queue: str, nodes: Sequence[str]) -> set[str]:
        """Have them take no more from the queue; a run that has begun goes on undisturbed."""
        return {node for node, _ in self._ask("cancel_consumer", nodes, queue=queue)}

    def rejoin(self, queue: str, nodes: Sequence[str]) -> set[str]:
        """Have them take from the queue again."""
        return {node for node, _ in self._ask("add_consumer", nodes, queue=queue)}

    def held(self, nodes: Sequence[str]) -> dict[str, int]:
        """Count what runs, and what is on its way to a process."""
        known, counts = [], Counter[str]()
        for question in ("active", "reserved"):
            answers = self._ask(question, nodes)
            known.append({node for node, _ in answers})
            counts.update({node: len(tasks) for node, tasks in answers})
        return {node: counts[node] for node in set.intersection(*known)}

    def _ask(self, command: str, nodes: Sequence[str], **arguments: Any) -> list[tuple[str, Any]]:
        """Return the answer of each node that did; none if the broker is away."""
        try:
            replies = self._control.broadcast(
                command,
                arguments=arguments,
                destination=list(nodes),
                reply=True,
                timeout=_ANSWER_WITHIN_S,
                limit=len(nodes),
            )
        except (OperationalError, redis.RedisError, OSError) as exc:
            log.warning("workers cannot be reached: %s", exc)
            return []
        answers = [pair for reply in replies or [] for pair in reply.items()]
        return [(node, answer) for node, answer in answers if not _failed(answer)]


def _failed(answer: Any) -> bool:
    return isinstance(answer, dict) and "error" in answer
