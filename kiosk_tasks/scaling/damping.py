"""Up at once, down slowly: a queue that is empty for a moment need not lose its workers."""

from __future__ import annotations

from collections import deque

__all__ = ["Damper"]


class Damper:
    """Remembers what was wanted lately, and gives the most of it.

    It is what the downscale stabilisation window of Kubernetes does.
    """

    def __init__(self, window_s: float) -> None:
        """window_s: how long something that was wanted stays so, seconds."""
        self._window_s = window_s
        self._wanted: deque[tuple[float, int]] = deque()

    def damped(self, now_s: float, wanted: int) -> int:
        """Return the most that was wanted within the window, this included.

        now_s: seconds by any clock that only goes forward.
        """
        while self._wanted and self._wanted[0][0] < now_s - self._window_s:
            self._wanted.popleft()
        while self._wanted and self._wanted[-1][1] <= wanted:  # it can never be the most again
            self._wanted.pop()
        self._wanted.append((now_s, wanted))
        return self._wanted[0][1]
