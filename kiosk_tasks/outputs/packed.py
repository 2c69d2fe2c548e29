"""Files that go from one archive to another as they are, neither unpacked nor packed anew."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from zipfile import ZipFile, ZipInfo

__all__ = ["Packed", "packed_files"]

_LENGTHS_AT = 26  # of name and extra field, in a local header of 30 bytes
_LOCAL_BYTES = 30
_RECORD_END = "_job.json"


@dataclass(frozen=True)
class Packed:
    """A file of an archive.

    data: its bytes there. entry: how they are packed, and what they unpack to.
    described: size and checksum of what they unpack to.
    """

    data: bytes
    entry: ZipInfo
    described: dict[str, Any]

    def facts(self) -> dict[str, int]:
        """Return what `ZipWriter.add_as_it_is` is told."""
        entry = self.entry
        return {"method": entry.compress_type, "checksum": entry.CRC, "size": entry.file_size}


def packed_files(result: bytes) -> Iterator[tuple[str, Packed]]:
    """Yield names and files of a job's result, a whole archive in memory.

    Checksums are taken from the record that lies in it.
    """
    with ZipFile(BytesIO(result)) as archive:
        entries = archive.infolist()
        record = next(entry for entry in entries if entry.filename.endswith(_RECORD_END))
        unpacked = archive.read(record)
    described = json.loads(unpacked)["outputs"]
    described[record.filename] = {
        "bytes": len(unpacked),
        "sha256": hashlib.sha256(unpacked).hexdigest(),
    }
    for entry in entries:
        at = entry.header_offset
        start = at + _LOCAL_BYTES + sum(struct.unpack_from("<2H", result, at + _LENGTHS_AT))
        data = result[start : start + entry.compress_size]
        yield entry.filename, Packed(data, entry, described[entry.filename])
