"""Events in the order of their time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

__all__ = ["Clock"]


class Clock:
    """The simulated time, and what is still to happen."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = count()

    def after(self, delay_s: float, action: Callable[..., None], *args: object) -> None:
        """Let something happen; what was asked for first comes first at the same time."""
        heapq.heappush(self._events, (self.now_s + delay_s, next(self._order), action, args))

    def step(self) -> None:
        """Let the next event happen."""
        self.now_s, _order, action, args = heapq.heappop(self._events)
        action(*args)
