"""A worker's consumer: it leaves what it cannot run to others, and outlives its broker."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

__all__ = ["Consumer"]

log = logging.getLogger(__name__)

_LATER_S = 1.0
"""How long another worker has to take the message before this one sees it again."""
_EVENTS_S = 0.25
"""So late Flower learns of a job: each publication costs a tenth of an empty job."""


class Consumer(CeleryConsumer):
    """Celery's, but that it publishes what Flower sees together, and outlives two events.

    In those events that one would lose a job or end the worker.
    """

    _publishes = False  # whether a publication is due already

    def on_send_event_buffered(self) -> None:  # type: ignore[override]  # Celery's stubs err
        """Publish the event with those of the next quarter of a second, not by itself.

        A job has three. Published at once they came between a job and the next.
        """
        if not self._publishes:  # asked only where there is an event loop
            self._publishes = True
            self.timer.call_after(_EVENTS_S, self._publish)

    def shutdown(self) -> None:
        """Publish what the last jobs have left, before the connection is closed."""
        self._publish()
        super().shutdown()

    def _publish(self) -> None:
        self._publishes = False
        self._flush_events()  # type: ignore[attr-defined]  # missing in Celery's types

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Put the message of a job type that this worker does not have back after a while.

        During a deployment, or where a plugin is installed on some machines only, it is another
        worker's. Celery would discard it, and store a failure as the job's result.
        """
        if not _is_a_jobs(message):
            super().on_unknown_task(body, message, exc)
            return
        log.warning("no such job type here, left to other workers: %s", message.headers["task"])
        errors = self.connection_errors  # type: ignore[attr-defined]  # missing in Celery's types
        self.timer.call_after(_LATER_S, message.reject_log_error, (log, errors, True))

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let go of a lost connection; it is made anew afterwards.

        kombu closes a channel by first reading the reply to its BRPOP. Where the loss was seen on
        another socket, that read fails, the channel stays half open, and closing it once more, now
        without its transport, ends the worker. So the reply is given up: a message it may have
        brought is sent again by the reaper, as one that is lost on the way.
        """
        transport: Any = self.connection and self.connection.transport
        for channel in transport.channels if transport else ():
            channel._in_poll = None
        super().on_connection_error_after_connected(exc)


def _is_a_jobs(message: Any) -> bool:
    try:
        _, fields, _ = message.payload
        return "job_id" in fields
    except (TypeError, ValueError):
        return False
