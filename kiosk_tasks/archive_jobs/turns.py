"""Functions that wait for one another's company: many are begun, one at a time works.

Each is a greenlet, so that one that waits hands its turn on wherever it is, and nobody else goes on
meanwhile: nothing that they use need be safe for threads. There and back again takes half a
microsecond; between threads it takes 50 to 60 (docs/decisions/0020-many-small-images.md).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from greenlet import greenlet

__all__ = ["Turn", "Turns"]


class Turn:
    """One of the functions that are begun, and what it has taken.

    seconds: in which it had its turn, and what else it was charged.
    """

    def __init__(self, task: Callable[[], None]) -> None:
        """It has not begun."""
        self.seconds = 0.0
        self.begun = greenlet(task)


class Turns(AbstractContextManager["Turns"]):
    """Gives functions their turns; `wait`, `current` and `seconds` are for them, in their turn.

    Leaving the block ends those that are begun: `GreenletExit` is raised where they wait.
    """

    def __init__(self, tasks: Iterable[Callable[[], None]], *, at_once: int) -> None:
        """tasks: drawn as there is room. at_once: so many are begun and not ended, at most."""
        self._tasks = iter(tasks)
        self._at_once = at_once
        self._ready: deque[Turn] = deque()
        self._begun: set[Turn] = set()
        self._now: Turn | None = None
        self._since = 0.0
        self.error: BaseException | None = None
        self.given_s = 0.0  #: seconds of all turns

    def step(self) -> bool:
        """Let one function work until it waits or ends; False if there is none that can.

        Raises what the function raises; that is in `error` then, too.
        """
        turn = self._next()
        if turn is None:
            return False
        self._now, self._since = turn, time.perf_counter()
        try:
            turn.begun.switch()
        except BaseException as exc:
            self.error = exc
            raise
        finally:
            took = time.perf_counter() - self._since
            turn.seconds += took
            self.given_s += took
            self._now = None
            if turn.begun.dead:
                self._begun.discard(turn)
        return True

    def wait(self) -> None:
        """Hand the turn back until somebody calls `wake`; called by a function in its turn."""
        self.current.begun.parent.switch()

    @property
    def current(self) -> Turn:
        """The turn of the function that calls."""
        assert self._now is not None  # noqa: S101  # who calls has the turn
        return self._now

    def seconds(self) -> float:
        """Return the seconds that the function which calls has had so far."""
        return self.current.seconds + time.perf_counter() - self._since

    def wake(self, turn: Turn) -> None:
        """Let one that waits have a turn again, some time."""
        self._ready.append(turn)

    def __exit__(self, *error: object) -> None:
        for turn in self._begun:
            turn.begun.throw()
        self._begun.clear()

    def _next(self) -> Turn | None:
        """Return who is next: those that are begun come first, so that few are."""
        if self._ready:
            return self._ready.popleft()
        task = next(self._tasks, None) if len(self._begun) < self._at_once else None
        if task is None:
            return None
        turn = Turn(task)
        self._begun.add(turn)
        return turn
