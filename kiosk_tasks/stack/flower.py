"""Flower: never without a password, and beyond this machine only with one that was chosen."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from urllib.parse import quote

from kiosk_tasks.run.dashboard import open_to_network
from kiosk_tasks.stack.errors import OpenFlower
from kiosk_tasks.stack.sockets import HOST

__all__ = ["check_flower", "flower_argv", "flower_env", "flower_url", "reachable"]

_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104  # named, not bound


def check_flower(address: str, login: str | None) -> None:
    """Raise OpenFlower if Flower would be open to the network with no login of the user's own."""
    if open_to_network(address, login):
        raise OpenFlower(
            f"Flower at {address or 'every address'} would be open to the network. "
            "Set KIOSK_FLOWER_AUTH=user:password, or leave KIOSK_FLOWER_ADDRESS at 127.0.0.1."
        )


def flower_argv(address: str, port: int) -> tuple[str, ...]:
    """Return the command line; no password is in it."""
    celery = (sys.executable, "-m", "celery", "-A", "kiosk_tasks")
    return (*celery, "flower", f"--address={address}", f"--port={port}")


def flower_env(environ: Mapping[str, str], login: str) -> dict[str, str]:
    """Return the environment: Flower's own variables in it, which could open it, do not count."""
    env = {name: value for name, value in environ.items() if not name.startswith("FLOWER_")}
    return {**env, "FLOWER_BASIC_AUTH": login}


def flower_url(address: str, port: int, login: str) -> str:
    """Return the URL that opens it in a browser, login included."""
    user, _, password = login.partition(":")
    host = reachable(address)
    written = f"[{host}]" if ":" in host else host
    return f"http://{quote(user, safe='')}:{quote(password, safe='')}@{written}:{port}"


def reachable(address: str) -> str:
    """Return the address at which this machine reaches a listener on that one."""
    return HOST if address in _EVERYWHERE else address
