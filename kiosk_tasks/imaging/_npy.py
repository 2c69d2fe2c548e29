"""Arrays in NumPy's own format: their headers, then their elements. Pickles are never loaded."""

from __future__ import annotations

import re
from math import prod
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import UnreadableArchive
from kiosk_tasks.imaging.limits import ImageLimits

__all__ = ["read_npy"]

_HEADER = re.compile(
    r"\{'descr': '(?P<kind>[<>|=][biuf]\d{1,2})', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>[\d, ]*)\),? *\} *\n?"
)
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # of the header's length, by version
_LONGEST_HEADER = 4096
_CHUNK_BYTES = 2**20


def read_npy(stream: IO[bytes], size_bytes: int, *, name: str, limits: ImageLimits) -> NDArray[Any]:
    """Read an array of at least (Y, X, C), whatever is before that being planes.

    stream: at the start of the array's file. size_bytes: of that file.
    Raises UnreadableArchive, ImageTooLarge.
    """
    kind, fortran, shape, header_bytes = _read_header(stream, name)
    if len(shape) < 3 or 0 in shape:
        raise _unreadable(name, f"its shape is {shape}")
    *planes, height, width, channels = shape
    limits.check(name, (height, width), planes=prod(planes) * channels, pixel_bytes=kind.itemsize)
    wanted = prod(shape) * kind.itemsize
    if size_bytes - header_bytes != wanted:
        raise _unreadable(name, f"{wanted} bytes should follow, but {size_bytes - header_bytes} do")
    content = np.empty(wanted, np.uint8)
    view, done = content.data, 0
    while done < wanted:
        chunk = stream.read(min(_CHUNK_BYTES, wanted - done))
        if not chunk:
            raise _unreadable(name, "it is cut short")
        view[done : done + len(chunk)] = chunk
        done += len(chunk)
    array = content.view(kind).reshape(shape[::-1] if fortran else shape)
    native = np.ascontiguousarray(array.T if fortran else array)
    return native.astype(kind.newbyteorder("="), copy=False)


def _read_header(stream: IO[bytes], name: str) -> tuple[np.dtype[Any], bool, tuple[int, ...], int]:
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(b"\x93NUMPY") or start[6] not in _LENGTH_BYTES:
        raise _unreadable(name, "it does not start as one")
    length_bytes = _LENGTH_BYTES[start[6]]
    length = int.from_bytes(stream.read(length_bytes), "little")
    if length > _LONGEST_HEADER:
        raise _unreadable(name, f"its header has {length} bytes")
    match = _HEADER.fullmatch(stream.read(length).decode("latin1"))
    if match is None:
        raise _unreadable(name, "its header describes no array of numbers")
    try:
        kind = np.dtype(match["kind"])
    except TypeError as exc:
        raise _unreadable(name, f"its elements are {match['kind']}") from exc
    numbers = [part.strip() for part in match["shape"].split(",")]
    if not all(numbers[:-1]) or any(len(number) > 18 for number in numbers):
        raise _unreadable(name, "its shape is none")
    shape = tuple(int(number) for number in numbers if number)
    return kind, match["fortran"] == "True", shape, 8 + length_bytes + length


def _unreadable(name: str, fact: str) -> UnreadableArchive:
    return UnreadableArchive(f"{name} is no array that can be read: {fact}; export it again.")
