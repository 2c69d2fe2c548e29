"""A batch on its way to the model server, and how long the answer takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["Call", "OnReply"]

OnReply = Callable[[str, int, float], None]
"""Told of each prediction: the model, how many items it was for, and the seconds it took."""


class Call:
    """A batch on its way: kept whole, so that it can be sent again if the server restarts."""

    def __init__(self, request: Any, send: Callable[[Any], Any], *, items: int) -> None:
        """Send it. items: length of the batch."""
        self.items = items
        self.resends = -1
        self._request, self._send = request, send
        self.send_again()

    def send_again(self) -> None:
        """Send it, and note when the answer comes, however late it is fetched."""
        self.resends += 1
        self._sent_s, self._answered_s = time.perf_counter(), 0.0
        self.future = self._send(self._request)
        self.future.add_done_callback(self._answered)

    @property
    def seconds(self) -> float:
        """Seconds from sending to the answer, which is there."""
        return (self._answered_s or time.perf_counter()) - self._sent_s

    def _answered(self, future: Any) -> None:
        if future is self.future:  # not one that was lost, and is told of late
            self._answered_s = time.perf_counter()
