"""A TCP proxy in this process whose link can be cut without a word to either side."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType

__all__ = ["Proxy"]

_CHUNK = 65536
_POLL_S = 0.1


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.ends = (client, server)
        self.forgotten = False  #: the cut outlived the network's memory of this connection

    def reset(self) -> None:
        """End it with a RST, as a network does that does not know the connection."""
        for end in self.ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close(end)

    def close(self) -> None:
        for end in self.ends:
            self._close(end)

    @staticmethod
    def _close(end: socket.socket) -> None:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


class Proxy:
    """Passes bytes to a loopback port, until it is cut.

    While it is cut nothing passes and nobody is told. What was sent meanwhile arrives after
    `restore`, as with a firewall that drops packets; or, with `forget`, it never does, and a
    connection of before is reset when it is next used.
    """

    def __init__(self, port: int) -> None:
        """port: where to pass bytes to."""
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_POLL_S)
        self.port: int = self._listener.getsockname()[1]
        self._links: list[_Link] = []
        self._threads: list[threading.Thread] = []
        self._passes = threading.Event()
        self._passes.set()
        self._stopped = False
        self._start(self._accept)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
        self._passes.set()
        for link in self._links:
            link.close()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def cut(self, *, forget: bool = False) -> None:
        """Let nothing pass. forget: connections of now will not be known afterwards."""
        self._passes.clear()
        if forget:
            for link in self._links:
                link.forgotten = True

    def restore(self) -> None:
        self._passes.set()

    def _accept(self) -> None:
        while not self._stopped:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            client.settimeout(None)
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            link = _Link(client, server)
            self._links.append(link)
            self._start(self._pass, link, client, server)
            self._start(self._pass, link, server, client)

    def _pass(self, link: _Link, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(_CHUNK):
                if link.forgotten and self._passes.is_set() and source is link.ends[0]:
                    link.reset()
                    return
                if link.forgotten:
                    continue
                self._passes.wait()
                if link.forgotten:
                    continue
                target.sendall(data)
        except OSError:
            pass  # one side has gone; the other is told below
        if not link.forgotten:
            self._passes.wait()
            link.close()

    def _start(self, run: object, *args: object) -> None:
        thread = threading.Thread(target=run, args=args, name="proxy", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
