"""The SDK's client for S3, as a bucket's options say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import boto3.session
from botocore.config import Config

from kiosk_tasks.storage.s3_options import S3Options

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

__all__ = ["make_client"]

_CONNECTIONS = 32


def make_client(options: S3Options, endpoint: str | None) -> S3Client:
    """Return a new client; endpoint: None for that of the options."""
    # A session of its own: the SDK's default session must not be used by several threads.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint or options.endpoint,
        # this SDK, alone of Amazon's, reads only AWS_DEFAULT_REGION by itself
        region_name=options.region or os.environ.get("AWS_REGION") or None,
        config=Config(
            signature_version="s3v4",
            retries={"mode": "standard", "total_max_attempts": options.attempts},
            connect_timeout=options.connect_timeout_s,
            read_timeout=options.read_timeout_s,
            tcp_keepalive=True,
            max_pool_connections=_CONNECTIONS,
        ),
    )
