"""What buckets share when objects flow: the size of chunks, and parts of an unknown whole."""

from __future__ import annotations

import io
import mimetypes
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = [
    "CHUNK_BYTES",
    "PIECE_BYTES",
    "Body",
    "Slice",
    "attachment",
    "in_parts",
    "media_type",
    "ranges",
]

CHUNK_BYTES = 2**20
"""Of what is read from a disk at once."""

PIECE_BYTES = 4 * 2**20
"""Of what is asked of a server at once, to go on to somebody else."""


@dataclass(frozen=True)
class Body:
    """What is to be written: its size in bytes, and bytes by offset and length."""

    size: int
    read: Callable[[int, int], bytes]

    @classmethod
    def of(cls, data: bytes) -> Body:
        """Return the body that is these bytes."""
        return cls(len(data), lambda at, length: bytes(memoryview(data)[at : at + length]))

    @classmethod
    @contextmanager
    def of_file(cls, source: Path) -> Iterator[Body]:
        """Give the body that is the file's content; several threads may read it."""
        with source.open("rb") as file:
            number = file.fileno()
            yield cls(os.fstat(number).st_size, lambda at, length: os.pread(number, length, at))


class Slice(io.RawIOBase):
    """A part of a body as a file of its own, of which only what is being read lies in memory."""

    def __init__(self, body: Body, start: int, length: int) -> None:
        """The part must not reach beyond the body's end."""
        self._body = body
        self._start = start
        self._length = length
        self._at = 0

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or what is left of it at the end."""
        length = min(len(buffer), self._length - self._at)
        data = self._body.read(self._start + self._at, max(0, length))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go somewhere else in the part."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True


def in_parts(chunks: Iterable[bytes], part_bytes: int) -> Iterator[tuple[bytearray, bool]]:
    """Yield parts of exactly that size, and whether each is the last; the last may be shorter.

    There is at least one. Memory stays under one part and one chunk.
    """
    part = bytearray()
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            if len(part) == part_bytes:
                yield part, False
                part = bytearray()
            room = part_bytes - len(part)
            part += rest[:room]
            rest = rest[room:]
    yield part, True


def ranges(size: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield the start and length of each step through so many bytes."""
    yield from ((start, min(step, size - start)) for start in range(0, size, step))


def media_type(name: str) -> str:
    """Return what an object of that name is served as."""
    kind, encoding = mimetypes.guess_type(name)
    return kind if kind and not encoding else "application/octet-stream"


def attachment(name: str) -> str:
    """Return the Content-Disposition that makes a browser save under that name (RFC 6266)."""
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_"
        for letter in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
