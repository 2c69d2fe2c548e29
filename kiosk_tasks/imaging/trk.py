"""Movies with tracks as DeepCell writes them: `.trk` and `.trks`, tar files of arrays and lineages.

Follows deepcell-tracking's `trk_io`: `raw.npy`, `tracked.npy`, and `lineage.json` (one movie) or
`lineages.json` (a batch).
"""

from __future__ import annotations

import gzip
import json
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray

from kiosk_tasks.errors import ArchiveTooLarge, UnreadableArchive
from kiosk_tasks.imaging._npy import read_npy
from kiosk_tasks.imaging.archives import DEFAULT_ARCHIVE_LIMITS, check_unpacked
from kiosk_tasks.imaging.limits import ArchiveLimits, ImageLimits, spaced

__all__ = ["TrackedMovie", "read_trk"]

_JSON_BYTES = 2**24
_READ_BYTES = 2**20
_GZIP = b"\x1f\x8b"
_LINEAGES = ("lineages.json", "lineage.json")
_DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True, eq=False)
class TrackedMovie:
    """The content of a `.trk` or `.trks` file.

    raw, tracked: (T, Y, X, C), or (B, T, Y, X, C) for a batch; 0 is background in `tracked`.
    lineages: for each movie, what is known of each track, by its label.
    """

    raw: NDArray[Any]
    tracked: NDArray[Any]
    lineages: tuple[dict[str, Any], ...]


def read_trk(
    path: Path,
    *,
    name: str,
    limits: ImageLimits = _DEFAULT_LIMITS,
    archive_limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS,
) -> TrackedMovie:
    """Read a `.trk` or `.trks` file: tar, or tar packed with gzip.

    Sizes are checked against the limits before any pixel is read; pickles are never loaded.
    Raises UnreadableArchive, ArchiveTooLarge, ImageTooLarge.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            source = gzip.GzipFile(fileobj=file) if packed else file
            guarded = _Guarded(source, name, path.stat().st_size, archive_limits)
            with tarfile.open(fileobj=guarded, mode="r:") as tar:  # type: ignore[call-overload]
                return _read(_Members(tar, guarded, name, archive_limits), limits)
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, RecursionError) as exc:
        if isinstance(exc, FileNotFoundError):
            raise
        raise _unreadable(name, str(exc)[:120] or type(exc).__name__) from exc


def _read(members: _Members, limits: ImageLimits) -> TrackedMovie:
    found: dict[str, Any] = {}
    while (entry := members.next()) is not None:
        part = entry.name.removeprefix("./")
        if part in found or part not in ("raw.npy", "tracked.npy", *_LINEAGES):
            continue
        stream = members.open(entry)
        if part.endswith(".npy"):
            title = f"{part} in {members.name}"
            found[part] = read_npy(stream, entry.size, name=title, limits=limits)
        else:
            found[part] = _lineages(stream, entry, members.name)
    missing = [array for array in ("raw.npy", "tracked.npy") if array not in found]
    lineages = next((found[key] for key in _LINEAGES if key in found), None)
    if missing or lineages is None:
        raise _unreadable(members.name, f"it has no {', '.join(missing) or 'lineage.json'}")
    raw, tracked = found["raw.npy"], found["tracked.npy"]
    if raw.shape[:-1] != tracked.shape[:-1] or raw.ndim not in (4, 5):
        raise _unreadable(members.name, f"shapes {raw.shape} and {tracked.shape} do not fit")
    if len(lineages) != (raw.shape[0] if raw.ndim == 5 else 1):
        raise _unreadable(members.name, f"it has {len(lineages)} lineages for {raw.shape}")
    return TrackedMovie(raw, tracked, lineages)


def _lineages(stream: IO[bytes], entry: tarfile.TarInfo, name: str) -> tuple[dict[str, Any], ...]:
    if entry.size > _JSON_BYTES:
        raise ArchiveTooLarge(
            f"{entry.name} in {name} has {spaced(entry.size)} bytes; {spaced(_JSON_BYTES)} are "
            "taken. Split the movie."
        )
    content = json.loads(b"".join(iter(lambda: stream.read(_READ_BYTES), b"")))
    lineages = content if isinstance(content, list) else [content]
    if not all(isinstance(tracks, dict) for tracks in lineages):
        raise _unreadable(name, f"{entry.name} is no lineage")
    return tuple(lineages)


class _Members:
    """The regular files of a tar file, one after the other."""

    def __init__(
        self, tar: tarfile.TarFile, guarded: _Guarded, name: str, limits: ArchiveLimits
    ) -> None:
        self.name = name
        self._tar = tar
        self._guarded = guarded
        self._limits = limits
        self._count = 0
        self._end = 0

    def next(self) -> tarfile.TarInfo | None:
        """Return the next entry that is a plain file; None after the last."""
        while (entry := self._tar.next()) is not None:
            self._count += 1
            if self._count > self._limits.max_members:
                raise ArchiveTooLarge(
                    f"{self.name} has more than {spaced(self._limits.max_members)} files; this "
                    "queue takes no more. Set KIOSK_MAX_ARCHIVE_MEMBERS."
                )
            if entry.size < 0 or entry.offset_data < self._end:
                raise _unreadable(self.name, "its entries overlap")
            self._end = entry.offset_data
            self._guarded.check(entry.offset_data + entry.size, slack=0)
            if entry.isreg() and entry.sparse is None:
                return entry
        return None

    def open(self, entry: tarfile.TarInfo) -> IO[bytes]:
        """Return its bytes; they are there, as far as the archive goes."""
        stream = self._tar.extractfile(entry)
        if stream is None:
            raise _unreadable(self.name, f"{entry.name} is no file")
        return stream


class _Guarded:
    """A file for `tarfile` that refuses to go further than the limits, or to read all at once."""

    def __init__(self, file: Any, name: str, size_bytes: int, limits: ArchiveLimits) -> None:
        self._file = file
        self._name = name
        self._size_bytes = size_bytes
        self._limits = limits

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _READ_BYTES:
            raise _unreadable(self._name, f"a header of {size} bytes is in it")
        self.check(self._file.tell() + size)
        return bytes(self._file.read(size))

    def seek(self, position: int) -> int:
        self.check(position)
        return int(self._file.seek(position))

    def tell(self) -> int:
        return int(self._file.tell())

    def check(self, position: int, *, slack: int = _READ_BYTES + tarfile.RECORDSIZE) -> None:
        """Raise ArchiveTooLarge or UnreadableArchive for a place too far away."""
        if isinstance(self._file, gzip.GzipFile):
            check_unpacked(self._name, position - slack, self._size_bytes, self._limits)
        elif position > self._size_bytes + slack:
            raise _unreadable(self._name, "its entries end after it does")


def _unreadable(name: str, fact: str) -> UnreadableArchive:
    return UnreadableArchive(f"{name} is no movie with tracks: {fact}; export it again as .trk.")
