"""A worker's consumer that leaves messages it cannot run to workers that can."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

__all__ = ["Consumer"]

log = logging.getLogger(__name__)

_LATER_S = 1.0
"""How long another worker has to take the message before this one sees it again."""


class Consumer(CeleryConsumer):
    """Celery's, but for messages of a job type that this worker does not have.

    During a deployment, or where a plugin is installed on some machines only, they are another
    worker's. Celery would discard them, and store a failure as the job's result.
    """

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Put a job's message back after a while; Celery deals with anything else."""
        if not _is_a_jobs(message):
            super().on_unknown_task(body, message, exc)
            return
        log.warning("no such job type here, left to other workers: %s", message.headers["task"])
        errors = self.connection_errors  # type: ignore[attr-defined]  # missing in Celery's types
        self.timer.call_after(_LATER_S, message.reject_log_error, (log, errors, True))


def _is_a_jobs(message: Any) -> bool:
    try:
        _, fields, _ = message.payload
        return "job_id" in fields
    except (TypeError, ValueError):
        return False
