"""The queues as worker services of Docker Compose."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import indent
from typing import Any

import yaml

from kiosk_tasks.deploy.marks import made_part
from kiosk_tasks.deploy.queues import DeployedQueue

__all__ = ["TEMPLATE", "compose_file", "compose_services", "composed_workers"]

TEMPLATE = "compose/kiosk.yaml"
"""Has what all workers have in common; Compose looks for it beside its first file."""


def compose_services(queues: Iterable[DeployedQueue]) -> str:
    """Return the workers of each queue, as they stand below `services:`."""
    return "\n".join(map(_service, queues))


def compose_file(queues: Iterable[DeployedQueue]) -> str:
    """Return the same as a file of its own, which goes with `docker-compose.yml`."""
    return "services:\n" + (indent(compose_services(queues), "  ") or "  {}\n")


def composed_workers(text: str, *, where: str) -> frozenset[str]:
    """Return the names of the workers in the part of a Compose file that is made by us.

    where: the file's name. Raises InvalidParameter if there is no such part.
    """
    read: dict[str, Any] = yaml.safe_load(made_part(text, where=where)) or {}
    return frozenset(read.get("services", read))


def _service(queue: DeployedQueue) -> str:
    argv = ["celery", "-A", "kiosk_tasks", "worker", "-Q", queue.name]
    service: dict[str, Any] = {
        "extends": {"file": TEMPLATE, "service": "worker"},
        "command": [*argv, "-n", f"{queue.name}@%h", "-c", "${WORKER_PROCESSES:-2}"],
    }
    text = yaml.safe_dump(
        {queue.worker: service}, sort_keys=False, default_flow_style=None, width=120
    )
    return f"# {', '.join(queue.job_types) or 'stages of other queues'}\n{text}"
