"""Where the planes of a TIFF file lie, from its headers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import UnreadableImage
from kiosk_tasks.imaging._tiff import TiffImage
from kiosk_tasks.imaging.limits import ImageLimits
from kiosk_tasks.imaging.regions.rows import Rows

__all__ = ["TiffPlan", "plan_of"]

_MOST_CHUNK_BYTES = 2**27  # decoded; a strip that has more is better read with all others


@dataclass(frozen=True)
class TiffPlan:
    """How the planes of a TIFF file lie.

    channels: of the image. along: the dimension of the series that they are along; None if one.
    """

    tiff: TiffImage
    channels: int
    along: int | None
    size: tuple[int, int]

    @property
    def page(self) -> Any:
        """The first page."""
        return self.tiff.series.keyframe

    @property
    def dtype(self) -> np.dtype[Any]:
        """In the file's byte order."""
        kind: np.dtype[Any] = self.page.dtype
        return kind.newbyteorder(self.tiff.series.parent.byteorder)

    @property
    def dtype_name(self) -> str:
        """What NumPy calls it in native byte order."""
        return self.dtype.newbyteorder("=").name

    @property
    def outer(self) -> tuple[int, ...]:
        """The dimensions of the series that are pages."""
        return tuple(self.tiff.shape[: len(self.tiff.shape) - len(self.page.shape)])

    @property
    def chunk(self) -> tuple[int, int]:
        """Rows and columns of a strip or tile."""
        page = self.page
        if page.is_tiled:
            return page.tilelength, page.tilewidth
        return min(page.rowsperstrip, page.imagelength), page.imagewidth

    @property
    def samples(self) -> int:
        """How many samples of a pixel a strip or tile has."""
        return int(self.page.samplesperpixel) if self.page.planarconfig == 1 else 1

    @property
    def is_plain(self) -> bool:
        """Whether pixels lie row by row, as they are in memory."""
        if self.tiff.series.dataoffset is not None:
            return True
        return all(
            page is not None and page.is_final and len(page.dataoffsets) == 1
            for page in map(self.page_of, range(self.channels))
        )

    def page_of(self, channel: int) -> Any:
        """Return the page that a channel is in."""
        if self.along is None or self.along >= len(self.outer):
            return self.tiff.series.pages[0]
        return self.tiff.series.pages[self.page_number(channel)]

    def sample_of(self, channel: int) -> int:
        """Return which sample of its page's pixels a channel is."""
        return channel if self.along is not None and self.along >= len(self.outer) else 0

    def rows(self) -> Rows:
        """Return where rows lie, if they are plain."""
        series, (height, width) = self.tiff.series, self.size
        item = self.dtype.itemsize
        separate = self.page.planarconfig != 1
        page_bytes = prod(self.page.shape) * item
        starts = []
        for channel in range(self.channels):
            if series.dataoffset is None:
                start = int(self.page_of(channel).dataoffsets[0])
            else:
                pages_before = self.page_number(channel) if self.sample_of(channel) == 0 else 0
                start = int(series.dataoffset) + pages_before * page_bytes
            sample = self.sample_of(channel)
            starts.append(start + sample * (height * width * item if separate else item))
        return Rows(tuple(starts), self.size, self.dtype, 1 if separate else self.samples)

    def check(self, name: str, limits: ImageLimits) -> None:
        """Refuse what is too large, or larger than its bytes can hold."""
        if 0 in self.tiff.shape:
            shape = " × ".join(map(str, self.tiff.shape))
            raise UnreadableImage(f"{name} has no pixels ({shape}); export it again.")
        if self.dtype.kind == "c":
            raise UnreadableImage(
                f"{name} has complex numbers as pixels; send their magnitude instead."
            )
        limits.check(name, self.size, planes=self.channels, pixel_bytes=self.tiff.pixel_bytes)
        self.tiff.check_length()
        self.tiff.upright(np.empty(0, self.dtype))
        if self.tiff.series.dataoffset is None:
            for channel in range(self.channels):
                self.tiff.check_page(self.page_of(channel))

    def upright(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return pixels with dark being low."""
        return self.tiff.upright(pixels)

    def close(self) -> None:
        """Close the file."""
        self.tiff.close()

    def page_number(self, channel: int) -> int:
        """Return which page of the series a channel is."""
        if self.along is None or self.along >= len(self.outer):
            return 0
        return channel * prod(self.outer[self.along + 1 :])


def plan_of(tiff: TiffImage, letters: str | None) -> TiffPlan | None:
    """Return how the planes lie; None for what cannot be read, or not well, in parts."""
    if letters is None or len(letters) != len(tiff.shape):
        return None
    series, page, shape = tiff.series, tiff.series.keyframe, tiff.shape
    inner = tuple(page.shape)
    outer = shape[: len(shape) - len(inner)]
    if shape != outer + inner or "S" in series.axes[: len(outer)] or page.imagedepth != 1:
        return None
    rows, columns = letters.index("Y"), letters.index("X")
    found = str(series.axes)
    if (found[rows], found[columns]) != ("Y", "X") or min(rows, columns) < len(outer):
        return None
    if series.dataoffset is None and len(series.pages) != prod(outer):
        return None
    along = letters.index("C") if "C" in letters else None
    channels = 1 if along is None else shape[along]
    if along is not None and found[along] == "S":
        channels -= tiff.alpha
        channels = min(channels, 3) if tiff.is_colour else channels
    plan = TiffPlan(tiff, max(channels, 1), along, (shape[rows], shape[columns]))
    small = prod(plan.chunk) * plan.samples * plan.dtype.itemsize <= _MOST_CHUNK_BYTES
    return plan if small or plan.is_plain else None
