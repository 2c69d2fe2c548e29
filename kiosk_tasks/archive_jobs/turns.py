"""Functions that wait for one another's company: many are begun, one at a time works.

Each runs in a thread, but never two at once: one that waits hands its turn back. So nothing that
they use need be safe for threads, and there is no contention for the interpreter.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

__all__ = ["Turn", "Turns"]

_ARENA_MAX = -8  # of glibc's malloc.h


class _Stopped(BaseException):
    """Whoever gave the turns wants no more of them."""


class Turn:
    """One of the functions that are begun, and what it has taken.

    seconds: in which it had its turn, and what else it was charged.
    """

    def __init__(self) -> None:
        """It has not begun."""
        self.seconds = 0.0
        self.task: Callable[[], None] | None = None
        self.go = threading.Lock()
        self.go.acquire()
        self.thread: threading.Thread | None = None


class Turns(AbstractContextManager["Turns"]):
    """Gives functions their turns; on the thread that made it, but for `wait` and `seconds`.

    Leaving the block ends those that are begun: their `wait` raises.
    """

    def __init__(self, tasks: Iterable[Callable[[], None]], *, at_once: int) -> None:
        """tasks: drawn as there is room. at_once: so many are begun and not ended, at most."""
        _share_one_heap()
        self._tasks = iter(tasks)
        self._at_once = at_once
        self._ready: deque[Turn] = deque()
        self._idle: list[Turn] = []
        self._all: list[Turn] = []
        self._back = threading.Lock()
        self._back.acquire()
        self._now: Turn | None = None
        self._since = 0.0
        self._closed = False
        self.error: BaseException | None = None
        self.given_s = 0.0  #: seconds of all turns

    def step(self) -> bool:
        """Let one function work until it waits or ends; False if there is none that can.

        What a function raises stays in `error`, and ends all turns.
        """
        turn = None if self.error else self._next()
        if turn is None:
            return False
        self._now, self._since = turn, time.perf_counter()
        turn.go.release()
        self._back.acquire()
        took = time.perf_counter() - self._since
        turn.seconds += took
        self.given_s += took
        self._now = None
        if turn.task is None:
            self._idle.append(turn)
        return True

    def wait(self) -> None:
        """Hand the turn back until somebody calls `wake`; called by a function in its turn."""
        turn = self.current
        self._back.release()
        turn.go.acquire()
        if self._closed:
            raise _Stopped

    @property
    def current(self) -> Turn:
        """The turn of the function that calls."""
        assert self._now is not None  # noqa: S101  # who calls has the turn
        if self._closed:
            raise _Stopped
        return self._now

    def seconds(self) -> float:
        """Return the seconds that the function which calls has had so far."""
        return self.current.seconds + time.perf_counter() - self._since

    def wake(self, turn: Turn) -> None:
        """Let one that waits have a turn again, some time."""
        self._ready.append(turn)

    def __exit__(self, *error: object) -> None:
        self._closed = True
        if self._now is not None:  # a signal came in the midst of its turn: it ends or waits soon
            self._back.acquire()
        for turn in self._all:
            turn.go.release()
            if turn.thread is not None:
                turn.thread.join()

    def _next(self) -> Turn | None:
        """Return who is next: those that are begun come first, so that few are."""
        if self._ready:
            return self._ready.popleft()
        if not self._idle and len(self._all) >= self._at_once:
            return None
        task = next(self._tasks, None)
        if task is None:
            return None
        turn = self._idle.pop() if self._idle else self._add()
        turn.task, turn.seconds = task, 0.0
        return turn

    def _add(self) -> Turn:
        turn = Turn()
        turn.thread = threading.Thread(target=self._run, args=(turn,), name="turn", daemon=True)
        self._all.append(turn)
        turn.thread.start()
        return turn

    def _run(self, turn: Turn) -> None:
        while True:
            turn.go.acquire()
            if self._closed or turn.task is None:
                return
            try:
                turn.task()
            except _Stopped:
                return
            except BaseException as exc:  # it goes on to who gave the turn
                self.error = exc
            turn.task = None
            self._back.release()


def _share_one_heap() -> None:
    """Have new threads allocate from the heap that is there: each other one keeps what it had.

    It costs no waiting, since one thread works at a time, and saves 30 MB of a process that has
    done a batch. glibc only; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
