"""Links to objects at Google: signed with the worker's key, or by Google in the worker's name."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from threading import Lock
from typing import Any
from urllib.parse import quote, urlencode

import google.auth.transport.requests
from google.auth.credentials import AnonymousCredentials, Signing
from google.auth.exceptions import TransportError

from kiosk_tasks.errors import StorageDenied
from kiosk_tasks.storage.gcs_client import Reach

__all__ = ["Links", "link"]

_NOT_YET_KNOWN = "default"  # what a machine of Google's calls its account before it asks


_KEPT = 10_000
_KEPT_S = 6 * 3600  # Google promises the key that it signs with for 12 hours


class Links:
    """Links that were made a while ago, for whom Google must be asked for each signature."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: OrderedDict[tuple[str, ...], tuple[float, str]] = OrderedDict()
        self._lock = Lock()

    def get(self, what: tuple[str, ...], lifetime_s: float, make: Callable[[], str]) -> str:
        """Return a link of which at least half of its life is left."""
        now = time.monotonic()
        with self._lock:
            made, known = self._kept.get(what, (0.0, ""))
        if known and now - made < min(lifetime_s / 2, _KEPT_S):
            return known
        new = make()
        with self._lock:
            self._kept[what] = now, new
            self._kept.move_to_end(what)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return new


def link(reach: Reach, name: str, *, method: str, disposition: str | None = None) -> str:
    """Return a link to the object that holds for the options' lifetime; errors are the SDK's.

    disposition: the Content-Disposition that it is served with.
    """
    options = reach.options
    nobody = isinstance(reach.client._credentials, AnonymousCredentials)
    if nobody or not options.sign_links:
        return _plain(reach, name, disposition)
    signer = _signer(reach)
    try:
        signed: str = reach.blob(name).generate_signed_url(
            version="v4",
            method=method,
            expiration=timedelta(seconds=options.url_lifetime_s),
            api_access_endpoint=_address(reach),
            response_disposition=disposition,
            **signer,
        )
    except TransportError as exc:
        if "403" not in str(exc):
            raise
        raise StorageDenied(
            f"links to the bucket {reach.bucket!r} cannot be signed for "
            f"{signer.get('service_account_email')}: it needs the role Service Account Token "
            f"Creator on itself, and the Service Account Credentials API. Or say ?sign_links=false."
        ) from exc
    return signed


def _address(reach: Reach) -> str:
    address: str = reach.options.public_endpoint or reach.client.api_endpoint
    return address.rstrip("/")


def _plain(reach: Reach, name: str, disposition: str | None) -> str:
    query = f"?{urlencode({'response-content-disposition': disposition})}" if disposition else ""
    return f"{_address(reach)}/{reach.bucket}/{quote(name)}{query}"


def _signer(reach: Reach) -> dict[str, Any]:
    """Return who signs, if the credentials cannot: Google's IAM, for a service account."""
    credentials: Any = reach.client._credentials
    if isinstance(credentials, Signing):
        return {}
    account = getattr(credentials, "service_account_email", None)
    if not credentials.valid or account == _NOT_YET_KNOWN:
        credentials.refresh(google.auth.transport.requests.Request())
        account = getattr(credentials, "service_account_email", None)
    if not account:
        raise StorageDenied(
            f"links to the bucket {reach.bucket!r} cannot be signed: the worker's credentials are "
            f"no service account's. Give it one, or say ?sign_links=false."
        )
    return {"service_account_email": account, "access_token": credentials.token}
