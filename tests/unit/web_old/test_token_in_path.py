"""Addresses of old clients that hold a token."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from kiosk_tasks.web.token_in_path import TokenInPath


def seen(path: str, headers: list[tuple[bytes, bytes]] | None = None) -> dict[str, Any]:
    """Return the request as the application behind sees it."""
    found: dict[str, Any] = {}

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        found.update(scope)

    scope = {"type": "http", "path": path, "raw_path": path.encode(), "headers": headers or []}
    asyncio.run(TokenInPath(app)(scope, None, None))  # type: ignore[arg-type]  # it asks neither
    return found


@pytest.mark.parametrize(
    ("path", "inner"),
    [
        ("/as/alice:tok1", "/api/health-check"),
        ("/as/alice:tok1/", "/api/health-check"),
        ("/as/alice:tok1/api/predict", "/api/predict"),
        ("/as/alice:tok1/api/redis/expire/", "/api/redis/expire/"),
    ],
)
def test_address_stands_for_a_header(path: str, inner: str) -> None:
    request = seen(path, [(b"host", b"here"), (b"authorization", b"Bearer other")])
    assert request["path"] == inner
    headers = [value for name, value in request["headers"] if name == b"authorization"]
    assert headers == [b"Basic " + base64.b64encode(b"alice:tok1")]
    assert (b"host", b"here") in request["headers"]
    assert "raw_path" not in request


@pytest.mark.parametrize(
    "path",
    ["/as/alice:tok1/jobs", "/as/alice/api/predict", "/as/", "/api/predict", "/x/as/a:b/api/x"],
)
def test_no_other_address_is_changed(path: str) -> None:
    request = seen(path)
    assert (request["path"], request["headers"]) == (path, [])
