"""What is run on each file: the reader, as a job would use it, with small limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kiosk_tasks.errors import KioskError, OutOfMemory, UnusableMember
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging.archives import ZipArchive
from kiosk_tasks.imaging.limits import ArchiveLimits, ImageLimits
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
        message = str(error)
        assert message.endswith("."), message
        assert "\n" not in message, message
        return type(error).__name__
    return "read"


def _image(path: Path) -> None:
    image = io.read(path, name="cells", limits=LIMITS)
    assert image.data.nbytes <= LIMITS.max_bytes
    assert image.data.ndim == len(image.axes)


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
    movie = read_trk(path, name="cells.trk", limits=LIMITS, archive_limits=ARCHIVE_LIMITS)
    assert movie.raw.shape[:-1] == movie.tracked.shape[:-1]


_TARGETS: dict[str, Callable[[Path], None]] = {
    "tiff": _image,
    "png": _image,
    "jpeg": _image,
    "zip": _zip,
    "trk": _trk,
}
