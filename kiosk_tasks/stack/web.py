"""The web service as a part: where it listens, and what links to results are signed with."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kiosk_tasks.settings import is_loopback
from kiosk_tasks.stack.errors import OpenWeb
from kiosk_tasks.stack.flower import reachable
from kiosk_tasks.stack.probes import Probe, http_answers
from kiosk_tasks.stack.sockets import HOST, Reservation

__all__ = [
    "WEB_ONLY",
    "WebPlan",
    "check_web",
    "link_secret",
    "web_argv",
    "web_only",
    "web_ready",
    "web_url",
    "web_values",
]


WEB_ONLY = ("KIOSK_API_TOKENS", "KIOSK_API_TOKENS_FILE")
"""No other part need know the users' tokens: workers run job types of all sorts."""
_SECRET_FILE = "link.secret"  # noqa: S105  # a name


@dataclass(frozen=True)
class WebPlan:
    """Where the web service listens.

    secret: signs links to results, where the environment has none.
    """

    port: Reservation
    address: str = HOST
    secret: str = field(default="", repr=False)


def check_web(address: str, *, tokens: bool) -> None:
    """Raise OpenWeb if everyone on the network could use the service.

    tokens: whether it asks for them, or the operator wants it open.
    """
    if not tokens and not is_loopback(address):
        raise OpenWeb(
            f"The web service at {address or 'every address'} would be open to the network. "
            "Set KIOSK_API_TOKENS=user:token, or leave KIOSK_WEB_ADDRESS at 127.0.0.1; "
            "KIOSK_WEB_OPEN=true if that is what you want."
        )


def link_secret(home: Path) -> str:
    """Return what links to results are signed with: made once, so that links outlive a restart.

    It lies in `<home>/link.secret`, for its owner only. The lock of the home must be held.
    """
    path = home / _SECRET_FILE
    with suppress(FileNotFoundError):
        if secret := path.read_text("utf-8").strip():
            return secret
    secret = secrets.token_hex(32)
    fd, name = tempfile.mkstemp(dir=home, prefix=f".{_SECRET_FILE}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(f"{secret}\n")
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return secret


def web_argv(web: WebPlan) -> tuple[str, ...]:
    """Return the command line."""
    kiosk = (sys.executable, "-m", "kiosk_tasks")
    return (*kiosk, "web", "--address", web.address, "--port", str(web.port.port))


def web_only(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what only the web service is told."""
    return {name: environ[name] for name in WEB_ONLY if name in environ}


def web_url(address: str, port: int) -> str:
    """Return the URL that opens the page on this machine."""
    host = reachable(address)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def web_ready(web: WebPlan) -> Probe:
    """Tell whether the service answers."""
    return http_answers(web.port.port, "/healthz", host=reachable(web.address))


def web_values(web: WebPlan, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the parts and `stack.env` are told of the service.

    Workers sign links with it. What the environment says goes first, and a file that it names; a
    service that others on the network reach has no public name unless it is told one.
    """
    url = web_url(web.address, web.port.port)
    values = {"KIOSK_URL": url}
    if secret := environ.get("KIOSK_LINK_SECRET"):
        values["KIOSK_LINK_SECRET"] = secret
    elif not environ.get("KIOSK_LINK_SECRET_FILE"):
        values["KIOSK_LINK_SECRET"] = web.secret
    public = environ.get("KIOSK_PUBLIC_URL") or (url if is_loopback(web.address) else "")
    return values | ({"KIOSK_PUBLIC_URL": public} if public else {})
