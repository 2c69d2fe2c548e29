"""Questions that tell whether a part is ready. Each answers at once, or within `PATIENCE_S`."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from pathlib import Path

from kiosk_tasks.stack.sockets import HOST

__all__ = ["Probe", "all_of", "broker_answers", "file_exists", "http_answers", "port_answers"]

PATIENCE_S = 1.0

Probe = Callable[[], bool]


def broker_answers(port: int, password: str) -> Probe:
    """Tell whether Valkey takes the password and has read its data back (PING gives PONG)."""

    def probe() -> bool:
        try:
            with socket.create_connection((HOST, port), PATIENCE_S) as connection:
                connection.sendall(f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode())
                answer = b"".join(iter(lambda: connection.recv(1024), b""))
        except OSError:
            return False
        return b"+PONG" in answer

    return probe


def port_answers(port: int) -> Probe:
    """Tell whether something listens on the loopback port."""

    def probe() -> bool:
        try:
            with socket.create_connection((HOST, port), PATIENCE_S):
                return True
        except OSError:
            return False

    return probe


def file_exists(path: Path) -> Probe:
    """Tell whether the part has written its file."""
    return path.exists


def http_answers(port: int, path: str, *, host: str = HOST) -> Probe:
    """Tell whether a GET answers 200."""

    def probe() -> bool:
        connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def all_of(*probes: Probe) -> Probe:
    """Tell whether every probe says yes; the rest are not asked after the first no."""
    return lambda: all(probe() for probe in probes)
