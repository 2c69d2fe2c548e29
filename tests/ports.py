"""Loopback ports for servers that are told where to listen before they are started."""

from __future__ import annotations

from kiosk_tasks.stack.sockets import Reservation

__all__ = ["free_port"]

_RESERVED: list[Reservation] = []


def free_port() -> int:
    """Return a loopback port that nobody listens on, and that nobody else is given meanwhile.

    It is held until this process ends. One that was only looked for could be another test's, or
    some connection's, by the time that the server listens.
    """
    _RESERVED.append(Reservation())
    return _RESERVED[-1].port
