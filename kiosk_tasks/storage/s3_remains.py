"""Uploads in parts whose writers died, which S3 keeps, and charges for, until they are aborted."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from kiosk_tasks.storage.s3_errors import code_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

__all__ = ["abort_idle"]


def abort_idle(client: S3Client, bucket: str, prefix: str, *, latest: datetime) -> int:
    """Abort uploads to which nothing was added since `latest`; return how many."""
    removed = 0
    for page in client.get_paginator("list_multipart_uploads").paginate(
        Bucket=bucket, Prefix=prefix
    ):
        for upload in page.get("Uploads", []):
            if upload["Initiated"] < latest:
                removed += _abort_if_idle(
                    client, bucket, upload["Key"], upload["UploadId"], latest=latest
                )
    return removed


def _abort_if_idle(
    client: S3Client, bucket: str, name: str, upload_id: str, *, latest: datetime
) -> bool:
    parts = client.get_paginator("list_parts")
    try:
        for page in parts.paginate(Bucket=bucket, Key=name, UploadId=upload_id):
            if any(part["LastModified"] >= latest for part in page.get("Parts", [])):
                return False
        client.abort_multipart_upload(Bucket=bucket, Key=name, UploadId=upload_id)
    except ClientError as exc:
        if code_of(exc) != "NoSuchUpload":  # its writer lives, and has just ended it
            raise
        return False
    return True
