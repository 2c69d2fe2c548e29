"""What buckets share when objects flow: the size of chunks, and parts of an unknown whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

__all__ = ["CHUNK_BYTES", "attachment", "in_parts", "ranges"]

CHUNK_BYTES = 2**20
"""Of what is read from a disk at once."""


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


def attachment(name: str) -> str:
    """Return the Content-Disposition that makes a browser save under that name (RFC 6266)."""
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_"
        for letter in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
