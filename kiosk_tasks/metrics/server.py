"""The exporter: the ledger's numbers over HTTP, for Prometheus and for autoscalers.

The standard library's server is enough: it is asked a few times a minute, and starts at once.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from kiosk_tasks.errors import InvalidParameter, KioskError
from kiosk_tasks.metrics.collector import LedgerCollector
from kiosk_tasks.metrics.source import Source, queues_json
from kiosk_tasks.redaction import hide

__all__ = ["Exporter"]

log = logging.getLogger(__name__)

_JSON = "application/json"
_SLOW_CLIENT_S = 10
_Answer = tuple[HTTPStatus, str, bytes]


class Exporter(ThreadingHTTPServer):
    """Answers `/metrics`, `/queues.json` and `/healthz`."""

    daemon_threads = True

    def __init__(self, source: Source, *, address: str, port: int) -> None:
        """Listen; `serve_forever` answers. port: 0 takes a free one.

        Raises InvalidParameter if it cannot listen there.
        """
        if ":" in address:
            self.address_family = socket.AF_INET6
        registry = CollectorRegistry()
        registry.register(LedgerCollector(source))
        self.answers: dict[str, Callable[[], _Answer]] = {
            "/metrics": lambda: (HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry)),
            "/queues.json": partial(_queues, source),
            "/healthz": lambda: (HTTPStatus.OK, _JSON, b'{"status":"ok"}'),
        }
        try:
            super().__init__((address, port), _Handler)
        except OSError as exc:
            if exc.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
                raise
            raise InvalidParameter(
                f"{address}, port {port}, cannot be listened on: {os.strerror(exc.errno or 0)}. "
                "Choose another port, or 0 for any that is free."
            ) from exc

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        return f"http://{f'[{host!s}]' if ':' in str(host) else host!s}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: Exporter
    server_version, sys_version = "kiosk-exporter", ""
    timeout = _SLOW_CLIENT_S

    def do_GET(self) -> None:  # the base class finds it by this name
        """Answer."""
        make = self.server.answers.get(self.path.partition("?")[0])
        if make is None:
            status, kind, body = _json(HTTPStatus.NOT_FOUND, {"error": "there is no such page."})
        else:
            status, kind, body = make()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  # likewise

    def log_message(self, format: str, *args: object) -> None:  # its name there
        """Say nothing of each request: they come every few seconds."""


def _queues(source: Source) -> _Answer:
    """Return the queues; a scaler that gets 503 keeps what it has."""
    try:
        return _json(HTTPStatus.OK, queues_json(source.look()))
    except KioskError as exc:
        return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": hide(str(exc))})


def _json(status: HTTPStatus, content: object) -> _Answer:
    return status, _JSON, json.dumps(content).encode()
