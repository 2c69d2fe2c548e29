"""The web service as a process: listen, serve, stop in order."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from kiosk_tasks.settings import Settings
from kiosk_tasks.stack import PortTaken
from kiosk_tasks.stack.web import check_web, web_url
from kiosk_tasks.web.app import create_app

__all__ = ["PatientProtocol", "serve"]

log = logging.getLogger(__name__)

_HEADERS_S = 10.0
"""How long a client may take to say what it wants."""
_MOST_IN_VAIN = 2**26
"""Bytes of a body that are read after the answer: many a client reads that only when it has sent
all, and would not see it if the connection were closed at once."""
_BACKLOG = 2048
_SWITCH_S = 0.0005
"""How soon a thread that submits a job lets the one that answers everybody go on; Python's own 5 ms
are a tenth of what an answer may take, for each of many that come at once."""
_STOP_S = 5
"""How long running answers are awaited at the end; progress streams would go on for hours."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1, with limits on how long a request's headers may take, and on what comes in vain."""

    headers_s = _HEADERS_S
    most_in_vain = _MOST_IN_VAIN

    def __init__(self, *args: Any, **options: Any) -> None:
        """As uvicorn makes it."""
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_vain = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on while headers are incomplete: the time is for all of them."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._deadline is None:
            self._wait()
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY:
            self._in_vain += len(data)
            if self._in_vain > self.most_in_vain:
                self.transport.abort()
        else:
            self._in_vain = 0  # the connection lives on, and the next body counts anew

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Give up what is still arriving: its thread would wait for more."""
        super().shutdown()
        if self.cycle and not self.cycle.response_complete and self.cycle.more_body:
            self.transport.abort()

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(self.headers_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self.transport.close()


class _Server(uvicorn.Server):
    """Says where it listens, once it does."""

    def __init__(self, config: uvicorn.Config, *, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            log.info("serving url=%s", self._url)


def serve(settings: Settings, *, address: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises OpenWeb if everyone on the network could use it, PortTaken.
    """
    check_web(address, tokens=bool(settings.users) or settings.web_open)
    sys.setswitchinterval(_SWITCH_S)
    with _listening(address, port) as listener:
        config = uvicorn.Config(
            create_app(settings),
            http=PatientProtocol,
            ws="none",
            log_config=None,
            access_log=False,  # addresses of results are all that is needed to fetch them
            server_header=False,
            timeout_graceful_shutdown=_STOP_S,
        )
        url = web_url(address, listener.getsockname()[1])
        _Server(config, url=url).run(sockets=[listener])


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except OSError as exc:
        if exc.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise
        raise PortTaken(
            f"{address or 'every address'}, port {port}, cannot be listened on: "
            f"{os.strerror(exc.errno or 0)}. Choose another port, or 0 for any that is free."
        ) from exc
