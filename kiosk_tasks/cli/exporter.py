"""`kiosk exporter`: the ledger's numbers for Prometheus and autoscalers."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from kiosk_tasks.jobs import task_types
from kiosk_tasks.run.links import queue_names
from kiosk_tasks.settings import Settings

__all__ = ["exporter", "exporter_argv"]


def exporter(
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 9540,
) -> None:
    """Serve /metrics and /queues.json: what waits, what runs, how many workers are wanted."""
    queues = queue_names(task_types(), Settings.load().stage_queues)
    argv = exporter_argv(address, port, queues)
    os.execv(argv[0], argv)  # noqa: S606  # our own command line; job types are not needed any more


def exporter_argv(address: str, port: int, queues: tuple[str, ...]) -> list[str]:
    """Return the command line of the exporter's own process."""
    named = (word for queue in queues for word in ("--queue", queue))
    place = ("--address", address, "--port", str(port))
    return [sys.executable, "-m", "kiosk_tasks.metrics", *place, *named]
