"""From what Google Cloud Storage and its SDK say to our errors, once. None holds a credential."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3.exceptions
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from kiosk_tasks.errors import (
    InvalidKey,
    KioskError,
    MissingObject,
    StorageDenied,
    StorageFull,
    StorageUnavailable,
)
from kiosk_tasks.storage.disk_errors import disk_error

__all__ = ["VENDOR_ERRORS", "mapped_errors", "no_bucket", "status_of"]

VENDOR_ERRORS = (
    *(GoogleAPICallError, GoogleAuthError, RetryError, DataCorruption, InvalidResponse),
    *(requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException),
)
"""Whatever the SDK may raise, but for errors of this machine's own disk."""

_PASSING = (408, 410, 412, 429)
_RIGHT = re.compile(r"storage\.[A-Za-z.]+[A-Za-z]")


@contextmanager
def mapped_errors(bucket: str, key: str) -> Iterator[None]:
    """Raise our error for whatever goes wrong while an object is read or written."""
    try:
        yield
    except VENDOR_ERRORS as exc:
        raise _ours(exc, bucket, key) from exc
    except OSError as exc:
        raise disk_error(exc, bucket, key) from exc


def status_of(error: Exception) -> int:
    """Return the HTTP status that an error of the SDK tells of; 0 if it tells of none."""
    if isinstance(error, InvalidResponse):
        return int(error.response.status_code)
    return int(getattr(error, "code", None) or 0) if isinstance(error, GoogleAPICallError) else 0


def no_bucket(bucket: str) -> StorageDenied:
    """Return the error for a bucket that does not exist."""
    return StorageDenied(f"there is no bucket {bucket!r}; make it, or name another.")


def _ours(error: BaseException, bucket: str, key: str) -> KioskError:
    if isinstance(error, RetryError) and error.cause is not None:
        return _ours(error.cause, bucket, key)
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        return StorageDenied(
            f"there are no credentials for the bucket {bucket!r}, or they are not accepted; set "
            f"GOOGLE_APPLICATION_CREDENTIALS, or give the worker a service account."
        )
    status = status_of(error) if isinstance(error, Exception) else 0
    if status:
        said = error.response.text if isinstance(error, InvalidResponse) else str(error)
        return _of_status(bucket, key, status=status, said=said)
    return StorageUnavailable(
        f"the bucket {bucket!r} does not answer for {key!r}: {type(error).__name__}."
    )


def _of_status(bucket: str, key: str, *, status: int, said: str) -> KioskError:
    if status == 404:
        return MissingObject(f"the bucket has no object {key!r}.")
    if status == 507:
        return StorageFull(
            f"the bucket {bucket!r} is full: {key!r} cannot be written. "
            f"Free some space, then resubmit."
        )
    if status in _PASSING or (status >= 500 and status != 501):
        return StorageUnavailable(
            f"the bucket {bucket!r} does not serve {key!r} now: status {status}."
        )
    if status == 400 and "object name" in said:
        return InvalidKey(f"{key[:80]!r} is no name that Google Cloud Storage takes.")
    right = _RIGHT.search(said)
    lacking = f" ({right[0]} is missing)" if status == 403 and right else ""
    return StorageDenied(
        f"the bucket {bucket!r} refuses {key!r} with status {status}{lacking}. Look at the "
        f"worker's credentials and at the bucket's roles: Storage Object User is what it needs."
    )
