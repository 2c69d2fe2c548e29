"""How chunks of Zarr arrays are unpacked, never to more than they may hold."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Codec", "check_codecs", "packed_at_most", "unpack"]

_BLOSC_HEADER = struct.Struct("<4B3I")
_SLACK_BYTES = 2**16  # what a codec adds to what it cannot pack


@dataclass(frozen=True)
class Codec:
    """name: without what Zarr 3 puts before those of numcodecs. version: "v2" or "v3"."""

    name: str
    version: str


def check_codecs(codecs: Sequence[Codec]) -> None:
    """Raise ValueError for a codec that is unknown here."""
    for codec in codecs:
        if codec.name.removeprefix("numcodecs.") not in _UNPACK:
            known = ", ".join(sorted(set(_UNPACK) - {"crc32c"}))
            raise ValueError(f"it is packed with {codec.name[:40]}; those read are {known}")


def packed_at_most(size_bytes: int) -> int:
    """Return how many bytes a chunk may take that has so many once unpacked."""
    return 2 * size_bytes + _SLACK_BYTES


def unpack(data: bytes | memoryview, codecs: Sequence[Codec], size_bytes: int) -> Any:
    """Return the bytes of a chunk: so many, or a ValueError or an error of the codec's.

    They are no part of `data`, which may be large: who keeps them keeps nothing else.
    """
    for number in reversed(range(len(codecs))):
        most = size_bytes if number == 0 else packed_at_most(size_bytes)
        data = _UNPACK[codecs[number].name.removeprefix("numcodecs.")](data, most)
    if len(data) != size_bytes:
        raise ValueError(f"a chunk has {len(data)} bytes, where {size_bytes} should be")
    return bytes(data) if isinstance(data, memoryview) else data


def _blosc(data: bytes | memoryview, most: int) -> Any:
    import imagecodecs

    if len(data) < _BLOSC_HEADER.size:
        raise ValueError("a chunk is cut short")
    *_, unpacked, _, packed = _BLOSC_HEADER.unpack_from(data)
    if unpacked > most:
        raise ValueError(f"a chunk claims {unpacked} bytes, where {most} should be")
    if packed != len(data):  # the library believes its header, and reads past the chunk's end
        raise ValueError(f"a chunk has {len(data)} bytes, where its header says {packed}")
    return imagecodecs.blosc_decode(bytes(data), numthreads=1)


def _zstd(data: bytes | memoryview, most: int) -> Any:
    import imagecodecs

    return imagecodecs.zstd_decode(bytes(data), out=bytearray(most))


def _lz4(data: bytes | memoryview, most: int) -> Any:
    import imagecodecs

    (unpacked,) = struct.unpack_from("<I", data)
    if unpacked > most:
        raise ValueError(f"a chunk claims {unpacked} bytes, where {most} should be")
    return imagecodecs.lz4_decode(bytes(data[4:]), out=bytearray(unpacked))


def _zlib(data: bytes | memoryview, most: int) -> Any:
    unpacking = zlib.decompressobj(wbits=47)  # either header, that of gzip or its own
    unpacked = unpacking.decompress(data, most + 1)
    if len(unpacked) <= most and not unpacking.eof:
        raise ValueError("a chunk is cut short")
    return unpacked


def _bz2(data: bytes | memoryview, most: int) -> Any:
    return bz2.BZ2Decompressor().decompress(data, most + 1)


def _lzma(data: bytes | memoryview, most: int) -> Any:
    return lzma.LZMADecompressor(memlimit=2**27).decompress(data, most + 1)


def _crc32c(data: bytes | memoryview, most: int) -> Any:  # noqa: ARG001  as all have it
    import google_crc32c

    content, checksum = data[:-4], data[-4:]
    if google_crc32c.value(bytes(content)) != int.from_bytes(checksum, "little"):
        raise ValueError("a chunk is damaged: its checksum is another")
    return content


_UNPACK = {
    "blosc": _blosc,
    "zstd": _zstd,
    "lz4": _lz4,
    "zlib": _zlib,
    "gzip": _zlib,
    "bz2": _bz2,
    "lzma": _lzma,
    "crc32c": _crc32c,
}
