"""Who is let in: tokens, hosts, other sites' pages, and how often one may ask for changes."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from kiosk_tasks.errors import KioskError
from kiosk_tasks.settings import Settings, is_loopback
from kiosk_tasks.web.errors import (
    CrossSite,
    NotLoggedIn,
    StrangeHost,
    TooManyRequests,
    error_response,
)

__all__ = ["Gate", "Rate"]

_HEALTH = ("/healthz", "/readyz")
"""Tell nothing that needs a token, and must answer whoever watches the service."""
_SIGNED = ("/files/", "/api/files/")
_LOOKS = ("GET", "HEAD", "OPTIONS")
_POLLS = ("/api/status", "/api/redis", "/api/redis/expire")
"""Older clients look at their jobs by POST, every second."""
_INSPECT = "/inspect"
"""Changes nothing, but costs: it is counted apart, so that looking leaves as many submissions."""
_MOST_KNOWN = 10_000


class Rate:
    """So many a minute for each of many; who has been quiet has as many at once."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """per_minute: 0 is no limit. clock: seconds."""
        self._most = per_minute
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str) -> None:
        """Count one; raises TooManyRequests for one too many."""
        if not self._most:
            return
        now = self._clock()
        left, at = self._left.pop(who, (float(self._most), now))
        left = min(float(self._most), left + (now - at) * self._most / 60)
        if len(self._left) >= _MOST_KNOWN:  # the one that has been quiet for longest has most left
            self._left.popitem(last=False)
        self._left[who] = (max(left - 1, 0.0) if left >= 1 else left, now)
        if left < 1:
            raise TooManyRequests(
                f"this service takes {self._most} requests a minute from each user; wait a moment."
            )


class Gate:
    """Lets a request through, and notes whose it is; or answers it itself."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        """Take what the operator allows."""
        self._app = app
        self._users = settings.users
        self._public = settings.public_url
        self._origins = {*settings.origins, *([_origin(self._public)] if self._public else [])}
        self._open = settings.web_open
        self._rate = Rate(settings.web_rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            scope["kiosk_user"] = self._admit(scope)
        except KioskError as exc:
            await error_response(exc)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> str:
        """Return who asks. Raises NotLoggedIn, StrangeHost, CrossSite, TooManyRequests."""
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        looks = method in _LOOKS
        if looks and path in _HEALTH:
            return ""
        user = ""
        self._check_host(headers.get("host", ""))
        if self._users and not (looks and path.startswith(_SIGNED)):
            user = self._user(headers.get("authorization", ""))
        if not looks:
            self._check_site(headers)
            who = user or str((scope.get("client") or ("",))[0])
            if path.rstrip("/") not in _POLLS:
                self._rate.take(f"{who} {path}" if path == _INSPECT else who)
        return user

    def _check_host(self, host: str) -> None:
        """Refuse what is no name, and one that another site has given to this machine's address.

        A site that does that has no token.
        """
        name = _name(host)
        if self._users and (name or not host):
            return
        if is_loopback(name) or (self._public and name == urlsplit(self._public).hostname):
            return
        if self._open and _is_address(name):
            return
        raise StrangeHost(
            "the service does not answer to this name. "
            "Use http://127.0.0.1, or set KIOSK_PUBLIC_URL to the URL that users open."
        )

    def _user(self, authorization: str) -> str:
        scheme, _, given = authorization.partition(" ")
        name, token = "", given.strip()
        if scheme.lower() == "basic":
            try:
                name, _, token = base64.b64decode(given, validate=True).decode().partition(":")
            except (binascii.Error, ValueError):
                token = ""
        elif scheme.lower() != "bearer":
            token = ""
        found = ""
        for right, user in self._users.items():  # all of them, however early one fits
            fits = hmac.compare_digest(right.encode(), token.encode("utf-8", "surrogateescape"))
            found = user if fits else found
        if not found or (name and name != found):
            raise NotLoggedIn(
                "this needs a token: log in with your name and, as the password, your token, "
                "or send the header 'Authorization: Bearer TOKEN'."
            )
        return found

    def _check_site(self, headers: Headers) -> None:
        """Refuse what another site's page sends in its visitor's name."""
        origin, host = headers.get("origin"), headers.get("host", "")
        site = headers.get("sec-fetch-site", "none")
        if origin in self._origins:
            return
        same = origin is None or _place(origin) == host.lower() != ""
        if not same or site not in ("same-origin", "none"):
            raise CrossSite(
                "a page of another site asked for this. Open the service's own page, "
                "or name that site in KIOSK_CORS_ORIGINS."
            )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _place(origin: str) -> str:
    """Return the host and port of an Origin header."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name(host: str) -> str:
    """Return the host of a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
