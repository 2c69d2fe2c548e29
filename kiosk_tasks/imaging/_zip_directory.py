"""The directory at the end of a zip file, checked before `zipfile` parses all of it.

The end record is looked for as `zipfile` does, so that both read the same directory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kiosk_tasks.errors import ArchiveTooLarge, UnreadableArchive
from kiosk_tasks.imaging.limits import ArchiveLimits, spaced

__all__ = ["Entry", "check_directory", "read_directory"]

_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4s4B4H3I5H2I")
_LOCAL_BYTES = 30
_COMMENT_BYTES = 2**16
_BYTES_PER_ENTRY = 1024  # names, times and owners take a tenth of it
_WORD = 0xFFFFFFFF
_UTF8 = 0x800


@dataclass(frozen=True)
class _End:
    """What the end record says, and where it starts."""

    count: int
    size: int
    offset: int
    position: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What the directory says of a file.

    start: where its local header is, from the beginning of the zip file.
    packed, unpacked: bytes.
    """

    name: bytes
    flags: int
    method: int
    crc32: int
    packed: int
    unpacked: int
    start: int


def check_directory(path: Path, name: str, limits: ArchiveLimits) -> int:
    """Return how many entries there are.

    Raises ArchiveTooLarge, by the count that the end record has; UnreadableArchive where the
    directory is damaged, lies about itself, or has entries that share their bytes.
    """
    with path.open("rb") as file:
        return sum(1 for _ in read_directory(file, path.stat().st_size, name, limits))


def read_directory(
    file: BinaryIO, size_bytes: int, name: str, limits: ArchiveLimits
) -> Iterator[Entry]:
    """Yield the entries, as they come; raises what `check_directory` raises, the last at the end.

    Of entries of the same name, the last one counts.
    """
    end = _find_end(file, size_bytes, name)
    if end.count > limits.max_members:
        raise ArchiveTooLarge(
            f"{name} has {spaced(end.count)} files; this queue takes "
            f"{spaced(limits.max_members)}. Split it or set KIOSK_MAX_ARCHIVE_MEMBERS."
        )
    start = end.position - end.size
    if start < 0 or start != end.offset:
        raise _damaged(name, "its directory is not where its end says")
    if end.size > _BYTES_PER_ENTRY * (end.count + 1):
        raise _damaged(name, f"{end.count} entries take {end.size} bytes")
    file.seek(start)
    spans = []
    for entry in _entries(file.read(end.size), name):
        spans.append((entry.start, entry.start + _LOCAL_BYTES + len(entry.name) + entry.packed))
        yield entry
    if len(spans) != end.count:
        raise _damaged(name, f"its end says {end.count} entries, its directory has {len(spans)}")
    _check_spans(spans, start, name)


def _find_end(file: BinaryIO, size_bytes: int, name: str) -> _End:
    file.seek(max(0, size_bytes - _COMMENT_BYTES - _END.size))
    tail = file.read()
    if tail[-_END.size :].startswith(b"PK\5\6") and tail.endswith(b"\0\0"):
        position = len(tail) - _END.size
    else:
        position = tail.rfind(b"PK\5\6")
    if position < 0 or len(tail) - position < _END.size:
        raise _damaged(name, "it has no end")
    _, _, _, _, count, size, offset, _ = _END.unpack_from(tail, position)
    at = size_bytes - len(tail) + position
    return _find_end_64(file, at, name) or _End(count, size, offset, at)


def _find_end_64(file: BinaryIO, at: int, name: str) -> _End | None:
    """Return what the record of files over 4 GiB says, if there is one before that position."""
    position = at - _LOCATOR_64.size - _END_64.size
    if position < 0:
        return None
    file.seek(position)
    record, locator = file.read(_END_64.size), file.read(_LOCATOR_64.size)
    signature, disk, where, disks = _LOCATOR_64.unpack(locator)
    if signature != b"PK\6\7":
        return None
    signature, length, *_, on_disk, count, size, offset = _END_64.unpack(record)
    if (
        signature != b"PK\6\6"
        or where != position
        or (disk, disks) != (0, 1)
        or length != _END_64.size - 12
        or on_disk != count
    ):
        raise _damaged(name, "its two ends differ")
    return _End(count, size, offset, position)


def _entries(directory: bytes, name: str) -> Iterator[Entry]:
    position, count = 0, 0
    while position < len(directory):
        if len(directory) - position < _ENTRY.size:
            raise _damaged(name, "its directory is cut short")
        fields = _ENTRY.unpack_from(directory, position)
        if fields[0] != b"PK\1\2":
            raise _damaged(name, f"entry {count + 1} of its directory is none")
        flags, method, crc32, packed, unpacked, start = (fields[i] for i in (5, 6, 9, 10, 11, 18))
        name_bytes, extra_bytes, comment_bytes = fields[12:15]
        begin = position + _ENTRY.size
        member = directory[begin : begin + name_bytes]
        extra = directory[begin + name_bytes : begin + name_bytes + extra_bytes]
        if flags & _UTF8 and not _is_utf8(member):
            raise _damaged(name, f"the name of entry {count + 1} is no text")
        unpacked, packed, start = _long(extra, unpacked, packed, start)
        yield Entry(member, flags, method, crc32, packed, unpacked, start)
        position = begin + name_bytes + extra_bytes + comment_bytes
        count += 1


def _check_spans(spans: list[tuple[int, int]], limit: int, name: str) -> None:
    """Refuse entries that share bytes: a few bytes would unpack to any number of them."""
    spans.sort()
    starts = [*(start for start, _ in spans), limit]
    for (_, stop), start in zip(spans, starts[1:], strict=True):
        if stop > start:
            raise _damaged(name, "its entries overlap")


def _long(extra: bytes, unpacked: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Return both sizes and the offset, from the extra field where they are over 4 GiB."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        position += 4
        if kind == 1:
            longs = [
                int.from_bytes(extra[at : at + 8], "little")
                for at in range(position, min(position + length, len(extra)) - 7, 8)
            ]
            if unpacked == _WORD and longs:
                unpacked = longs.pop(0)
            if packed == _WORD and longs:
                packed = longs.pop(0)
            if offset == _WORD and longs:
                offset = longs.pop(0)
            break
        position += length
    return unpacked, packed, offset


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _damaged(name: str, fact: str) -> UnreadableArchive:
    return UnreadableArchive(f"{name} is no sound zip file: {fact}; zip the files again.")
