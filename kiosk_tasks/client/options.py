"""How both clients set up httpx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kiosk_tasks import __version__
from kiosk_tasks.client.address import Address

__all__ = ["http_options"]


def http_options(address: Address, timeout: float, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of httpx's client: where, who, how patient; the caller's own on top.

    A token goes as `Bearer`, or with a user's name as `Basic`, as a browser sends it.
    """
    headers = {"User-Agent": f"kiosk-tasks/{__version__}", "Accept": "application/json, */*"}
    auth = None
    if address.token and address.user:
        auth = (address.user, address.token)
    elif address.token:
        headers["Authorization"] = f"Bearer {address.token}"
    given = {
        "base_url": f"{address.url}/",
        "auth": auth,
        "timeout": timeout,
        "follow_redirects": True,
        **more,
    }
    return {**given, "headers": {**headers, **dict(more.get("headers", {}))}}
