"""What a file may claim to hold: checked against its headers, before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from kiosk_tasks.errors import FileTooLarge, ImageTooLarge

__all__ = ["ArchiveLimits", "ImageLimits", "check_file_bytes", "spaced"]


@dataclass(frozen=True)
class ImageLimits:
    """Limits of one image or movie.

    max_pixels: rows × columns.
    max_frames: planes: frames × depths × channels.
    max_bytes: of the file, and of its pixels once decoded.
    pixels_setting: what the operator sets `max_pixels` with.
    """

    max_pixels: int = 2**26
    max_frames: int = 10_000
    max_bytes: int = 8 * 2**30
    pixels_setting: str = "KIOSK_MAX_PIXELS"

    def check(
        self, name: str, plane: tuple[int, int], *, planes: int = 1, pixel_bytes: int = 1
    ) -> None:
        """Raise ImageTooLarge for what a header claims.

        plane: (Y, X), px. pixel_bytes: of one pixel of one plane, with all its samples.
        """
        height, width = plane
        if height * width > self.max_pixels:
            raise ImageTooLarge(
                f"{name} has {height} × {width} px; this queue takes {spaced(self.max_pixels)} px. "
                f"Split the image or set {self.pixels_setting}."
            )
        self.check_planes(name, planes)
        total_bytes = prod((height, width, planes, pixel_bytes))
        if total_bytes > self.max_bytes:
            raise ImageTooLarge(
                f"{name} has {spaced(total_bytes)} bytes once decoded; this queue takes "
                f"{spaced(self.max_bytes)}. Split the image or set KIOSK_MAX_FILE_BYTES."
            )

    def check_planes(self, name: str, planes: int) -> None:
        """Raise ImageTooLarge for too many planes."""
        if planes > self.max_frames:
            raise ImageTooLarge(
                f"{name} has {spaced(planes)} planes; this queue takes {spaced(self.max_frames)}. "
                "Split the movie or set KIOSK_MAX_FRAMES."
            )


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits of one archive.

    max_members: entries, folders among them.
    max_bytes: of all members together once unpacked.
    max_ratio: bytes that one byte of the archive may unpack to.
    """

    max_members: int = 10_000
    max_bytes: int = 64 * 2**30
    max_ratio: int = 200


def check_file_bytes(name: str, size_bytes: int, *, max_bytes: int) -> None:
    """Raise FileTooLarge for a file with more bytes than that."""
    if size_bytes > max_bytes:
        raise FileTooLarge(
            f"{name} has {spaced(size_bytes)} bytes; this queue takes {spaced(max_bytes)}. "
            "Split the file or set KIOSK_MAX_FILE_BYTES."
        )


def spaced(number: int) -> str:
    """Return a number with narrow spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")
