"""What is run on each file: the reader, as a job would use it, with small limits."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from math import prod
from pathlib import Path

from kiosk_tasks.errors import KioskError, OutOfMemory, UnusableMember
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging._zip_directory import read_directory
from kiosk_tasks.imaging.archives import ZipArchive
from kiosk_tasks.imaging.limits import ArchiveLimits, ImageLimits
from kiosk_tasks.imaging.movie import open_movies
from kiosk_tasks.imaging.regions import look_at, read_whole
from kiosk_tasks.imaging.trk import read_trk
from kiosk_tasks.storage.local import LocalStorage
from kiosk_tasks.storage.memory import MemoryStorage

__all__ = ["run_reader"]

LIMITS = ImageLimits(max_pixels=2**20, max_frames=64, max_bytes=2**24)
ARCHIVE_LIMITS = ArchiveLimits(max_members=100, max_bytes=2**24, max_ratio=200)


def run_reader(reader: str, path: Path) -> str:
    """Read a file; return "read", or the name of the KioskError. All else is a finding.

    Raises whatever is no KioskError, and MemoryError where memory ran out.
    """
    try:
        _TARGETS[reader](path)
    except OutOfMemory as error:
        raise MemoryError(str(error)) from error
    except KioskError as error:
        _check_message(error)
        return type(error).__name__
    return "read"


def _check_message(error: KioskError) -> None:
    message = str(error)
    assert message.endswith("."), message
    assert "\n" not in message, message


def _image(path: Path) -> None:
    image = io.read(path, name="cells", limits=LIMITS)
    assert image.data.nbytes <= LIMITS.max_bytes
    assert image.data.ndim == len(image.axes)


def _movie(path: Path) -> None:
    """Read every frame of a file that is taken for a movie; most are none."""
    try:
        with open_movies(
            path, path.parent, name="cells", limits=LIMITS, archive_limits=ARCHIVE_LIMITS
        ) as movies:
            for movie in movies:
                for number in range(movie.size[0]):
                    assert movie.frame(number).shape == movie.size[1:]
                    assert movie.labels is None or movie.labels(number).shape == movie.size[1:]
    except OutOfMemory:
        raise
    except KioskError as error:
        _check_message(error)


def _tiff(path: Path) -> None:
    _movie(path)
    _image(path)


def _zip(path: Path) -> None:
    with ZipArchive(path, name="cells.zip", limits=ARCHIVE_LIMITS) as archive:
        for member in archive.members:
            assert member.name.isprintable()
            try:
                content = member.read(max_bytes=2**22)
            except UnusableMember:
                continue
            assert len(content) == member.size_bytes


def _trk(path: Path) -> None:
    _movie(path)
    movie = read_trk(path, name="cells.trk", limits=LIMITS, archive_limits=ARCHIVE_LIMITS)
    assert movie.raw.shape[:-1] == movie.tracked.shape[:-1]


def _regions(path: Path) -> None:
    bucket = LocalStorage(path.parent)
    image = look_at(bucket, path.name, name="cells", limits=LIMITS)
    if image is not None:
        whole = read_whole(image, bucket)
        assert whole.data.shape == image.shape


def _zarr(path: Path) -> None:
    """Read a zip file, and then its members as they are, whatever their checksums."""
    content = path.read_bytes()
    bucket = MemoryStorage()
    bucket.put("x.ozx", content)
    with path.open("rb") as file:
        members = list(read_directory(file, len(content), "x", ARCHIVE_LIMITS))
    for entry in members:
        start = entry.start + 30 + len(entry.name)
        name = re.sub(r"[^a-z0-9./]", "_", entry.name.decode("utf-8", "replace"))
        with suppress(KioskError):
            bucket.put(f"x.zarr/{name}", content[start : start + entry.packed])
    for key in ("x.ozx", "x.zarr"):
        try:
            image = look_at(bucket, key, name="cells", limits=LIMITS)
            assert image is not None
            if prod(image.shape) <= LIMITS.max_pixels:
                assert read_whole(image, bucket).data.shape == image.shape
        except OutOfMemory:
            raise
        except KioskError as error:
            _check_message(error)
            if key == "x.zarr":
                raise


_TARGETS: dict[str, Callable[[Path], None]] = {
    "tiff": _tiff,
    "png": _image,
    "jpeg": _image,
    "zip": _zip,
    "trk": _trk,
    "regions": _regions,
    "zarr": _zarr,
}
