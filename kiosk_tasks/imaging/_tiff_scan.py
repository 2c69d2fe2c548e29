"""A look at all directories (IFDs) of a TIFF file, in bounded time, before tifffile reads them.

tifffile follows chains of directories as far as they go, and parses what descriptions say.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO

from kiosk_tasks.errors import UnreadableImage
from kiosk_tasks.imaging.limits import ImageLimits

__all__ = ["scan_tiff"]

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TYPE_BYTES |= {13: 4, 16: 8, 17: 8, 18: 8}
_DESCRIPTION = 270
_TEXTS = (_DESCRIPTION, 700)  # and XMP: tifffile parses both as XML
_PIECES = (273, 279, 324, 325)  # where strips and tiles are, and how long: tifffile loads all
_POINTERS = (330, 34665, 34853)  # SubIFDs, Exif, GPS
_DIRECTORIES_PER_PLANE = 2  # LSM files have a thumbnail beside each plane
_TAGS_PER_PLANE = 64
_MOST_TAGS = 4096  # of one directory
_DEEPEST = 4
_TEXT_BYTES = 2**24  # OME-XML of 10 000 planes has 7 MB
_LARGE_VALUE_BYTES = 1024
_MOST_PIECES = 2**23  # of a plane; 2^36 px in tiles of 128 px are half of that


def scan_tiff(source: Path | BinaryIO, name: str, limits: ImageLimits) -> bool:
    """Refuse a file whose directories are a trap; tell whether all of them are in the file.

    source: a file that is there, or one open for reading, which stays open.
    Raises UnreadableImage (a circle, values that do not fit into the file, XML entities) and
    ImageTooLarge (more directories than planes are allowed).
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return scan_tiff(file, name, limits)
    size_bytes = source.seek(0, SEEK_END)
    source.seek(0)
    complete = _Scan(source, size_bytes, name, limits).run()
    source.seek(0)
    return complete


@dataclass
class _Scan:
    file: BinaryIO
    size_bytes: int
    name: str
    limits: ImageLimits
    directories: int = 0
    tags: int = 0
    value_bytes: int = 0  # of large values
    seen: set[int] = field(default_factory=set)

    def run(self) -> bool:
        start = self.file.read(16)
        self.order = "<" if start.startswith(b"II") else ">"
        self.big = start[2:4] in (b"+\0", b"\0+")
        self.word = "Q" if self.big else "I"
        position, kind = (8, "Q") if self.big else (4, "I")
        (first,) = struct.unpack_from(f"{self.order}{kind}", start, position)
        return self._chain(first, depth=0)

    def _chain(self, offset: int, *, depth: int) -> bool:
        while 0 < offset < self.size_bytes:
            if depth == 0 and offset in self.seen:
                raise self._refused("its directories run in a circle")
            self.seen.add(offset)
            self.directories += 1
            if self.directories > _DIRECTORIES_PER_PLANE * self.limits.max_frames:
                self.limits.check_planes(self.name, self.directories)
            offset = self._directory(offset, depth)
        return offset == 0

    def _directory(self, offset: int, depth: int) -> int:
        """Check one directory; return where the next one is, 0 after the last."""
        count_kind = f"{self.order}{'Q' if self.big else 'H'}"
        self.file.seek(offset)
        head = self.file.read(struct.calcsize(count_kind))
        if len(head) < struct.calcsize(count_kind):
            return 0
        (count,) = struct.unpack(count_kind, head)
        self.tags += count
        if count > _MOST_TAGS or self.tags > _TAGS_PER_PLANE * self.limits.max_frames + _MOST_TAGS:
            raise self._refused(f"a directory of {count} tags is in it")
        layout = struct.Struct(f"{self.order}HH{self.word}{'8s' if self.big else '4s'}")
        body = self.file.read(count * layout.size)
        following = self.file.read(8 if self.big else 4)
        for entry in layout.iter_unpack(body[: len(body) // layout.size * layout.size]):
            self._tag(entry, depth)
        if len(following) < struct.calcsize(self.word):
            return 0
        return int(struct.unpack(f"{self.order}{self.word}", following)[0])

    def _tag(self, entry: tuple[int, int, int, bytes], depth: int) -> None:
        code, kind, count, inline = entry
        size_bytes = count * _TYPE_BYTES.get(kind, 1)
        if size_bytes > self.size_bytes:
            raise self._refused(f"tag {code} has more bytes than the file")
        if code in _PIECES and count > _MOST_PIECES:
            raise self._refused(f"a plane of it is in {count} pieces")
        if size_bytes > _LARGE_VALUE_BYTES:
            self.value_bytes += size_bytes
            if self.value_bytes > 2 * self.size_bytes:
                raise self._refused("its directories share their values")
        if code in _TEXTS:
            self._check_text(code, self._value(size_bytes, inline))
        if code in _POINTERS:
            if depth >= _DEEPEST:
                raise self._refused("its directories are nested too deeply")
            for offset in self._offsets(kind, self._value(size_bytes, inline)):
                self._chain(offset, depth=depth + 1)

    def _value(self, size_bytes: int, inline: bytes) -> bytes:
        if size_bytes <= len(inline):
            return inline[:size_bytes]
        (offset,) = struct.unpack(f"{self.order}{self.word}", inline)
        self.file.seek(min(offset, self.size_bytes))
        return self.file.read(size_bytes)

    def _offsets(self, kind: int, value: bytes) -> Iterator[int]:
        word = f"{self.order}{'Q' if _TYPE_BYTES.get(kind) == 8 else 'I'}"
        size = struct.calcsize(word)
        for (offset,) in struct.iter_unpack(word, value[: len(value) // size * size]):
            yield int(offset)

    def _check_text(self, code: int, text: bytes) -> None:
        if b"<!ENTITY" in text or b"<!DOCTYPE" in text:
            raise self._refused("its XML defines entities")
        if code == _DESCRIPTION and len(text) > _TEXT_BYTES:
            raise self._refused(f"its description has {len(text)} bytes")

    def _refused(self, fact: str) -> UnreadableImage:
        return UnreadableImage(
            f"{self.name} is no sound TIFF file: {fact}; export it again, as plain TIFF or PNG."
        )
