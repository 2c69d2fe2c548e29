"""An ASGI application on a loopback port, for tests that talk to it as any client does."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import uvicorn
from fastapi import FastAPI

__all__ = ["served"]

_LIMIT_S = 20.0


@contextmanager
def served(
    app: FastAPI, *, http: type[asyncio.Protocol] | Literal["auto"] = "auto"
) -> Iterator[str]:
    """Serve it on a thread of this process; yields its URL. http: the protocol's class."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=http, log_level="warning", ws="none", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    end = time.monotonic() + _LIMIT_S
    while not server.started:
        assert thread.is_alive(), "the server has ended"
        assert time.monotonic() < end, "the server does not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_LIMIT_S)
        listening.close()
        assert not thread.is_alive(), "the server does not end"
