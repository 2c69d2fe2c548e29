"""A TCP relay on the loopback that counts what passes, each way."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType

__all__ = ["Relay"]

_CHUNK = 2**18


class Relay:
    """Passes bytes on to a loopback port; use runs of their own, for it takes time itself.

    sent: bytes that clients sent. received: those that they got.
    """

    def __init__(self, port: int) -> None:
        """port: where to pass bytes to."""
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.sent = self.received = 0
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Relay:
        """Begin to accept."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the listener and every connection."""
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            self._ends += (client, server)
            for source, target, there in ((client, server, True), (server, client, False)):
                args = (source, target, there)
                threading.Thread(target=self._pass, args=args, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, there: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                with self._lock:
                    if there:
                        self.sent += len(data)
                    else:
                        self.received += len(data)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
