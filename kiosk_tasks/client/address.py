"""Where the server is and who asks: as given, else of the environment, else the local stack's."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from kiosk_tasks.client.errors import CannotSend, ServerUnavailable

__all__ = ["ENVIRONMENT", "Address", "find_address"]

ENVIRONMENT = ("KIOSK_URL", "KIOSK_TOKEN")
"""What a client reads of the environment, beside the settings of a server."""


_STACK_ENV = "stack.env"  # as `kiosk_tasks.settings` names it, which a client does without


@dataclass(frozen=True)
class Address:
    """A server: its URL, without a secret, and how to log in."""

    url: str
    token: str | None = field(default=None, repr=False)
    user: str | None = None


def find_address(
    url: str | None = None, token: str | None = None, user: str | None = None
) -> Address:
    """Return the server to talk to.

    url: default: KIOSK_URL, else that of the stack that `kiosk up` runs on this machine.
    token: default: the one in the URL (`http://user:token@host`), else KIOSK_TOKEN.
    Raises ServerUnavailable where nothing says where it is, CannotSend for what is no URL.
    """
    stack = _running_stack()
    url = url or os.environ.get("KIOSK_URL") or stack.get("KIOSK_URL")
    if not url:
        raise ServerUnavailable(
            "no server is named and none runs here; give Client its URL, set KIOSK_URL, or "
            "start one with `kiosk up`."
        )
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CannotSend("the server's URL must look like http://host:8000.")
    token = token or unquote(parts.password or "") or os.environ.get("KIOSK_TOKEN") or None
    user = user or unquote(parts.username or "") or None
    host = parts.netloc.rpartition("@")[2]
    bare = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
    return Address(bare, token, user)


def _running_stack() -> Mapping[str, str]:
    try:
        lines = (_home() / _STACK_ENV).read_text("utf-8").splitlines()
    except OSError:
        return {}
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _home() -> Path:
    if os.environ.get("KIOSK_HOME"):
        return Path(os.environ["KIOSK_HOME"]).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "kiosk-tasks"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "kiosk-tasks"
