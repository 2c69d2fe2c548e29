"""What a run that went wrong is told as, and how long it waits before the next."""

from __future__ import annotations

import random

from billiard.exceptions import SoftTimeLimitExceeded

from kiosk_tasks.errors import KioskError, TimeLimit, WorkerDied
from kiosk_tasks.unforeseen import in_our_words

__all__ = ["as_ours", "pause_s", "too_many_deaths"]

_BACKOFF_MAX_S = 60


def too_many_deaths(attempts: int) -> WorkerDied:
    """Return the error of a job whose every run has died."""
    return WorkerDied(
        f"the worker died {attempts} times while it ran this job, most likely for want of memory. "
        "Split the image, or run the worker with more."
    )


def as_ours(error: Exception, job_id: str) -> KioskError:
    """Return the error of our tree that says what any exception means."""
    if isinstance(error, SoftTimeLimitExceeded):
        return TimeLimit("the job took longer than its time limit. Split the image.")
    return in_our_words(error, job_id)


def pause_s(retries: int) -> float:
    """Return the seconds before the next run: doubling, with jitter so that not all come at once.

    retries: how often the link was put back before.
    """
    return min(2.0**retries, _BACKOFF_MAX_S) * random.uniform(0.5, 1.0)  # noqa: S311
