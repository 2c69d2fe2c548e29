"""How a local bucket writes: into a part file beside the place, which then takes the place."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from pathlib import Path
from uuid import uuid4

__all__ = ["beside", "create", "is_part_file", "place_new", "replace"]

_PART_FILE = re.compile(r"\..+\.[0-9a-f]{32}\.part")
_NO_HARD_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)
_FOLDER_TRIES = 100


def is_part_file(name: str) -> bool:
    """Tell whether a file of that name is an object that is still being written."""
    return _PART_FILE.fullmatch(name) is not None


def beside(path: Path) -> Path:
    """Return a new name for a part file of the object at that path."""
    return path.with_name(f".{path.name}.{uuid4().hex}.part")


def create(part: Path) -> None:
    """Make an empty part file, and the folder if need be, for their owner only."""
    for _ in range(_FOLDER_TRIES):
        # A twin that deletes the folder's last object may take the folder away at any moment.
        try:
            _make_folder(part.parent)
            return part.touch(mode=0o600, exist_ok=False)
        except FileNotFoundError:
            continue
        except FileExistsError:
            if part.parent.is_file():
                raise
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(part))


def replace(part: Path, path: Path) -> None:
    """Put the part file into its place, whatever is there."""
    _flush(part)
    part.replace(path)


def place_new(part: Path, path: Path) -> bool:
    """Put the part file into its place if nothing is there, else return False."""
    _flush(part)
    try:
        os.link(part, path)
    except FileExistsError:
        if path.is_dir():
            raise
        # NFS may have made the link, lost its answer, and been asked again.
        return part.stat().st_nlink > 1
    except OSError as exc:
        if exc.errno not in _NO_HARD_LINKS:
            raise
        return _place_new_by_lock(part, path)
    return True


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:  # unlike this function, `parents=True` would open those above to all
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _place_new_by_lock(part: Path, path: Path) -> bool:
    """Rename while the folder is locked: the kernel frees the lock if this process dies."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if path.is_file():
            return False
        part.replace(path)
        return True
    finally:
        os.close(folder)


def _flush(part: Path) -> None:
    """Bring the bytes to the disk, so that a power failure leaves no empty object of that name."""
    file = os.open(part, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
