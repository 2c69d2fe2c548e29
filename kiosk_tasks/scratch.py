"""Folders for files while a job runs: removed on every exit, swept if their process was killed."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from kiosk_tasks.errors import StorageFull, StorageUnavailable

__all__ = ["fetching_into", "remove_stale_scratch", "scratch_folder"]

_NAME = re.compile(r"kiosk-(?P<pid>\d+)-(?P<started>\d+)-(?P<machine>[0-9a-f]{8})-")
_SAME_START_S = 3  # a clock that is set right moves when processes seem to have started


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Enclose the use of a new folder, named after this process.

    parent: made if it is not there; None is the system's temporary folder.
    Raises StorageFull where the disk of the folder is full, at any time inside, and
    StorageUnavailable where the folder cannot be made.
    """
    place = parent or Path(tempfile.gettempdir())
    with _full_disk_said(place):
        folder = _made(place)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fetching_into(folder: Path) -> Iterator[None]:
    """Enclose a download: the disk that it fills is the scratch folder's, not the bucket's."""
    try:
        yield
    except StorageFull as exc:
        raise _full(folder.parent) from exc


def remove_stale_scratch(parent: Path | None = None) -> list[Path]:
    """Remove folders of processes of this machine that are gone; return them.

    Folders of other machines that share the parent are left alone, and so is what is not ours.
    """
    place = parent or Path(tempfile.gettempdir())
    if not place.is_dir():
        return []
    stale = [path for path in sorted(place.glob("kiosk-*")) if _is_stale(path)]
    for path in stale:
        shutil.rmtree(path, ignore_errors=True)
    return [path for path in stale if not path.exists()]


def _made(place: Path) -> Path:
    process = psutil.Process()
    prefix = f"kiosk-{process.pid}-{int(process.create_time())}-{_machine()}-"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageUnavailable(
            f"no folder can be made in {place} ({exc.strerror}); make it writable, or set "
            "KIOSK_SCRATCH to one that is."
        ) from exc


@contextmanager
def _full_disk_said(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(place) from exc


def _full(place: Path) -> StorageFull:
    return StorageFull(
        f"the disk of the scratch folder {place} is full. Free some space there, or set "
        "KIOSK_SCRATCH to a larger disk."
    )


def _is_stale(path: Path) -> bool:
    match = _NAME.match(path.name)
    if match is None or match["machine"] != _machine() or path.is_symlink() or not path.is_dir():
        return False
    try:
        started = psutil.Process(int(match["pid"])).create_time()
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
    return abs(started - int(match["started"])) > _SAME_START_S


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
