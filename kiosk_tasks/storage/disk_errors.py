"""What is amiss with this machine's own disk while an object comes from a cloud or goes there."""

from __future__ import annotations

import errno

from kiosk_tasks.errors import KioskError, StorageFull, StorageUnavailable

__all__ = ["disk_error"]


def disk_error(error: OSError, bucket: str, key: str) -> KioskError:
    """Return our error for one of the operating system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(
            f"the disk is full: {key!r} cannot be fetched. Free some space, then resubmit."
        )
    return StorageUnavailable(
        f"{key!r} cannot be moved from or to the bucket {bucket!r}: {type(error).__name__}."
    )
