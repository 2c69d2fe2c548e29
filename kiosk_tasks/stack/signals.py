"""Turn the signals that end a process into an orderly stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

__all__ = ["OrderlyExit"]

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class OrderlyExit:
    """While entered, SIGTERM and SIGHUP raise SystemExit(128 + number), as SIGINT raises its own.

    A signal that is ignored (`nohup`) stays so. Outside the main thread, where Python allows no
    handlers, nothing is changed.
    """

    def __init__(self) -> None:
        """Change nothing yet."""
        self._before = {number: signal.getsignal(number) for number in ENDING}

    def __enter__(self) -> OrderlyExit:
        """Install the handlers."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            if self._before[number] is not signal.SIG_IGN and _in_main_thread():
                signal.signal(number, _exit)
        return self

    def divert(self, call: Callable[[], None]) -> None:
        """From now on the signals only call this: the stop is under way."""
        if _in_main_thread():
            for number in ENDING:
                signal.signal(number, lambda _number, _frame: call())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put back the handlers that were there."""
        if _in_main_thread():
            for number, handler in self._before.items():
                if handler is not None:  # None: set by C code, which Python cannot put back
                    signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a handler's arguments
    raise SystemExit(128 + number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
