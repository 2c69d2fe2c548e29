"""The bucket of a deployment that has its own S3 server, such as MinIO."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.storage.s3_client import make_client
from kiosk_tasks.storage.s3_errors import code_of, mapped_errors
from kiosk_tasks.storage.s3_options import parse_s3_url

__all__ = ["make_bucket"]

_THERE = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def make_bucket(url: str) -> bool:
    """Make the bucket of an s3:// URL; False if it is there.

    Raises InvalidParameter for another URL, and the bucket's own errors.
    """
    if not url.startswith("s3://"):
        raise InvalidParameter(
            f"a bucket is made at an S3 server only, not at {url.partition('://')[0]}://. "
            "A folder is made by itself; at Google make it with gcloud."
        )
    bucket, _, options = parse_s3_url(url)
    with mapped_errors(bucket, ""):
        client = make_client(options, None)
        try:
            client.create_bucket(Bucket=bucket, **_place(client.meta.region_name))
        except ClientError as exc:
            if code_of(exc) not in _THERE:
                raise
            return False
    return True


def _place(region: str) -> Any:
    """Return the option that S3 wants for every region but its first."""
    return (
        {}
        if region == "us-east-1"
        else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
