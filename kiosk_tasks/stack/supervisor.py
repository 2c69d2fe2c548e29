"""Start parts as soon as what they need is ready, watch them, stop them in reverse order."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from enum import StrEnum
from types import TracebackType

from kiosk_tasks.stack.process import Part, Running
from kiosk_tasks.stack.watchdog import MARKER_VARIABLE, Watchdog

__all__ = ["OnEvent", "State", "Supervisor", "ignore_events"]

PROBE_EVERY_S = 0.05
WATCH_EVERY_S = 0.2

log = logging.getLogger(__name__)


class State(StrEnum):
    """What is told of a part while the stack starts and stops."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"


OnEvent = Callable[[str, State], None]


def ignore_events(part: str, state: State) -> None:
    """Take no notice."""


def _nothing() -> None:
    """Do nothing."""


class Supervisor:
    """Runs parts under a watchdog that ends them should this process be killed.

    A context manager: leaving it stops every part. `start`, `add`, `remove`, `check` and `wait`
    belong to one thread; `stop` and `hurry` may be called from any, also from a signal handler.
    """

    def __init__(
        self, *, on_event: OnEvent = ignore_events, keep_open: Collection[int] = ()
    ) -> None:
        """Start the watchdog.

        on_event: told of each part's state as it changes, with the part's name.
        keep_open: file descriptors that stay open until the last process is gone (locks).
        """
        self._on_event = on_event
        self._marker = secrets.token_hex(16)
        self._running: dict[str, Running] = {}
        self._stopping = threading.Event()
        self._hurries = False  # no Event: signal handlers set it, and may interrupt each other
        self._watchdog = Watchdog(self._marker, keep_open=keep_open)

    def start(self, parts: Sequence[Part]) -> None:
        """Start the parts, each as soon as those it needs are ready, and wait for all.

        Raises PartDied, PartNotReady; what has started by then keeps running until `stop`.
        """
        _check_needs(parts)
        waiting = list(parts)
        while waiting or not all(running.is_ready for running in self._running.values()):
            ready = {name for name, running in self._running.items() if running.is_ready}
            for part in [part for part in waiting if part.needs <= ready]:
                waiting.remove(part)
                self._launch(part)
            if not self._ask_all():
                time.sleep(PROBE_EVERY_S)

    def add(self, part: Part) -> Running:
        """Start one of the crew and return at once; whoever adds it asks it and sees to its end."""
        if not part.crew or part.name in self._running:
            raise ValueError(f"{part.name!r} is not of the crew, or runs already.")
        return self._launch(part)

    def remove(self, name: str) -> None:
        """Forget one of the crew; what is left of its process group is killed."""
        running = self._running.pop(name, None)
        if running is not None:  # `stop` may have been faster
            running.kill()
            self._watchdog.forget(running.pid)
            self._tell(name, State.STOPPED)

    def check(self) -> None:
        """Raise PartDied if a part has ended by itself that is not of the crew."""
        self._watchdog.check()
        for running in list(self._running.values()):
            if not running.part.crew:
                running.check()

    def wait(self, step: Callable[[], None] = _nothing) -> None:
        """Return when `stop` is called elsewhere; raise PartDied when a part ends by itself.

        step: called some times per second; it may add parts and remove them.
        """
        while not self._stopping.wait(WATCH_EVERY_S):
            self.check()
            step()

    def hurry(self) -> None:
        """Give no more grace to what is stopping."""
        self._hurries = True

    def stop(self) -> None:
        """Stop the parts, the last started first; what does not end in its grace is killed."""
        self._stopping.set()
        try:
            for running in list(self._running.values()):
                if running.part.crew:
                    running.ask_to_end()
            while self._running:
                name, running = self._running.popitem()
                self._tell(name, State.STOPPING)
                running.stop(lambda: self._hurries)
                self._watchdog.forget(running.pid)
                self._tell(name, State.STOPPED)
        finally:
            self._watchdog.close()

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each running part."""
        return {name: running.pid for name, running in self._running.items()}

    def __enter__(self) -> Supervisor:
        """Return itself; the watchdog already runs."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop every part."""
        self.stop()

    def _launch(self, part: Part) -> Running:
        self._tell(part.name, State.STARTING)
        marked = {**part.env, MARKER_VARIABLE: self._marker}
        running = Running(replace(part, env=marked))
        self._running[part.name] = running
        self._watchdog.watch(running.pid, part.stop_signal, part.grace_s, crew=part.crew)
        return running

    def _ask_all(self) -> bool:
        """Ask every part once; True if one became ready, so that another may start."""
        news = False
        for name, running in self._running.items():
            before = running.is_ready
            if running.ask() and not before:
                self._tell(name, State.READY)
                news = True
        return news

    def _tell(self, name: str, state: State) -> None:
        log.info("event=stack_part part=%r state=%s", name, state)
        self._on_event(name, state)


def _check_needs(parts: Sequence[Part]) -> None:
    """Refuse parts that would wait for ever: each may need only parts named before it."""
    known: set[str] = set()
    for part in parts:
        if part.name in known or not part.needs <= known:
            raise ValueError(
                f"{part.name!r} is named twice or needs a part that does not come before it: "
                f"{sorted(part.needs - known)}"
            )
        known.add(part.name)
