"""What is run on each file: the reader, as a job would use it, with small limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kiosk_tasks.errors import KioskError, OutOfMemory, UnusableMember
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging.archives import ZipArchive
from kiosk_tasks.imaging.limits import ArchiveLimits, ImageLimits
from kiosk_tasks.imaging.movie import open_movies
from kiosk_tasks.imaging.trk import read_trk

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


_TARGETS: dict[str, Callable[[Path], None]] = {
    "tiff": _tiff,
    "png": _image,
    "jpeg": _image,
    "zip": _zip,
    "trk": _trk,
}
