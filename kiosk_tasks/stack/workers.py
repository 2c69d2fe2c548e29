"""Workers as parts: the one of a plain stack, and those that an autoscaler starts and stops."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kiosk_tasks.stack.probes import file_exists
from kiosk_tasks.stack.process import Part

if TYPE_CHECKING:
    from kiosk_tasks.stack.parts import Plan

__all__ = [
    "BROKER",
    "PYTHON_START_S",
    "WORKER",
    "WORKER_COMMAND",
    "crew_name",
    "crew_part",
    "node_of",
    "worker_part",
]

BROKER = "broker"
WORKER = "worker"
WORKER_COMMAND = (sys.executable, "-m", "kiosk_tasks.run", "worker")
PYTHON_START_S = 120.0  # TensorFlow's import on a cold disk and a busy machine

_SOFT_SHUTDOWN_S = 2  # Celery waits all of it, also when idle, before it puts running jobs back
_GRACE_S = 15.0


def worker_part(plan: Plan) -> Part:
    """The Celery worker; SIGTERM makes it put its running jobs back and end."""
    ready_file = plan.run / "worker.ready"
    return Part(
        name=WORKER,
        argv=_argv(plan.queues, plan.concurrency, "kiosk@%h"),
        env={**plan.env, **_told(ready_file)},
        log_path=plan.log(WORKER),
        ready=file_exists(ready_file),
        needs=frozenset({BROKER}),
        nice=plan.work_nice,
        grace_s=_GRACE_S,
        start_limit_s=PYTHON_START_S,
    )


def crew_part(plan: Plan, queue: str, number: int, *, slots: int) -> Part:
    """One of the workers of a queue.

    number: which of them; a number is used again once its worker is gone.
    slots: jobs that it runs at once.
    """
    name = crew_name(queue, number)
    ready_file = plan.run / f"{name.replace(' ', '-')}.ready"
    return Part(
        name=name,
        argv=_argv((queue,), slots, node_of(queue, number)),
        env={**plan.env, **_told(ready_file)},
        log_path=plan.log(name),
        ready=file_exists(ready_file),
        before_start=lambda: ready_file.unlink(missing_ok=True),
        nice=plan.work_nice,
        grace_s=_GRACE_S,
        start_limit_s=PYTHON_START_S,
        crew=True,
    )


def crew_name(queue: str, number: int) -> str:
    """Return the part's name."""
    return f"{WORKER} {queue} {number}"


def node_of(queue: str, number: int) -> str:
    """Return the name by which such a worker is asked over the broker."""
    return f"{queue}-{number}@{socket.gethostname()}"


def _argv(queues: tuple[str, ...], slots: int, node: str) -> tuple[str, ...]:
    what = ("-Q", ",".join(queues), "-c", str(slots), "-n", node)
    quiet = ("--without-gossip", "--without-mingle", "--loglevel", "INFO")
    settings = ("--", f"worker.soft_shutdown_timeout={_SOFT_SHUTDOWN_S}")
    return (*WORKER_COMMAND, *what, *quiet, *settings)


def _told(ready_file: Path) -> dict[str, str]:
    return {"KIOSK_READY_FILE": str(ready_file), "REMAP_SIGTERM": "SIGQUIT"}
