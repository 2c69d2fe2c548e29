"""Movies with tracks as DeepCell writes them: `.trk` and `.trks`, tar files of arrays and lineages.

Follows deepcell-tracking's `trk_io`: `raw.npy`, `tracked.npy`, and `lineage.json` (one movie) or
`lineages.json` (a batch).
"""

from __future__ import annotations

import errno
import gzip
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray

from kiosk_tasks.errors import ArchiveTooLarge
from kiosk_tasks.imaging._disk_array import DiskArray
from kiosk_tasks.imaging._npy import read_npy, read_npy_header
from kiosk_tasks.imaging._tar import Guarded, TarMembers, unreadable
from kiosk_tasks.imaging._trk_write import TrkWriter
from kiosk_tasks.imaging.archives import DEFAULT_ARCHIVE_LIMITS, check_unpacked
from kiosk_tasks.imaging.limits import ArchiveLimits, ImageLimits, spaced

__all__ = ["TrackedMovie", "TrkFile", "TrkWriter", "open_trk", "read_trk", "unpack_trk"]

_JSON_BYTES = 2**24
_READ_BYTES = 2**20
_GZIP = b"\x1f\x8b"
_LINEAGES = ("lineages.json", "lineage.json")
_DEFAULT_LIMITS = ImageLimits()
_FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk's fault, not the file's


@dataclass(frozen=True, eq=False)
class TrackedMovie:
    """The content of a `.trk` or `.trks` file.

    raw, tracked: (T, Y, X, C), or (B, T, Y, X, C) for a batch; 0 is background in `tracked`.
    lineages: for each movie, what is known of each track, by its label.
    """

    raw: NDArray[Any]
    tracked: NDArray[Any]
    lineages: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class TrkFile:
    """A `.trk` or `.trks` file of which no pixel has been read; as `TrackedMovie` otherwise."""

    raw: DiskArray
    tracked: DiskArray
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

    def load(stream: IO[bytes], entry: tarfile.TarInfo, title: str) -> NDArray[Any]:
        return read_npy(stream, entry.size, name=title, limits=limits)

    with _members(path, name, archive_limits) as members:
        return TrackedMovie(*_read(members, load))


def open_trk(
    path: Path,
    folder: Path,
    *,
    name: str,
    limits: ImageLimits = _DEFAULT_LIMITS,
    archive_limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS,
) -> TrkFile:
    """Open a file as `read_trk` reads it, so that its frames can be had one by one.

    folder: where a file that is packed with gzip is unpacked to.
    """
    if _is_packed(path):
        path = _unpacked(path, folder, name, archive_limits)

    def find(stream: IO[bytes], entry: tarfile.TarInfo, title: str) -> DiskArray:
        header = read_npy_header(stream, entry.size, name=title, limits=limits)
        offset = entry.offset_data + header.header_bytes
        return DiskArray(path, header.kind, header.shape, offset, header.fortran)

    with _members(path, name, archive_limits) as members:
        return TrkFile(*_read(members, find))


def unpack_trk(
    path: Path, *, name: str, archive_limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS
) -> None:
    """Put the tar file in the place of a file that is packed with gzip; leave others as they are.

    Its frames can then be had again and again. Raises UnreadableArchive and ArchiveTooLarge.
    """
    if _is_packed(path):
        _unpacked(path, path.parent, name, archive_limits).replace(path)


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == _GZIP


@contextmanager
def _members(path: Path, name: str, limits: ArchiveLimits) -> Iterator[TarMembers]:
    with _refusing_damage(name), path.open("rb") as file:
        source = gzip.GzipFile(fileobj=file) if _is_packed(path) else file
        guarded = Guarded(source, name, path.stat().st_size, limits)
        with tarfile.open(fileobj=guarded, mode="r:") as tar:  # type: ignore[call-overload]
            yield TarMembers(tar, guarded, name, limits)


@contextmanager
def _refusing_damage(name: str) -> Iterator[None]:
    """Turn what tarfile, gzip and json raise over damaged bytes into one sentence."""
    try:
        yield
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, RecursionError) as exc:
        if isinstance(exc, FileNotFoundError) or getattr(exc, "errno", None) in _FULL:
            raise
        raise unreadable(name, str(exc)[:120] or type(exc).__name__) from exc


def _unpacked(path: Path, folder: Path, name: str, limits: ArchiveLimits) -> Path:
    """Write the tar file that a gzip file holds, as far as the limits let it."""
    plain, size_bytes, done = folder / f"{path.name}.tar", path.stat().st_size, 0
    with _refusing_damage(name), gzip.open(path) as source, plain.open("wb") as target:
        while chunk := source.read(_READ_BYTES):
            done += len(chunk)
            check_unpacked(name, done, size_bytes, limits)
            target.write(chunk)
    return plain


_ReadArray = Callable[[IO[bytes], tarfile.TarInfo, str], Any]


def _read(
    members: TarMembers, read_array: _ReadArray
) -> tuple[Any, Any, tuple[dict[str, Any], ...]]:
    """Return raw, tracked and lineages once they are found to fit."""
    found: dict[str, Any] = {}
    while (entry := members.next()) is not None:
        part = entry.name.removeprefix("./")
        if part in found or part not in ("raw.npy", "tracked.npy", *_LINEAGES):
            continue
        stream = members.open(entry)
        if part.endswith(".npy"):
            found[part] = read_array(stream, entry, f"{part} in {members.name}")
        else:
            found[part] = _lineages(stream, entry, members.name)
    missing = [array for array in ("raw.npy", "tracked.npy") if array not in found]
    lineages = next((found[key] for key in _LINEAGES if key in found), None)
    if missing or lineages is None:
        raise unreadable(members.name, f"it has no {', '.join(missing) or 'lineage.json'}")
    raw, tracked = found["raw.npy"].shape, found["tracked.npy"].shape
    if raw[:-1] != tracked[:-1] or len(raw) not in (4, 5):
        raise unreadable(members.name, f"shapes {raw} and {tracked} do not fit")
    if len(lineages) != (raw[0] if len(raw) == 5 else 1):
        raise unreadable(members.name, f"it has {len(lineages)} lineages for {raw}")
    return found["raw.npy"], found["tracked.npy"], lineages


def _lineages(stream: IO[bytes], entry: tarfile.TarInfo, name: str) -> tuple[dict[str, Any], ...]:
    if entry.size > _JSON_BYTES:
        raise ArchiveTooLarge(
            f"{entry.name} in {name} has {spaced(entry.size)} bytes; {spaced(_JSON_BYTES)} are "
            "taken. Split the movie."
        )
    content = json.loads(b"".join(iter(lambda: stream.read(_READ_BYTES), b"")))
    lineages = content if isinstance(content, list) else [content]
    if not all(isinstance(tracks, dict) for tracks in lineages):
        raise unreadable(name, f"{entry.name} is no lineage")
    return tuple(lineages)
