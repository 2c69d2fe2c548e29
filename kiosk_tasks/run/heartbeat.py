"""A worker's signs of life: `KIOSK_ALIVE_FILE` is touched while its main process does its part.

That is more than running: while it is connected, its event loop must turn, and where a process is
free it must ask the broker for messages. A worker that answers `inspect ping` and consumes nothing
is known from Celery's past. One that has lost its broker, and tries to reach it again, lives:
starting it anew would help nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

from celery import Celery, bootsteps

from kiosk_tasks.run.liveness import sign
from kiosk_tasks.settings import Settings

__all__ = ["add_signs_of_life"]

log = logging.getLogger(__name__)

_EVERY_S = 2.0
_LATE_S = 10.0
"""A loop that has not turned for so long is stuck; kombu asks for messages once a second."""


def add_signs_of_life(app: Celery) -> None:
    """Have the application's workers show that they live, if there is a file to do it with."""
    app.steps["worker"].add(_SignsOfLife)
    app.steps["consumer"].add(_Connected)


class _SignsOfLife(bootsteps.StartStopStep):
    """The thread that looks at the event loop, from the start of the processes to the end."""

    requires = ("celery.worker.components:Pool", "celery.worker.components:Timer")

    def __init__(self, parent: Any, **options: Any) -> None:
        """Know nothing of a connection yet."""
        super().__init__(parent, **options)
        parent.signs_of_life = self
        self._stopped = threading.Event()
        self._channel: Any = None
        self._turned_s = 0.0

    def include_if(self, parent: Any) -> bool:  # noqa: ARG002  # Celery's signature
        """Do nothing where nobody looks."""
        return Settings.load().alive_file is not None

    def start(self, parent: Any) -> None:
        """Remove what an earlier process has left in this place, and begin."""
        settings = Settings.load()
        for file in (settings.alive_file, settings.ready_file):
            if file is not None:
                file.unlink(missing_ok=True)
        if parent.pool_cls.uses_semaphore:  # else a job may run in the loop's own thread
            parent.timer.call_repeatedly(_EVERY_S, self._turn)
        else:
            self._turned_s = float("inf")
        threading.Thread(
            target=self._beat, args=(settings.alive_file,), name="signs of life", daemon=True
        ).start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002  # Celery's signature
        """Give no more signs."""
        self._stopped.set()

    terminate = stop

    def connected(self, channel: Any) -> None:
        """Expect from now on that the loop turns and that the channel asks for messages."""
        self._turned_s = max(self._turned_s, time.monotonic())
        self._channel = channel

    def disconnected(self) -> None:
        """Expect nothing: the broker is away, or the worker ends."""
        self._channel = None

    def _turn(self) -> None:
        self._turned_s = time.monotonic()

    def _beat(self, file: Path) -> None:
        while True:
            try:
                if self._lives():
                    sign(file)
            except OSError as exc:
                log.warning("no sign of life can be left: %s", exc)
            if self._stopped.wait(_EVERY_S):
                return

    def _lives(self) -> bool:
        channel = self._channel
        if channel is None:
            return True
        try:
            return time.monotonic() - self._turned_s < _LATE_S and _asks(channel)
        except AttributeError:  # the processes are gone while the connection is not: it ends
            return True


class _Connected(bootsteps.StartStopStep):
    """Tells the thread when there is a connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Messages are consumed as soon as the loop turns, which is next."""
        life = _life(parent)
        if life:
            life.connected(parent.task_consumer.channel)

    def stop(self, parent: Any) -> None:
        """The connection is lost, or given up."""
        life = _life(parent)
        if life:
            life.disconnected()

    terminate = stop


def _life(consumer: Any) -> _SignsOfLife | None:
    found: _SignsOfLife | None = getattr(consumer.controller, "signs_of_life", None)
    return found


def _asks(channel: Any) -> bool:
    """Tell whether the channel asks for messages, unless all processes are busy.

    It uses an attribute of the Redis transport that is not public; others do not have it.
    """
    if not hasattr(channel, "_brpop_sent_at") or not channel.qos.can_consume():
        return True
    asked_s = channel._brpop_sent_at
    return asked_s is not None and time.monotonic() - asked_s < _LATE_S
