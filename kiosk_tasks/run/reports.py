"""What a worker says of itself when it is asked: release and settings, none of them a secret.

A command of Celery's remote control, `kiosk_report`; `kiosk doctor --cluster` asks all workers.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from celery import Celery, signals

from kiosk_tasks import __version__
from kiosk_tasks.jobs import task_types
from kiosk_tasks.settings import PROTOCOL, Settings

__all__ = ["REPORT", "connect", "report", "seen_from_here"]

REPORT = "kiosk_report"


def connect() -> None:
    """Connect the handler to Celery's signal."""
    signals.worker_init.connect(_learn_to_answer)


def report(app: Celery, *, key: str = "") -> dict[str, Any]:
    """Return what must agree between processes, and what a doctor wants to know of this one.

    key: of an object that somebody has just put into a bucket that is a folder.
    """
    settings = Settings.load()
    return {
        "version": __version__,
        "protocol": PROTOCOL,
        "job_types": sorted(task_types()),
        "links": settings.links,
        "stage_queues": dict(sorted(settings.stage_queues.items())),  # in whatever order it is set
        "max_batch": settings.max_batch,
        "lease": settings.lease_s,
        "visibility_timeout": settings.visibility_timeout_s,
        "max_attempts": settings.max_attempts,
        "bucket": settings.bucket_url.shown,
        "workspace": settings.workspace_url.shown,
        "ledger": settings.records_url.shown.rpartition("@")[2],
        "model_server": settings.model_server,
        "host": socket.gethostname(),
        "time": time.time(),
        "soft_shutdown": app.conf.worker_soft_shutdown_timeout,
        "remap_sigterm": os.environ.get("REMAP_SIGTERM", ""),
        "grace": settings.grace_s,
        "sees": seen_from_here(settings.bucket_url, key) if key else None,
    }


def seen_from_here(bucket: str, key: str) -> bool:
    """Tell whether an object is there, in a bucket that is a folder; others are not asked."""
    return (Path(unquote(urlsplit(bucket).path)) / key).exists()


def _learn_to_answer(**_: Any) -> None:
    """Register the command; in workers only, as clients have no use for what it imports."""
    from celery.worker.control import inspect_command

    @inspect_command(name=REPORT)
    def answer(state: Any, key: str = "") -> dict[str, Any]:
        return report(state.app, key=key)
