"""Mutations of sound files; the same number gives the same file."""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from collections.abc import Callable, Sequence

__all__ = ["mutated"]

_INTERESTING = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000)
_LARGE = (2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
_FORMATS = ("<H", ">H", "<I", ">I", "<Q", ">Q")
_DIGITS = b"0123456789"


def mutated(seeds: Sequence[bytes], number: int) -> bytes:
    """Return one of the seeds, changed at one to eight places."""
    rng = random.Random(number)
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        rng.choice(_MUTATIONS)(content, rng, seeds)
    del content[2**20 :]
    if rng.random() < 0.7:
        _mend(content)
    packed = content[257:262] == b"ustar" and rng.random() < 0.2
    return gzip.compress(content, 1, mtime=0) if packed else bytes(content)


def _mend(content: bytearray) -> None:
    """Make the checksums of PNG chunks and tar headers right, so that what is behind is read."""
    if content.startswith(b"\x89PNG"):
        at = 8
        while at + 12 <= len(content):
            (length,) = struct.unpack_from(">I", content, at)
            stop = at + 8 + length
            if stop + 4 > len(content):
                break
            struct.pack_into(">I", content, stop, zlib.crc32(content[at + 4 : stop]))
            at = stop + 4
    for at in range(0, len(content) - 511, 512):
        if content[at + 257 : at + 262] == b"ustar":
            content[at + 148 : at + 156] = b" " * 8
            content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])


def _place(content: bytearray, rng: random.Random) -> int:
    """Return a position: most headers are at one of the two ends."""
    length = len(content) or 1
    near = min(length, 300)
    return rng.choice(
        (rng.randrange(length), rng.randrange(near), length - 1 - rng.randrange(near))
    )


def _flip(content: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    if content:
        content[_place(content, rng)] ^= 1 << rng.randrange(8)


def _byte(content: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    if content:
        content[_place(content, rng)] = rng.randrange(256)


def _integer(content: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    layout = rng.choice(_FORMATS)
    size = struct.calcsize(layout)
    known = rng.random() < 0.7
    value = rng.choice(_INTERESTING + _LARGE) if known else rng.randrange(len(content) + 9)
    at = _place(content, rng)
    content[at : at + size] = struct.pack(layout, value % 256**size)


def _cut(content: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    del content[_place(content, rng) :]


def _remove(content: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at = _place(content, rng)
    del content[at : at + rng.randrange(1, 64)]


def _repeat(content: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at = _place(content, rng)
    content[at:at] = content[at : at + rng.randrange(1, 64)] * rng.choice((1, 2, 50, 2000))


def _splice(content: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    start = rng.randrange(len(other))
    at = _place(content, rng)
    piece = other[start : start + rng.randrange(1, 200)]
    content[at : at + rng.choice((0, len(piece)))] = piece


def _number(content: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    """Change a number in a text: sizes in OME-XML, in JSON, in the header of an array."""
    digits = [at for at, byte in enumerate(content[:20_000]) if byte in _DIGITS]
    if digits:
        at = rng.choice(digits)
        text = rng.choice((b"0", b"-1", b"99999", b"1000000000", b"1e9", b"nan", b"", b"'", b"<"))
        content[at : at + 1] = text


_MUTATIONS: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    _flip,
    _byte,
    _byte,
    _integer,
    _integer,
    _integer,
    _cut,
    _remove,
    _repeat,
    _splice,
    _number,
)
