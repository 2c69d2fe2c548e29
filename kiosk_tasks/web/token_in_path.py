"""A token in the address, for old clients: they take a host, and can send no header with it.

`http://HOST/as/USER:TOKEN` stands for the service as that user sees it, for the old API alone.
"""

from __future__ import annotations

import base64
import re

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["TokenInPath"]

_ADDRESS = re.compile(r"/as/([^/]+:[^/]+)(/api/.*|/?)", re.DOTALL)
_ALIVE = "/api/health-check"
"""Answers those who only look whether there is somebody at the address."""


class TokenInPath:
    """Turns the beginning of such an address into the header that it stands for."""

    def __init__(self, app: ASGIApp) -> None:
        """Take the application: it decides whom to let in."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        found = _ADDRESS.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found:
            login, path = found.groups()
            path = path if path.startswith("/api/") else _ALIVE
            token = base64.b64encode(login.encode("utf-8", "surrogateescape"))
            others = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
            scope["headers"] = [*others, (b"authorization", b"Basic " + token)]
            scope["path"] = path  # in place: what is counted by route is this one
            scope.pop("raw_path", None)
        await self._app(scope, receive, send)
