"""From what S3 and its SDK say to our errors, once. No message holds a credential."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)
from s3transfer.exceptions import S3DownloadFailedError

from kiosk_tasks.errors import (
    InvalidKey,
    KioskError,
    MissingObject,
    StorageDenied,
    StorageFull,
    StorageUnavailable,
)
from kiosk_tasks.storage.disk_errors import disk_error

__all__ = ["CONFLICTS", "code_of", "mapped_errors", "no_bucket", "not_deleted"]

CONFLICTS = ("ConditionalRequestConflict", "OperationAborted")
"""Somebody wrote or deleted the object at that very moment; asking again settles it."""

_MISSING = ("NoSuchKey", "404", "NotFound", "NoSuchVersion")
_FULL = ("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded")
_WRONG_REGION = ("301", "PermanentRedirect", "AuthorizationHeaderMalformed", "BadRegion")
_DAMAGED = ("BadDigest", "IncompleteBody", "InvalidDigest", "XAmzContentChecksumMismatch")
_PASSING = (
    *(*CONFLICTS, *_DAMAGED),
    *("InternalError", "NoSuchUpload", "PreconditionFailed", "RequestTimeout", "SlowDown"),
)
_NO_CREDENTIALS = (CredentialRetrievalError, NoCredentialsError, PartialCredentialsError)


@contextmanager
def mapped_errors(bucket: str, key: str) -> Iterator[None]:
    """Raise our error for whatever goes wrong while an object is read or written."""
    try:
        yield
    except ClientError as exc:
        raise _of_answer(exc, bucket, key) from exc
    except _NO_CREDENTIALS as exc:
        raise StorageDenied(
            f"there are no credentials for the bucket {bucket!r}; set AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY, or give the worker a role."
        ) from exc
    except (BotoCoreError, Boto3Error, S3DownloadFailedError) as exc:
        raise StorageUnavailable(
            f"the bucket {bucket!r} does not answer for {key!r}: {type(exc).__name__}."
        ) from exc
    except OSError as exc:
        raise disk_error(exc, bucket, key) from exc


def code_of(error: ClientError) -> str:
    """Return S3's word for the error, such as "NoSuchKey"."""
    return str(error.response.get("Error", {}).get("Code", ""))


def no_bucket(bucket: str) -> StorageDenied:
    """Return the error for a bucket that does not exist."""
    return StorageDenied(f"there is no bucket {bucket!r}; make it, or name another.")


def not_deleted(bucket: str, key: str, code: str) -> KioskError:
    """Return the error for one key of many that S3 did not delete."""
    return _of_code(bucket, key, code=code, status=0)


def _of_answer(error: ClientError, bucket: str, key: str) -> KioskError:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return _of_code(bucket, key, code=code_of(error), status=status)


def _of_code(bucket: str, key: str, *, code: str, status: int) -> KioskError:
    if code == "NoSuchBucket":
        return no_bucket(bucket)
    if code in _MISSING:
        return MissingObject(f"the bucket has no object {key!r}.")
    if code in _FULL or status == 507:
        return StorageFull(
            f"the bucket {bucket!r} is full: {key!r} cannot be written. "
            f"Free some space, then resubmit."
        )
    if code == "KeyTooLongError":
        return InvalidKey(f"{key[:80]!r}… is too long: S3 takes 1024 bytes with the prefix.")
    if code in _WRONG_REGION:
        return StorageDenied(
            f"the bucket {bucket!r} is in another region; set AWS_REGION or ?region=… to it."
        )
    if code in _PASSING or status == 429 or (status >= 500 and code != "NotImplemented"):
        return StorageUnavailable(f"the bucket {bucket!r} does not serve {key!r} now: {code}.")
    return StorageDenied(
        f"the bucket {bucket!r} refuses {key!r}: {code}. Look at the worker's credentials and at "
        f"the bucket's policy; without s3:ListBucket a missing object looks like this, too."
    )
