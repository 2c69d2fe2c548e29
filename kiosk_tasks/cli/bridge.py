"""`kiosk bridge`: the old Kiosk's frontends go on working."""

from __future__ import annotations

import logging
import signal
import socket
from typing import Annotated

import typer

from kiosk_tasks.bridge import make_bridge
from kiosk_tasks.redaction import redact_logs

__all__ = ["bridge"]


def bridge(
    name: Annotated[
        str,
        typer.Option(
            help="Name of this replica, kept over restarts; several on one machine need one each.",
            show_default="the machine's name",
        ),
    ] = "",
) -> None:
    """Take over the jobs that the old Kiosk's frontends push, until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    redact_logs(logging.getLogger())
    one = make_bridge(name or socket.gethostname())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: one.stop())
    one.run()
