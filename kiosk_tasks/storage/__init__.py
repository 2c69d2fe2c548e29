"""Buckets: whole objects by key, on local disk or in memory. `from_url` picks the adapter."""

from __future__ import annotations

from kiosk_tasks.errors import InvalidKey, InvalidParameter
from kiosk_tasks.ports import Storage

__all__ = ["check_key", "from_url"]


def from_url(url: str) -> Storage:
    """Return the bucket at `file:///folder` or `memory://name`.

    Raises InvalidParameter for another scheme, naming those that there are.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        from kiosk_tasks.storage.local import LocalStorage

        return LocalStorage.from_url(url)
    if scheme == "memory":
        from kiosk_tasks.storage.memory import MemoryStorage

        return MemoryStorage.named(rest)
    raise InvalidParameter(f'"{url}" is no bucket this version knows; use file:///… or memory://….')


def check_key(key: str) -> str:
    """Return the key, or raise InvalidKey if it is empty or could leave the bucket."""
    parts = key.split("/")
    if not key or any(part in ("", ".", "..") for part in parts) or "\\" in key or "\0" in key:
        raise InvalidKey(
            f"{key!r} is not a key in the bucket; use a relative path without '..', "
            f"for example uploads/image.tif."
        )
    return key
