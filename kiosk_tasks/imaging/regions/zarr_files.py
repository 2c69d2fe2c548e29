"""Where the files of an OME-Zarr are: objects of a folder, or members of one zip file."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from typing import Any, BinaryIO, Protocol, cast

from kiosk_tasks.errors import ArchiveTooLarge, MissingObject, UnreadableImage
from kiosk_tasks.imaging._zip_directory import Entry, read_directory
from kiosk_tasks.imaging.limits import ArchiveLimits, spaced
from kiosk_tasks.imaging.regions.remote_file import RemoteFile
from kiosk_tasks.imaging.regions.spans import Span
from kiosk_tasks.imaging.regions.values import Files

__all__ = ["ZarrFiles", "ZarrFolder", "ZarrZip", "open_files", "read_json"]

_METADATA_BYTES = 2**22  # of one file; those of published plates have 1 MB
_LOCAL = struct.Struct("<4s5H3I2H")
_SLACK_BYTES = 2**16  # what a writer may leave between two members
_ZIP = ArchiveLimits(max_members=2**18)  # 2^36 px in chunks of 512 px
_FEWER = "which larger chunks or shards make fewer"
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x2041
_METADATA = ("zarr.json", ".zattrs", ".zgroup")


class ZarrFiles(Protocol):
    """The files of an OME-Zarr by their paths in it."""

    def small(self, path: str) -> bytes | None:
        """Return a small file's bytes; None if it is not there. Raises UnreadableImage."""
        ...

    def size(self, path: str) -> int | None:
        """Return how many bytes a file has; None if it is not there."""
        ...

    def span(self, path: str, most: int, what: Any) -> Span | None:
        """Return where a file is that has at most so many bytes; None if it is not there."""
        ...

    def part(self, path: str, start: int, length: int, what: Any) -> Span | None:
        """Return where a part of a file is; None if there is no such file, or no such part."""
        ...

    def content(self, span: Span, data: bytes | memoryview, most: int) -> bytes | memoryview:
        """Return a file's bytes, of what was fetched of a span that `span` has returned."""
        ...


def open_files(files: Files, key: str, name: str) -> ZarrFiles:
    """Open a folder, or a zip file where there is an object of that key."""
    if not files.exists(key):
        return ZarrFolder(files, key, name)
    return ZarrZip(files, key, name)


def read_json(files: ZarrFiles, path: str, name: str) -> dict[str, Any] | None:
    """Read a file of metadata; None if it is not there. Raises UnreadableImage."""
    data = files.small(path)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise _refused(name, f"its {path} is not JSON") from exc
    if not isinstance(found, dict):
        raise _refused(name, f"its {path} is no JSON object")
    return found


class ZarrFolder:
    """A folder of a bucket: an object for each file."""

    def __init__(self, files: Files, key: str, name: str) -> None:
        self._files = files
        self._folder = key.rstrip("/")
        self._name = name

    def small(self, path: str) -> bytes | None:
        """See ZarrFiles."""
        try:
            data = self._files.read_range(f"{self._folder}/{path}", 0, _METADATA_BYTES + 1)
        except MissingObject:
            return None
        if len(data) > _METADATA_BYTES:
            raise _refused(self._name, f"its {path} has more than {spaced(_METADATA_BYTES)} bytes")
        return data

    def size(self, path: str) -> int | None:
        """See ZarrFiles."""
        try:
            return self._files.size(f"{self._folder}/{path}")
        except MissingObject:
            return None

    def span(self, path: str, most: int, what: Any) -> Span | None:
        """See ZarrFiles; whether the object is there shows when it is fetched."""
        return Span(f"{self._folder}/{path}", 0, most, what, whole=True)

    def part(self, path: str, start: int, length: int, what: Any) -> Span | None:
        """See ZarrFiles."""
        return Span(f"{self._folder}/{path}", start, length, what)

    def content(self, span: Span, data: bytes | memoryview, most: int) -> bytes | memoryview:  # noqa: ARG002  as ZarrFiles has it
        """See ZarrFiles."""
        return data


class ZarrZip:
    """One zip file, whose members are stored or packed with Deflate."""

    def __init__(self, files: Files, key: str, name: str) -> None:
        self._files = files
        self._key = key
        self._name = name
        file = RemoteFile(files, key)
        found: dict[str, Entry] = {}
        starts = []
        try:
            for entry in read_directory(cast("BinaryIO", file), file.size_bytes, name, _ZIP):
                starts.append(entry.start)
                found[entry.name.decode("utf-8", "replace")] = entry
        except ArchiveTooLarge as exc:  # whose setting is that of archives of many images
            most = spaced(_ZIP.max_members)
            raise _refused(name, f"its zip file has more than {most} files, {_FEWER}") from exc
        self._root = _root(found)
        self._members = {
            path[len(self._root) :]: entry
            for path, entry in found.items()
            if path.startswith(self._root) and not path.endswith("/")
        }
        # A member's pixels begin after its local header, whose length only it knows itself.
        starts.sort()
        self._begins: dict[int, int] = {}
        self._ends = dict(zip(starts, [*starts[1:], file.size_bytes], strict=True))

    def small(self, path: str) -> bytes | None:
        """See ZarrFiles."""
        entry = self._members.get(path)
        if entry is None:
            return None
        if max(entry.packed, entry.unpacked) > _METADATA_BYTES:
            raise _refused(self._name, f"its {path} has more than {spaced(_METADATA_BYTES)} bytes")
        span = self._span(entry, None)
        data = self._files.read_range(span.key, span.start, span.length)
        return bytes(self._content(entry, data))

    def size(self, path: str) -> int | None:
        """See ZarrFiles."""
        entry = self._members.get(path)
        return entry.unpacked if entry else None

    def span(self, path: str, most: int, what: Any) -> Span | None:
        """See ZarrFiles."""
        entry = self._members.get(path)
        if entry is None:
            return None
        if max(entry.packed, entry.unpacked) > most:
            raise ValueError(f"a chunk has {entry.unpacked} bytes, of {most} at most")
        return self._span(entry, (path, what))

    def part(self, path: str, start: int, length: int, what: Any) -> Span | None:
        """See ZarrFiles; raises UnreadableImage for a shard that is packed once more."""
        entry = self._members.get(path)
        if entry is None or start + length > entry.unpacked:
            return None
        if entry.method != _STORED or entry.flags & _ENCRYPTED:
            raise _refused(self._name, "its shards are packed within the zip; zip with `zip -0`")
        return Span(self._key, self._begin(entry) + start, length, what)

    def content(self, span: Span, data: bytes | memoryview, most: int) -> bytes | memoryview:  # noqa: ARG002  checked by `span`
        """See ZarrFiles."""
        return self._content(self._members[span.what[0]], data)

    def _span(self, entry: Entry, what: Any) -> Span:
        most = _LOCAL.size + len(entry.name) + entry.packed + _SLACK_BYTES
        length = min(self._ends[entry.start] - entry.start, most)
        return Span(self._key, entry.start, length, what)

    def _begin(self, entry: Entry) -> int:
        """Return where the member's bytes start; of a shard, each chunk asks for it."""
        if entry.start not in self._begins:
            head = self._files.read_range(self._key, entry.start, _LOCAL.size)
            self._begins[entry.start] = entry.start + self._header_bytes(head)
        return self._begins[entry.start]

    def _header_bytes(self, head: bytes | memoryview) -> int:
        magic, *_, name_bytes, extra_bytes = _LOCAL.unpack(head[: _LOCAL.size])
        if magic != b"PK\3\4":
            raise ValueError("a member of the zip file is not where its directory says")
        return _LOCAL.size + int(name_bytes) + int(extra_bytes)

    def _content(self, entry: Entry, data: bytes | memoryview) -> bytes | memoryview:
        begin = self._header_bytes(data)
        content = data[begin : begin + entry.packed]
        if entry.flags & _ENCRYPTED or entry.method not in (_STORED, _DEFLATED):
            raise _refused(self._name, "its files are encrypted or packed; zip with `zip -0`")
        if entry.method == _DEFLATED:
            content = zlib.decompressobj(-15).decompress(content, entry.unpacked + 1)
        if len(content) != entry.unpacked or zlib.crc32(content) != entry.crc32:
            raise ValueError("a member of the zip file is damaged")
        return content


def _root(names: Iterable[str]) -> str:
    """Return the folder in which the metadata is: that of the shortest path, with a slash."""
    roots = [
        name[: -len(end)]
        for name in names
        for end in _METADATA
        if name == end or name.endswith(f"/{end}")
    ]
    return min(roots, key=len, default="")


def _refused(name: str, fact: str) -> UnreadableImage:
    return UnreadableImage(
        f"{name} is no OME-Zarr that this job can read: {fact}; write it again as NGFF 0.4 or 0.5."
    )
