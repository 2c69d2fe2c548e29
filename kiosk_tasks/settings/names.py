"""Under which names settings are found, and the folder that holds a stack's file of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import AliasChoices

__all__ = ["PROTOCOL", "STACK_ENV", "address", "default_home", "names"]

PROTOCOL = 1
"""Raised when workers of the release before could not run the messages of this one."""

STACK_ENV = "stack.env"
"""Name of the file in KIOSK_HOME by which a running embedded stack tells where its parts are."""


def default_home() -> Path:
    """Return `KIOSK_HOME`, else the folder for user data of this system."""
    if os.environ.get("KIOSK_HOME"):
        return Path(os.environ["KIOSK_HOME"]).expanduser().resolve()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "kiosk-tasks"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "kiosk-tasks"


def address(old_prefix: str, *, port: int) -> str:
    """Return host:port by the old Kiosk's variables, such as REDIS_HOST and REDIS_PORT.

    Kubernetes sets a variable of that name to `tcp://address:port`; the port is what is wanted.
    """
    host = os.environ.get(f"{old_prefix}_HOST") or "127.0.0.1"
    given = os.environ.get(f"{old_prefix}_PORT") or str(port)
    return f"{host}:{given.rpartition(':')[2]}"


def names(ours: str, *old: str) -> AliasChoices:
    """Return the variables of a setting: `KIOSK_` and our name, then the old Kiosk's."""
    return AliasChoices(f"KIOSK_{ours}", *old)
