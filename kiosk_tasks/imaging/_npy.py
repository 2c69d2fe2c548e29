"""Arrays in NumPy's own format: their headers, then their elements. Pickles are never loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import UnreadableArchive
from kiosk_tasks.imaging.limits import ImageLimits

__all__ = ["NpyHeader", "npy_start", "read_npy", "read_npy_header"]

_HEADER = re.compile(
    r"\{'descr': '(?P<kind>[<>|=][biuf]\d{1,2})', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>[\d, ]*)\),? *\} *\n?"
)
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # of the header's length, by version
_LONGEST_HEADER = 4096
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class NpyHeader:
    """What an array's file says of itself: the type of its elements, their order, its shape."""

    kind: np.dtype[Any]
    fortran: bool
    shape: tuple[int, ...]
    header_bytes: int  #: the elements begin after that many


def read_npy_header(
    stream: IO[bytes], size_bytes: int, *, name: str, limits: ImageLimits
) -> NpyHeader:
    """Read the header of an array of at least (Y, X, C), whatever is before that being planes.

    stream: at the start of the array's file. size_bytes: of that file; it must be what is claimed.
    Raises UnreadableArchive, ImageTooLarge.
    """
    header = _read_header(stream, name)
    if len(header.shape) < 3 or 0 in header.shape:
        raise _unreadable(name, f"its shape is {header.shape}")
    *planes, height, width, channels = header.shape
    pixel_bytes = header.kind.itemsize
    limits.check(name, (height, width), planes=prod(planes) * channels, pixel_bytes=pixel_bytes)
    wanted, there = prod(header.shape) * pixel_bytes, size_bytes - header.header_bytes
    if there != wanted:
        raise _unreadable(name, f"{wanted} bytes should follow, but {there} do")
    return header


def read_npy(stream: IO[bytes], size_bytes: int, *, name: str, limits: ImageLimits) -> NDArray[Any]:
    """Read an array as `read_npy_header` describes it, whole."""
    header = read_npy_header(stream, size_bytes, name=name, limits=limits)
    kind, fortran, shape = header.kind, header.fortran, header.shape
    wanted = prod(shape) * kind.itemsize
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


def npy_start(kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return what comes before the elements in the file of a C-ordered array, padded to 64."""
    text = f"{{'descr': '{kind.str}', 'fortran_order': False, 'shape': {shape}, }}"
    padded = text.ljust(-(-(len(text) + 11) // 64) * 64 - 11) + "\n"
    return b"\x93NUMPY\1\0" + len(padded).to_bytes(2, "little") + padded.encode("latin1")


def _read_header(stream: IO[bytes], name: str) -> NpyHeader:
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
    return NpyHeader(kind, match["fortran"] == "True", shape, 8 + length_bytes + length)


def _unreadable(name: str, fact: str) -> UnreadableArchive:
    return UnreadableArchive(f"{name} is no array that can be read: {fact}; export it again.")
