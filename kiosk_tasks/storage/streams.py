"""What buckets share when objects flow: the size of chunks, and parts of an unknown whole."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

__all__ = ["CHUNK_BYTES", "Body", "attachment", "in_parts", "media_type", "ranges"]

CHUNK_BYTES = 2**20
"""Of what is read from a disk at once."""


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


def in_parts(chunks: Iterable[bytes], part_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """Yield parts of exactly that size, and whether each is the last; the last may be shorter.

    There is at least one. Memory stays under two parts and two chunks.
    """
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) > part_bytes:
            part = bytes(memoryview(waiting)[:part_bytes])
            del waiting[:part_bytes]
            yield part, False
    yield bytes(waiting), True


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
