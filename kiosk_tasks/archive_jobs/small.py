"""Which files of an archive are so small that one process should do many of them at a time.

The headers of TIFF, PNG and JPEG files are looked at, as far as they say how much there is to
decode. What does not say so clearly is not small: it gets a job of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["SMALL_BYTES", "SMALL_PIXELS", "is_small", "pixels_of"]

SMALL_BYTES = 2**20
"""Larger files are not small, whatever they hold."""

SMALL_PIXELS = 2**17
"""Of 362 × 362: there are larger savings than that of a job of its own."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_WIDTH, _HEIGHT, _COMPRESSION, _SAMPLES = 256, 257, 259, 277
_MOST_SAMPLES = 4  # of a pixel: colours and transparency; packed, thousands fit a small file
_NO_COMPRESSION = 1
_ENTRY_BYTES = 12
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers of JPEG after which height and width follow."""


def is_small(data: bytes) -> bool:
    """Tell whether a whole file is a small image, as its first header has it.

    A TIFF of several compressed pages, or of many compressed samples per pixel, is none: what they
    unpack to is not known by its size.
    """
    return len(data) <= SMALL_BYTES and 0 < pixels_of(data) <= SMALL_PIXELS


def pixels_of(data: bytes) -> int:
    """Return rows × columns of a whole file; 0 where they are not to be seen."""
    try:
        return _pixels(data)
    except (struct.error, IndexError):
        return 0


def _pixels(data: bytes) -> int:
    order = _ORDERS.get(data[:4])
    if order:
        return _of_tiff(data, order)
    if data.startswith(_PNG) and data[12:16] == b"IHDR":
        width, height = struct.unpack_from(">2I", data, 16)
        return int(width * height)
    return _of_jpeg(data) if data.startswith(_JPEG) else 0


def _of_tiff(data: bytes, order: str) -> int:
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    tags = dict(_tags(data, order, at + 2, count))
    (following,) = struct.unpack_from(f"{order}I", data, at + 2 + count * _ENTRY_BYTES)
    packed = tags.get(_COMPRESSION, _NO_COMPRESSION) != _NO_COMPRESSION
    if packed and (following or tags.get(_SAMPLES, 1) > _MOST_SAMPLES):
        return 0
    return tags.get(_WIDTH, 0) * tags.get(_HEIGHT, 0)


def _tags(data: bytes, order: str, at: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield the numbers of a directory that have one value, SHORT or LONG."""
    for start in range(at, at + count * _ENTRY_BYTES, _ENTRY_BYTES):
        tag, kind, length = struct.unpack_from(f"{order}2HI", data, start)
        if length == 1 and kind in (3, 4):
            (value,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, start + 8)
            yield tag, value


def _of_jpeg(data: bytes) -> int:
    at = 2
    while data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _FRAMES:
            height, width = struct.unpack_from(">2H", data, at + 5)
            return int(height * width)
        at += 2 + length
    return 0
