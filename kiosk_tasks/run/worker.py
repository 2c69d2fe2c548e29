"""What a worker process does when it starts."""

from __future__ import annotations

import gc
import logging
from typing import Any

from celery import signals

from kiosk_tasks.redaction import redact_logs
from kiosk_tasks.scratch import remove_stale_scratch
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import flush_tallies

__all__ = ["connect"]


def connect() -> None:
    """Connect the handlers to Celery's signals."""
    signals.worker_init.connect(_share_memory)
    signals.worker_init.connect(_sweep_scratch)
    # a child that starts takes the place of one that has ended, or was killed with files open
    signals.worker_process_init.connect(_sweep_scratch)
    signals.worker_ready.connect(_say_ready)
    # a child that ends in order; the other is the end of a pool without children
    signals.worker_process_shutdown.connect(_flush_tallies)
    signals.worker_shutdown.connect(_flush_tallies)
    signals.after_setup_logger.connect(_hide_secrets)
    signals.after_setup_task_logger.connect(_hide_secrets)


def _hide_secrets(logger: logging.Logger, **_: Any) -> None:
    """Keep passwords out of the log, also those in the texts of other packages' errors."""
    redact_logs(logger)


def _sweep_scratch(**_: Any) -> None:
    """Remove the files of runs that were killed on this machine."""
    remove_stale_scratch(Settings.load().scratch)


def _flush_tallies(**_: Any) -> None:
    """Write what was counted since the last second."""
    flush_tallies()


def _share_memory(**_: Any) -> None:
    """Keep what is imported out of the collector, so that forked children share its pages."""
    gc.collect()
    gc.freeze()


def _say_ready(**_: Any) -> None:
    """Touch the file by which the embedded stack learns that this worker consumes."""
    ready_file = Settings.load().ready_file
    if ready_file is not None:
        ready_file.touch()
