"""Zip files that no program for zipping makes, and tracked movies."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

END = struct.Struct("<4s4H2IH")
UTF8 = 0x800


def zipped(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def local(
    name: bytes, packed: bytes, size: int, *, crc: int, method: int = 8, flags: int = 0
) -> bytes:
    sizes = (crc, len(packed), size, len(name), 0)
    return struct.pack("<4s5H3I2H", b"PK\3\4", 20, flags, method, 0, 0, *sizes) + name + packed


def entry(
    name: bytes, packed: int, size: int, *, offset: int, crc: int, method: int = 8, flags: int = 0
) -> bytes:
    numbers = (
        20,
        3,
        20,
        0,
        flags,
        method,
        0,
        0,
        crc,
        packed,
        size,
        len(name),
        0,
        0,
        0,
        0,
        0,
        offset,
    )
    return struct.pack("<4s4B4H3I5H2I", b"PK\1\2", *numbers) + name


def end(count: int, size: int, offset: int) -> bytes:
    low = min(count, 0xFFFF)
    return END.pack(b"PK\5\6", 0, 0, low, low, size, offset, 0)


def one_entry(name: bytes, content: bytes = b"pixels", **changes: Any) -> bytes:
    """Return a zip file of one stored member, some of whose declared fields are other ones."""
    declared = {"crc": zlib.crc32(content), "method": 0, "flags": 0} | changes
    size = declared.pop("size", len(content))
    body = local(name, content, size, **declared)
    directory = entry(name, len(content), size, offset=0, **declared)
    return body + directory + end(1, len(directory), len(body))


def overlapping(count: int) -> bytes:
    """Return a zip bomb in Fifield's manner: all entries unpack the same bytes."""
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(2**20)
    packed = kernel.compress(zeros) + kernel.flush()
    crc = zlib.crc32(zeros)
    body = local(b"0", packed, len(zeros), crc=crc)
    directory = b"".join(
        entry(b"0", len(packed), len(zeros), offset=0, crc=crc) for _ in range(count)
    )
    return body + directory + end(count, len(directory), len(body))


def many_entries(count: int, *, said: int | None = None) -> bytes:
    """Return a zip file of that many empty members, with the ends that large files have."""
    said = count if said is None else said
    body = local(b"a", b"", 0, crc=0, method=0)
    directory = entry(b"a", 0, 0, offset=0, crc=0, method=0) * count
    place = len(body) + len(directory)
    long_end = struct.pack(
        "<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, said, said, len(directory), len(body)
    )
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, place, 1)
    return body + directory + long_end + locator + end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype.hasobject)
    return buffer.getvalue()


def npy_header(shape: str, kind: str = "<f4") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


def tarred(files: dict[str, bytes], *, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def trk_files(frames: int = 3, *, batch: int = 0) -> dict[str, bytes]:
    """Return the members of a small tracked movie; `batch` movies make a `.trks`."""
    shape = (*((batch,) if batch else ()), frames, 8, 9, 1)
    raw = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    tracked = (raw % 3).astype(np.int32)
    lineage = {
        "1": {"label": 1, "frames": [0, 1], "daughters": [], "capped": False, "parent": None}
    }
    name, content = ("lineages.json", [lineage] * batch) if batch else ("lineage.json", lineage)
    return {
        name: json.dumps(content).encode(),
        "raw.npy": npy(raw),
        "tracked.npy": npy(tracked),
    }
