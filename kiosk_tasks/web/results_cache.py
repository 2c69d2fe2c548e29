"""The files in a job's result, read from the bucket by ranges: no archive is fetched whole.

A result never changes once it can be seen, so what its directory says is kept, for as many files
as memory should hold.
"""

from __future__ import annotations

import io
import struct
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from kiosk_tasks.errors import StorageUnavailable, UnreadableArchive
from kiosk_tasks.ports import Storage

__all__ = ["Directories", "Directory", "Member", "read_object"]

CHUNK_BYTES = 2**20
_LOCAL_HEADER = struct.Struct("<4s22x2H")


@dataclass(frozen=True)
class Member:
    """One file of a result.

    size: its bytes. tag: differs where its bytes do. header: where its local header starts in the
    archive; None for a result that is one file and no archive. stored: not compressed.
    """

    name: str
    size: int
    tag: str
    header: int | None = None
    stored: bool = True


@dataclass(frozen=True)
class Directory:
    """What one result consists of. key: of its object in the bucket."""

    key: str
    size: int
    members: Mapping[str, Member]

    def read(
        self, bucket: Storage, member: Member, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """Yield a file's bytes from `start` up to `stop`, chunk by chunk."""
        stop = member.size if stop is None else min(stop, member.size)
        if member.header is None:
            return read_object(bucket, self.key, start, stop)
        if member.stored:
            first = member.header + _LOCAL_HEADER.size
            raw = bucket.read_range(self.key, member.header, _LOCAL_HEADER.size)
            if len(raw) < _LOCAL_HEADER.size or not raw.startswith(b"PK\3\4"):
                raise UnreadableArchive(f"the result's archive is damaged at {member.name}.")
            first += sum(_LOCAL_HEADER.unpack(raw)[1:])  # its name and extra field come in between
            return read_object(bucket, self.key, first + start, first + stop)
        return self._unpacked(bucket, member, start, stop)

    def _unpacked(self, bucket: Storage, member: Member, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes of a compressed file: those of somebody else's job type may be."""
        source = _Reader(bucket, self.key, self.size)
        with zipfile.ZipFile(io.BufferedReader(source)) as archive, archive.open(member.name) as it:
            it.seek(start)
            while start < stop and (chunk := it.read(min(CHUNK_BYTES, stop - start))):
                start += len(chunk)
                yield chunk


class Directories:
    """The directories of the results that were asked for last. Threads may share it."""

    def __init__(self, bucket: Storage, *, most_members: int = 100_000) -> None:
        """most_members: so many files are known at once, over all results."""
        self._bucket = bucket
        self._most = most_members
        self._known: OrderedDict[str, Directory] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: str) -> Directory:
        """Return the directory of a result; raises MissingObject and UnreadableArchive."""
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found
        found = _directory(self._bucket, key)
        with self._lock:
            self._known[key] = found
            while sum(len(one.members) for one in self._known.values()) > self._most:
                if len(self._known) == 1:
                    break
                self._known.popitem(last=False)
        return found


def read_object(bucket: Storage, key: str, start: int, stop: int) -> Iterator[bytes]:
    """Yield an object's bytes from `start` up to `stop`, chunk by chunk."""
    while start < stop:
        chunk = bucket.read_range(key, start, min(CHUNK_BYTES, stop - start))
        if not chunk:
            raise StorageUnavailable(f"{key!r} has become shorter while it was read.")
        start += len(chunk)
        yield chunk


def _directory(bucket: Storage, key: str) -> Directory:
    size = bucket.size(key)
    source = io.BufferedReader(_Reader(bucket, key, size), 2**16)
    if not zipfile.is_zipfile(source):  # a job type's own kind of result
        name = PurePosixPath(key).name
        return Directory(key, size, {name: Member(name, size, f"{size:x}")})
    try:
        with zipfile.ZipFile(source) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except zipfile.BadZipFile as exc:
        raise UnreadableArchive(f"the result's archive is damaged ({exc}).") from exc
    return Directory(key, size, {info.filename: _member(info) for info in infos})


def _member(info: zipfile.ZipInfo) -> Member:
    return Member(
        name=info.filename,
        size=info.file_size,
        tag=f"{info.CRC:08x}{info.file_size:x}",
        header=info.header_offset,
        stored=info.compress_type == zipfile.ZIP_STORED,
    )


class _Reader(io.RawIOBase):
    """An object of the bucket as a file that can be searched; each read is a range."""

    def __init__(self, bucket: Storage, key: str, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(0, self._size - self._position))
        chunk = self._bucket.read_range(self._key, self._position, wanted) if wanted else b""
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)
