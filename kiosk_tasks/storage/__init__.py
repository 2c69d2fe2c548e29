"""Buckets: whole objects by key, on disk, at S3, Google or in memory; `from_url` picks one."""

from __future__ import annotations

import unicodedata

from kiosk_tasks.errors import InvalidKey, InvalidParameter
from kiosk_tasks.ports import Storage
from kiosk_tasks.storage.part_files import is_part_file

__all__ = ["check_key", "check_prefix", "from_url", "full_name"]

_LONGEST_PART = 200
"""Bytes between two slashes: file systems take 255, and part files have longer names."""

_LONGEST_NAME = 1024
"""Bytes that S3 and Google take; no bucket takes more, so that a key is one in all of them."""

_NO_LETTERS = ("Cc", "Cs")
"""Control characters and halves of characters: S3 lists are XML, and have no way to write them."""


def from_url(url: str) -> Storage:
    """Return the bucket at `file:///folder`, `s3://bucket/…`, `gs://bucket/…` or `memory://name`.

    Raises InvalidParameter for another scheme, naming those that there are.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        from kiosk_tasks.storage.local import LocalStorage

        return LocalStorage.from_url(url)
    if scheme == "s3":
        from kiosk_tasks.storage.s3 import S3Storage

        return S3Storage.from_url(url)
    if scheme == "gs":
        from kiosk_tasks.storage.gcs import GCSStorage

        return GCSStorage.from_url(url)
    if scheme == "memory":
        from kiosk_tasks.storage.memory import MemoryStorage

        return MemoryStorage.named(rest)
    raise InvalidParameter(
        f'"{scheme}://" is no bucket this version knows; use file:///…, s3://…, gs://… or memory://….'
    )


def check_key(key: str) -> str:
    """Return the key, or raise InvalidKey if it is empty, too long, or could leave the bucket.

    No object may be named as the part files of a local bucket are, either.
    """
    if not key or not _stays_inside(key.split("/")) or is_part_file(key.rpartition("/")[2]):
        raise InvalidKey(
            f"{key[:_LONGEST_PART]!r} is not a key in the bucket; use a relative path without "
            f"'..', for example uploads/image.tif, with at most {_LONGEST_PART} bytes between "
            f"slashes and no control characters."
        )
    return full_name("", key)


def full_name(prefix: str, key: str) -> str:
    """Return what a cloud calls the object; raises InvalidKey if that is too long for one.

    prefix: the bucket's, with the slash at its end. key: one that `check_key` has let through.
    """
    name = prefix + key
    if len(name.encode()) > _LONGEST_NAME:
        raise InvalidKey(
            f"{key[:80]!r}… is too long: a name in a bucket has at most {_LONGEST_NAME} bytes, "
            f"with the bucket's prefix."
        )
    return name


def check_prefix(prefix: str, *, whole_bucket: bool = True) -> str:
    """Return the start of a key, or raise InvalidKey if no key in the bucket starts so.

    whole_bucket: whether the empty prefix, which every key starts with, is one.
    """
    if not prefix and not whole_bucket:
        raise InvalidKey("an empty prefix would be the whole bucket; name a folder of it.")
    *folders, last = prefix.split("/")
    if not _stays_inside([*folders, last or "any"]):
        raise InvalidKey(f"no key in the bucket starts with {prefix!r}.")
    return prefix


def _stays_inside(parts: list[str]) -> bool:
    return all(
        part not in ("", ".", "..")
        and "\\" not in part
        and not any(unicodedata.category(letter) in _NO_LETTERS for letter in part)
        and len(part.encode()) <= _LONGEST_PART
        for part in parts
    )
