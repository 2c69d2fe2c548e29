"""The files of a tar archive, one by one, whatever the archive was built to do."""

from __future__ import annotations

import gzip
import tarfile
from typing import IO, Any

from kiosk_tasks.errors import ArchiveTooLarge, UnreadableArchive
from kiosk_tasks.imaging.archives import check_unpacked
from kiosk_tasks.imaging.limits import ArchiveLimits, spaced

__all__ = ["Guarded", "TarMembers", "unreadable"]

_READ_BYTES = 2**20


class TarMembers:
    """The regular files of a tar file, one after the other."""

    def __init__(
        self, tar: tarfile.TarFile, guarded: Guarded, name: str, limits: ArchiveLimits
    ) -> None:
        self.name = name
        self._tar = tar
        self._guarded = guarded
        self._limits = limits
        self._count = 0
        self._end = 0

    def next(self) -> tarfile.TarInfo | None:
        """Return the next entry that is a plain file; None after the last."""
        while (entry := self._tar.next()) is not None:
            self._count += 1
            if self._count > self._limits.max_members:
                raise ArchiveTooLarge(
                    f"{self.name} has more than {spaced(self._limits.max_members)} files; this "
                    "queue takes no more. Set KIOSK_MAX_ARCHIVE_MEMBERS."
                )
            if entry.size < 0 or entry.offset_data < self._end:
                raise unreadable(self.name, "its entries overlap")
            self._end = entry.offset_data
            self._guarded.check(entry.offset_data + entry.size, slack=0)
            if entry.isreg() and entry.sparse is None:
                return entry
        return None

    def open(self, entry: tarfile.TarInfo) -> IO[bytes]:
        """Return its bytes; they are there, as far as the archive goes."""
        stream = self._tar.extractfile(entry)
        if stream is None:
            raise unreadable(self.name, f"{entry.name} is no file")
        return stream


class Guarded:
    """A file for `tarfile` that refuses to go further than the limits, or to read all at once."""

    def __init__(self, file: Any, name: str, size_bytes: int, limits: ArchiveLimits) -> None:
        self._file = file
        self._name = name
        self._size_bytes = size_bytes
        self._limits = limits

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _READ_BYTES:
            raise unreadable(self._name, f"a header of {size} bytes is in it")
        self.check(self._file.tell() + size)
        return bytes(self._file.read(size))

    def seek(self, position: int) -> int:
        self.check(position)
        return int(self._file.seek(position))

    def tell(self) -> int:
        return int(self._file.tell())

    def check(self, position: int, *, slack: int = _READ_BYTES + tarfile.RECORDSIZE) -> None:
        """Raise ArchiveTooLarge or UnreadableArchive for a place too far away."""
        if isinstance(self._file, gzip.GzipFile):
            check_unpacked(self._name, position - slack, self._size_bytes, self._limits)
        elif position > self._size_bytes + slack:
            raise unreadable(self._name, "its entries end after it does")


def unreadable(name: str, fact: str) -> UnreadableArchive:
    """Return the error that refuses a movie with tracks."""
    return UnreadableArchive(f"{name} is no movie with tracks: {fact}; export it again as .trk.")
