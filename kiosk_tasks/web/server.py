"""The web service as a process: listen, serve, stop in order."""

from __future__ import annotations

import logging

import uvicorn

from kiosk_tasks.settings import Settings
from kiosk_tasks.web.app import create_app

__all__ = ["serve"]

log = logging.getLogger(__name__)


def serve(settings: Settings, *, address: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        create_app(settings), host=address, port=port, server_header=False, log_config=None
    )
    uvicorn.Server(config).run()
