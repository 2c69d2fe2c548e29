"""Loopback ports that are known before the part that will listen on them has started."""

from __future__ import annotations

import errno
import os
import socket
import sys

from kiosk_tasks.stack.errors import PortTaken

__all__ = ["HOST", "Reservation"]

HOST = "127.0.0.1"


class Reservation:
    """A free port, held by a bound socket that never listens.

    Linux lets a second socket bind and listen on it as long as both say SO_REUSEADDR, which gRPC,
    Valkey and Tornado do, while nobody who asks for *any* free port is given it. So the address can
    be handed to other parts at once, and two stacks never meet. Elsewhere `release` gives the port
    up just before the part starts.
    """

    def __init__(self, port: int = 0, *, or_another: bool = False) -> None:
        """Take a port; 0 takes a free one.

        or_another: take a free one where that one is taken. Else raises PortTaken.
        """
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._bind(port, or_another=or_another)
        except BaseException:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]

    def _bind(self, port: int, *, or_another: bool) -> None:
        try:
            self._socket.bind((HOST, port))
        except OSError as exc:
            if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            if not or_another:
                raise PortTaken(
                    f"Port {port} cannot be listened on: {os.strerror(exc.errno)}. "
                    "Choose another one, or 0 for any that is free."
                ) from exc
            self._socket.bind((HOST, 0))

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{HOST}:{self.port}"

    def release(self) -> None:
        """Give way to the listener, on systems where the two cannot both hold the port."""
        if sys.platform != "linux":
            self.close()

    def close(self) -> None:
        """Give the port up."""
        self._socket.close()
