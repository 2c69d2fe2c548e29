"""Names that Celery's settings and its tasks must agree on."""

from __future__ import annotations

__all__ = ["REAP", "REAPER_QUEUE"]

REAP = "kiosk.reap"
"""The task that looks for lost jobs once."""

REAPER_QUEUE = "reaper"
"""Its queue: on a job's queue it would wait behind the very jobs that it is to save."""
