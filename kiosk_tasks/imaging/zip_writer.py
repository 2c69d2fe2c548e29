"""A writer of zip files for many small members: what `zipfile` writes, in a tenth of the time.

It follows PKWARE's APPNOTE.TXT 6.3: stored and deflated members, and ZIP64 where sizes, places or
the number of members ask for it.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import imagecodecs

__all__ = ["ZipWriter"]

_STORED, _DEFLATED = 0, 8
_LEVEL = 1  # of deflate: coordinates hardly pack better with more
_UTF8 = 0x800  # flag: how a name is encoded
_DATE = 0x21  # 1 January 1980: the same content is the same bytes, whenever it was written
_UNIX, _VERSION, _VERSION_64 = 3, 20, 45
_READABLE = 0o600 << 16
_MOST, _MOST_MEMBERS = 2**31 - 1, 2**16 - 1
_CHUNK = 2**20

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sBBHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END_64, _LOCATOR_64 = struct.Struct("<4sQHHIIQQQQ"), struct.Struct("<4sIQI")


class ZipWriter:
    """A context that writes a zip. Equal calls give equal bytes.

    target: a path, or a file that can be sought.
    """

    def __init__(self, target: Path | BinaryIO) -> None:
        self._owned = isinstance(target, Path)
        self._file: BinaryIO = target.open("wb") if isinstance(target, Path) else target
        self._place = self._file.tell()
        self._central: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._owned:
                self._file.close()

    def add(self, name: str, content: bytes, *, packed: bool = False) -> None:
        """Add a member that is in memory. packed: whether to deflate it."""
        encode: Any = imagecodecs.deflate_encode
        stored = bytes(encode(content, level=_LEVEL, raw=True)) if packed else content
        method = _DEFLATED if packed else _STORED
        checksum, size = zlib.crc32(content), len(content)
        self.add_as_it_is(name, stored, method=method, checksum=checksum, size=size)

    def add_as_it_is(
        self, name: str, stored: bytes, *, method: int, checksum: int, size: int
    ) -> None:
        """Add a member of another archive: `stored` are its bytes there, `size` is it unpacked."""
        member = _Member(name, method, checksum, size, len(stored))
        header = member.local()
        self._file.write(header)
        self._file.write(stored)
        self._note(member, len(header))

    def add_file(self, name: str, path: Path, *, packed: bool = False) -> None:
        """Add a file, piece by piece. packed: whether to deflate it."""
        method = _DEFLATED if packed else _STORED
        size = path.stat().st_size
        member = _Member(name, method, 0, size, size, large=size > _MOST)
        begin = self._file.tell()
        header = member.local()
        self._file.write(header)
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS) if packed else None
        with path.open("rb") as source:
            while piece := source.read(_CHUNK):
                member.checksum = zlib.crc32(piece, member.checksum)
                self._file.write(packer.compress(piece) if packer else piece)
        if packer:
            self._file.write(packer.flush())
        end = self._file.tell()
        member.stored = end - begin - len(header)
        self._file.seek(begin)
        self._file.write(member.local())
        self._file.seek(end)
        self._note(member, len(header))

    def _note(self, member: _Member, header_bytes: int) -> None:
        self._central.append(member.central(self._place))
        self._place += header_bytes + member.stored

    def _finish(self) -> None:
        directory, count = b"".join(self._central), len(self._central)
        place, size = self._place, len(directory)
        self._file.write(directory)
        if count > _MOST_MEMBERS or max(place, size) > _MOST:
            version = (_VERSION_64, _VERSION_64)
            self._file.write(
                _END_64.pack(
                    b"PK\6\6", _END_64.size - 12, *version, 0, 0, count, count, size, place
                )
                + _LOCATOR_64.pack(b"PK\6\7", 0, place + size, 1)
            )
            count, size, place = min(count, 2**16 - 1), min(size, 2**32 - 1), min(place, 2**32 - 1)
        self._file.write(_END.pack(b"PK\5\6", 0, 0, count, count, size, place, 0))


class _Member:
    """What the headers say of a member. large: whether its sizes are told in 64 bits."""

    __slots__ = ("checksum", "flags", "large", "method", "name", "size", "stored")

    def __init__(
        self, name: str, method: int, checksum: int, size: int, stored: int, *, large: bool = False
    ) -> None:
        try:
            self.name, self.flags = name.encode("ascii"), 0
        except UnicodeEncodeError:
            self.name, self.flags = name.encode(), _UTF8
        self.method, self.checksum, self.size, self.stored = method, checksum, size, stored
        self.large = large or max(size, stored) > _MOST

    def local(self) -> bytes:
        sizes, extra, version = (self.stored, self.size), b"", _VERSION
        if self.large:
            extra = struct.pack("<HHQQ", 1, 16, self.size, self.stored)
            sizes, version = (2**32 - 1, 2**32 - 1), _VERSION_64
        head = _LOCAL.pack(
            b"PK\3\4", version, self.flags, self.method, 0, _DATE, self.checksum, *sizes,
            len(self.name), len(extra),
        )  # fmt: skip
        return head + self.name + extra

    def central(self, place: int) -> bytes:
        """place: of the local header."""
        sizes, wide = (self.stored, self.size), []
        if self.large:
            sizes, wide = (2**32 - 1, 2**32 - 1), [self.size, self.stored]
        if place > _MOST:
            wide.append(place)
            place = 2**32 - 1
        extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        version = _VERSION_64 if wide else _VERSION
        head = _CENTRAL.pack(
            b"PK\1\2", version, _UNIX, version, self.flags, self.method, 0, _DATE, self.checksum,
            *sizes, len(self.name), len(extra), 0, 0, 0, _READABLE, place,
        )  # fmt: skip
        return head + self.name + extra
