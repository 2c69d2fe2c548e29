"""From what the operating system says about files to our errors, once."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from kiosk_tasks.errors import (
    InvalidKey,
    KioskError,
    MissingObject,
    StorageDenied,
    StorageFull,
    StorageUnavailable,
)

__all__ = ["mapped", "reading", "writing"]


@contextmanager
def reading(key: str) -> Iterator[None]:
    """Raise our error for whatever goes wrong while an object is read."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as exc:
        raise MissingObject(f"the bucket has no object {key!r}.") from exc
    except OSError as exc:
        raise mapped(exc, key) from exc


@contextmanager
def writing(key: str) -> Iterator[None]:
    """Raise our error for whatever goes wrong while an object is written."""
    try:
        yield
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as exc:
        raise InvalidKey(
            f"{key!r} cannot be written: in a folder, no object's key can go on where "
            f"another's ends. Use another name."
        ) from exc
    except OSError as exc:
        raise mapped(exc, key) from exc


def mapped(error: OSError, key: str) -> KioskError:
    """Return our error for one of the operating system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(
            f"the disk is full: {key!r} cannot be written. Free some space, then resubmit."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageDenied(
            f"{key!r} may not be read or written: {os.strerror(error.errno)}. "
            f"The bucket's folder must belong to the user who runs the worker."
        )
    return StorageUnavailable(
        f"{key!r} cannot be read or written: {os.strerror(error.errno or 0)}."
    )
