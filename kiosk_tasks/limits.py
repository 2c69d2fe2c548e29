"""What an operator allows a job to take up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kiosk_tasks.imaging.limits import ArchiveLimits, ImageLimits

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What an operator allows and tunes.

    max_pixels: rows × columns of the largest image that is held in memory.
    max_whole_pixels: a larger image is worked on in blocks, where it can be read region by region
        and the job type knows how.
    max_large_pixels: rows × columns of the largest of these.
    max_batch: tiles of 512 px per request to the model server.
    max_items: smaller tiles per request, at most; None: no more than of 512 px.
    max_frames: planes of the longest movie or stack.
    max_file_bytes: of the largest input, and of its pixels once decoded.
    max_archive_members, max_archive_bytes, max_archive_ratio: see ArchiveLimits.
    scratch: where files lie while a job runs; None is the system's temporary folder.
    """

    max_pixels: int = 2**26
    max_whole_pixels: int = 2**24
    max_large_pixels: int = 2**36
    max_batch: int = 8
    max_items: int | None = None
    max_frames: int = 10_000
    max_file_bytes: int = 8 * 2**30
    max_archive_members: int = 10_000
    max_archive_bytes: int = 64 * 2**30
    max_archive_ratio: int = 200
    scratch: Path | None = None

    @property
    def image(self) -> ImageLimits:
        """The limits of one image or movie."""
        return ImageLimits(self.max_pixels, self.max_frames, self.max_file_bytes)

    @property
    def archive(self) -> ArchiveLimits:
        """The limits of one archive."""
        return ArchiveLimits(
            self.max_archive_members, self.max_archive_bytes, self.max_archive_ratio
        )
