"""Signs of life for the broker: a message that a worker still works on is not given to another.

Celery's Redis transport gives a message back when its entry in `unacked_index` is older than the
visibility timeout. A thread of the worker's main process brings the entries of its messages up to
date, so that the timeout can be short (a dead worker is noticed soon) and jobs long. A thread, not
Celery's timer: some pools run the task in the very thread that the timer needs.

The entries' ages are by each worker's own clock; one that goes wrong by more than the timeout
would take everyone's messages for abandoned. So this process tells the time by the broker's clock.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import redis
from celery import bootsteps
from kombu.transport import redis as transport

__all__ = ["VisibilityHeartbeat"]

log = logging.getLogger(__name__)

_BEATS_PER_TIMEOUT = 4


class _BrokerClock:
    """The broker's time, as this process computes it."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def set(self, client: Any) -> None:
        before = time.time()
        seconds, micros = client.time()
        self._ahead_s = seconds + micros / 1e6 - (before + time.time()) / 2

    def __call__(self) -> float:
        return time.time() + self._ahead_s


class VisibilityHeartbeat(bootsteps.StartStopStep):
    """The thread, from the worker's connecting to the end of the last job that it holds.

    It uses attributes of Celery's transport that are not public: its version is pinned, and a test
    runs a job for longer than the timeout.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        """Make the clock; nothing runs yet."""
        super().__init__(parent, **options)
        self._clock = _BrokerClock()
        self._stopped = threading.Event()

    def start(self, parent: Any) -> None:
        """Set the clock, then beat."""
        channel = parent.task_consumer.channel
        transport.time = self._clock  # type: ignore[attr-defined]  # a name it imports
        with channel.conn_or_acquire() as client:
            self._clock.set(client)
        self._stopped = threading.Event()
        threading.Thread(
            target=self._beat, args=(channel, self._stopped), name="visibility", daemon=True
        ).start()

    def stop(self, parent: Any) -> None:
        """Stop beating if the connection is lost; one that closes still waits for its jobs."""
        if parent.blueprint.state == bootsteps.RUN:  # type: ignore[attr-defined]  # its stubs lack it
            self._stopped.set()

    def shutdown(self, parent: Any) -> None:  # noqa: ARG002  # Celery's signature
        """Stop beating: the pool has ended, and the channel is closed next."""
        self._stopped.set()

    def _beat(self, channel: Any, stopped: threading.Event) -> None:
        every_s = channel.visibility_timeout / _BEATS_PER_TIMEOUT
        client = channel._create_client()  # of its own: the consumer's is busy with BRPOP
        while not stopped.wait(every_s):
            try:
                self._clock.set(client)
                tags = list(channel.qos._delivered)
                if tags:
                    alive = dict.fromkeys(tags, self._clock())
                    client.zadd(channel.unacked_index_key, alive, xx=True)
            except (redis.RedisError, OSError) as exc:
                log.warning("no sign of life to the broker: %s", exc)
