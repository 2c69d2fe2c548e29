"""What a run that went wrong is told as, and how long it waits before the next."""

from __future__ import annotations

import logging
import random

from billiard.exceptions import SoftTimeLimitExceeded

from kiosk_tasks.errors import InternalError, KioskError, OutOfMemory, TimeLimit, WorkerDied
from kiosk_tasks.redaction import hide

__all__ = ["as_ours", "pause_s", "too_many_deaths"]

log = logging.getLogger(__name__)

_BACKOFF_MAX_S = 60


def too_many_deaths(attempts: int) -> WorkerDied:
    """Return the error of a job whose every run has died."""
    return WorkerDied(
        f"the worker died {attempts} times while it ran this job, most likely for want of memory. "
        "Split the image, or run the worker with more."
    )


def as_ours(error: Exception, job_id: str) -> KioskError:
    """Return the error of our tree that says what any exception means."""
    if isinstance(error, KioskError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory(
            "the worker has not enough memory for this image. "
            "Split the image, or run the worker with more."
        )
    if isinstance(error, SoftTimeLimitExceeded):
        return TimeLimit("the job took longer than its time limit. Split the image.")
    log.error("unforeseen job_id=%s", job_id, exc_info=error)
    what = hide(f"{type(error).__name__}: {error}")
    return InternalError(f"an unforeseen error ({what}); see the log.")


def pause_s(retries: int) -> float:
    """Return the seconds before the next run: doubling, with jitter so that not all come at once.

    retries: how often the link was put back before.
    """
    return min(2.0**retries, _BACKOFF_MAX_S) * random.uniform(0.5, 1.0)  # noqa: S311
