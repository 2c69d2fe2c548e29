"""The headers of JPEG and JPEG 2000 streams, which claim sizes of their own."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

__all__ = ["Frame", "jpeg2000_frame", "jpeg_frame", "jpeg_segments"]

Bytes = bytes | mmap

START_OF_SCAN = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})  # markers without content
_MOST_SEGMENTS = 50_000  # an ICC profile takes 255 at most, a padding byte counts as one
_MOST_SCANS = 100  # each goes over all pixels; a progressive JPEG has about ten
_SIZ = b"\xff\x4f\xff\x51"


@dataclass(frozen=True)
class Frame:
    """What a stream says of itself; shape: (Y, X), px."""

    shape: tuple[int, int]
    samples: int
    scan: int = 0  #: position of the first scan


def jpeg_frame(content: Bytes) -> Frame:
    """Return the frame of a JPEG stream; raises ValueError if there is none, or it is a trap."""
    shape, samples, scan = (0, 0), 0, 0
    for marker, position in jpeg_segments(content):
        if marker in _FRAMES:
            height, width, samples = struct.unpack_from(">HHB", content, position + 1)
            shape = (height, width)
        scan = position
    if sum(1 for _ in _found(content, b"\xff\xda", scan)) > _MOST_SCANS:
        raise ValueError(f"it has more than {_MOST_SCANS} scans")
    return Frame(shape, samples, scan)


def jpeg2000_frame(content: bytes) -> Frame:
    """Return the largest frame of a JPEG 2000 stream; raises ValueError if there is none."""
    frames = []
    for start in _found(content, _SIZ, 0):
        if len(content) < start + 42:
            break
        right, bottom, left, top = struct.unpack_from(">IIII", content, start + 8)
        (samples,) = struct.unpack_from(">H", content, start + 40)
        frames.append(Frame((bottom - top, right - left), samples))
    if not frames:
        raise ValueError("a JPEG 2000 stream has no size")
    heights, widths = zip(*(frame.shape for frame in frames), strict=True)
    return Frame((max(heights), max(widths)), max(frame.samples for frame in frames))


def jpeg_segments(content: Bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker and the position of the content of each segment up to the scan."""
    position, marker = 2, 0
    for _ in range(_MOST_SEGMENTS):
        if position + 4 > len(content):
            raise ValueError("it ends within its headers")
        fill, marker, length = struct.unpack_from(">BBH", content, position)
        if fill != 0xFF:
            raise ValueError("a JPEG segment does not start where it should")
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker in _ALONE or length < 2:  # decoders skip these otherwise than by length
            raise ValueError("a JPEG segment has no length")
        yield marker, position + 4
        if marker == START_OF_SCAN:
            return
        position += 2 + length
    raise ValueError(f"it has more than {_MOST_SEGMENTS} segments")


def _found(content: Bytes, what: bytes, start: int) -> Iterator[int]:
    position = content.find(what, max(0, start - 4))
    while position >= 0:
        yield position
        position = content.find(what, position + 2)
