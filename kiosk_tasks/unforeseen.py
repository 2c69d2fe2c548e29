"""What an exception that nobody foresaw is told as."""

from __future__ import annotations

import logging

from kiosk_tasks.errors import InternalError, KioskError, OutOfMemory
from kiosk_tasks.redaction import hide

__all__ = ["in_our_words"]

log = logging.getLogger(__name__)


def in_our_words(error: Exception, job_id: str) -> KioskError:
    """Return the error of our tree that says what any exception means; others than ours are logged.

    job_id: of the job that it ends.
    """
    if isinstance(error, KioskError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory(
            "the worker has not enough memory for this image. "
            "Split the image, or run the worker with more."
        )
    log.error("unforeseen job_id=%s", job_id, exc_info=error)
    what = hide(f"{type(error).__name__}: {error}")
    return InternalError(f"an unforeseen error ({what}); see the log.")
