"""Run microscopy image models through a queue.

`from kiosk_tasks import predict; predict.delay(input_file_name="uploads/x.tif").get()`

`app` is the Celery application; each job type is a task of that name. Both are loaded when they are
first asked for, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = ["__version__", "app"]


def __getattr__(name: str) -> Any:
    """Load `app`, or the task of a job type, on first use."""
    if name.startswith("_"):
        raise AttributeError(name)
    if name in ("app", "celery"):
        return import_module("kiosk_tasks.run.chain").app
    if name in import_module("kiosk_tasks.jobs").job_types():
        return import_module("kiosk_tasks.run.chain").app.tasks[name]
    raise AttributeError(f"module 'kiosk_tasks' has no attribute or job type {name!r}")
