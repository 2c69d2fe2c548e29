"""A real S3 server (moto's) as a process of its own, for the tests that need one."""

from __future__ import annotations

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

from tests.conftest import wait_for
from tests.processes import child

__all__ = ["ENVIRON", "bucket_url", "s3_server"]

ENVIRON = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-no-worth",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
"""What a client of the server needs in its environment, and nothing else that begins with AWS_."""


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Run the server on a free port; give its URL."""
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with child(argv, log=log) as process:

        def address() -> str | None:
            assert process.poll() is None, log.read_text()
            found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())
            return found and found[1]

        yield wait_for(address, limit_s=60, what="the S3 server tells its port")


def bucket_url(
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    prefix: str = "",
    via: str = "",
    **options: object,
) -> str:
    """Make an empty bucket, and this process's environment one that may use it; return its URL.

    via: another URL of the server, such as a proxy's, for the client.
    """
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{uuid4().hex[:8]}"
    with urlopen(Request(f"{endpoint}/{bucket}", method="PUT")):  # noqa: S310  # http only
        pass
    query = urlencode({"endpoint": via or endpoint, **options})
    return f"s3://{bucket}/{quote(prefix)}?{query}"
