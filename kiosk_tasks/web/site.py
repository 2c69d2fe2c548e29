"""What the handlers of one service may use; a dependency gives it to them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from kiosk_tasks.errors import StorageDenied, StorageUnavailable
from kiosk_tasks.ledger import Ledger
from kiosk_tasks.ports import Storage
from kiosk_tasks.settings import Settings, host_of, is_loopback
from kiosk_tasks.signed_links import Signer
from kiosk_tasks.web.uploads import Uploads

__all__ = ["Site", "SiteOf", "UserOf", "base_url", "own_link"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """One running service.

    storage: the bucket. signer: makes and checks links into a local one.
    uploads: takes files to the bucket.
    submitting: threads that record and send jobs: more would only wait for each other.
    """

    settings: Settings
    storage: Storage
    ledger: Ledger
    signer: Signer
    uploads: Uploads
    submitting: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(4))


def base_url(site: Site, request: Request) -> str:
    """Return what every URL of the service starts with, for whoever sent the request.

    What an operator names as public goes first, but for a name that only this machine knows: then
    the browser goes on with the one it came by.
    """
    asked, public = str(request.base_url).rstrip("/"), site.settings.public_url
    if not public or (is_loopback(host_of(public)) and is_loopback(host_of(asked))):
        return asked
    return public


def own_link(storage: Storage, key: str) -> str | None:
    """Return the bucket's own link to an object, saved under its name; None if it has none.

    That of a folder has none; nor has one whose credentials can read but not sign.
    """
    try:
        url = storage.url(key, name=key.rpartition("/")[2])
    except (StorageDenied, StorageUnavailable) as exc:
        log.warning("no link of the bucket key=%s why=%s", key, exc)
        return None
    return url if url.startswith(("https://", "http://")) else None


async def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


async def _user(request: Request) -> str:
    """Return who asks, as the gate has found out; empty where nobody need say."""
    return str(request.scope.get("kiosk_user", ""))


SiteOf = Annotated[Site, Depends(_site)]
UserOf = Annotated[str, Depends(_user)]
