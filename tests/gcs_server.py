"""A server of Google Cloud Storage as a process of its own, for the tests that need one."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.conftest import wait_for
from tests.processes import child

__all__ = ["gcs_bucket_url", "gcs_server", "service_account"]


@contextmanager
def gcs_server(log: Path) -> Iterator[str]:
    """Run the server on a free port; give its URL."""
    with child([sys.executable, "-m", "tests.gcs_emulator"], log=log) as process:

        def address() -> str | None:
            assert process.poll() is None, log.read_text()
            found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())
            return found and found[1]

        yield wait_for(
            address, limit_s=60, what="the server of Google Cloud Storage tells its port"
        )


def gcs_bucket_url(
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    prefix: str = "",
    via: str = "",
    credentials: Path | None = None,
    **options: object,
) -> str:
    """Make an empty bucket, and this process's environment one that may use it; return its URL.

    via: another URL of the server, such as a proxy's, for the client.
    credentials: file of a service account; without one the client is anonymous.
    """
    for name in list(os.environ):
        if name.startswith(("GOOGLE_", "STORAGE_EMULATOR", "GCE_", "CLOUDSDK_", "GCLOUD_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    if credentials:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
    bucket = f"bucket-{uuid4().hex[:8]}"
    body = json.dumps({"name": bucket, "softDeletePolicy": {"retentionDurationSeconds": "0"}})
    make = f"{endpoint}/storage/v1/b?project=none"
    kind = {"Content-Type": "application/json"}
    with urlopen(Request(make, body.encode(), kind)):  # noqa: S310  # http only
        pass
    query = urlencode(
        {"endpoint": via or endpoint, "anonymous": str(credentials is None).lower(), **options}
    )
    return f"gs://{bucket}/{quote(prefix)}?{query}"


def service_account(folder: Path, endpoint: str) -> Path:
    """Write the key file of a service account that exists at this server only."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    said = {
        "type": "service_account",
        "project_id": "none",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "kiosk@none.iam.gserviceaccount.com",
        "token_uri": f"{endpoint}/token",
    }
    file = folder / "account.json"
    file.write_text(json.dumps(said))
    return file
