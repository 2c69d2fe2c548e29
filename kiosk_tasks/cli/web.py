"""`kiosk web`: the web service."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from kiosk_tasks.redaction import redact_logs
from kiosk_tasks.settings import Settings

__all__ = ["web"]


def web(
    address: Annotated[
        str | None,
        typer.Option(help="Address to listen on.", show_default="KIOSK_WEB_ADDRESS, 127.0.0.1"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port; 0 takes a free one.", show_default="KIOSK_WEB_PORT, 8000"
        ),
    ] = None,
) -> None:
    """Serve the page and the REST interface, until SIGTERM."""
    from kiosk_tasks.web.server import serve  # it would slow down every other command

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    redact_logs(logging.getLogger())
    settings = Settings.load()
    serve(
        settings,
        address=settings.web_address if address is None else address,
        port=settings.web_port if port is None else port,
    )
