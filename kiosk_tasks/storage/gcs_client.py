"""The SDK's client for Google Cloud Storage, as a bucket's options say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Blob, Client
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter

from kiosk_tasks.storage.gcs_options import GCSOptions

__all__ = ["Reach", "make_client"]

_CONNECTIONS = 32
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 8.0
_NO_SIDE_REQUESTS = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
"""Else the SDK asks about the bucket itself, for traces, which a worker may have no right to."""


@dataclass(frozen=True)
class Reach:
    """One process's way to one bucket."""

    client: Client
    bucket: str
    options: GCSOptions

    @property
    def call(self) -> dict[str, Any]:
        """What every request of the SDK is given: how long to wait, and how to try again."""
        retry: Retry = DEFAULT_RETRY.with_delay(
            initial=_FIRST_WAIT_S, maximum=_LONGEST_WAIT_S, multiplier=2.0
        ).with_timeout(self.options.retry_s)
        return {
            "retry": retry,
            "timeout": (self.options.connect_timeout_s, self.options.read_timeout_s),
        }

    def blob(self, name: str, *, generation: int | None = None) -> Blob:
        """Return the SDK's handle of an object; nothing is asked of the server."""
        return Blob(name, self.client.bucket(self.bucket), generation=generation)


def make_client(options: GCSOptions) -> Client:
    """Return a new client; it finds credentials as every program of Google's does."""
    os.environ.setdefault(_NO_SIDE_REQUESTS, "true")
    client = Client(
        credentials=AnonymousCredentials() if options.anonymous else None,
        project="none" if options.anonymous else None,
        client_options={"api_endpoint": options.endpoint} if options.endpoint else None,
    )
    for scheme in ("https://", "http://"):  # else ten connections are kept, and more are told of
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return client
