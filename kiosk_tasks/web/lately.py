"""An answer that is good for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, NoReturn, TypeVar

from kiosk_tasks.errors import KioskError

__all__ = ["Lately"]

T = TypeVar("T")


class Lately(Generic[T]):
    """Asks at most once in so many seconds, whoever wants to know; a refusal is an answer, too."""

    def __init__(self, ask: Callable[[], T], *, seconds: float) -> None:
        """ask: may take its time, and may raise KioskError."""
        self._ask = ask
        self._seconds = seconds
        self._lock = threading.Lock()
        self._good_until = float("-inf")
        self._last: Callable[[], T] = ask

    def __call__(self) -> T:
        """Return the answer, or raise the error."""
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._last = self._look()
                self._good_until = time.monotonic() + self._seconds
            return self._last()

    def _look(self) -> Callable[[], T]:
        try:
            answer = self._ask()
        except KioskError as exc:
            return partial(_refuse, exc)
        return lambda: answer


def _refuse(error: KioskError) -> NoReturn:
    raise type(error)(str(error)) from error
