"""TIFF files, region by region: tiles, strips, and pixels that lie there as they are."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import prod
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import UnreadableImage
from kiosk_tasks.imaging._tiff import TiffImage
from kiosk_tasks.imaging.limits import ImageLimits
from kiosk_tasks.imaging.regions.axes import plane_letters
from kiosk_tasks.imaging.regions.chunks import Cell, ChunkReader
from kiosk_tasks.imaging.regions.remote_file import RemoteFile
from kiosk_tasks.imaging.regions.rows import Rows, RowsReader
from kiosk_tasks.imaging.regions.spans import Span
from kiosk_tasks.imaging.regions.values import Files, RegionImage, RegionReader

__all__ = ["look_at_tiff", "open_tiff"]

_MOST_CHUNK_BYTES = 2**27  # decoded; a strip that has more is better read with all others
_MORE = 2  # bytes that a codec makes of one that it cannot pack, at most
_HEADERS = 2**16  # of a strip or tile that is a JPEG stream


def look_at_tiff(
    files: Files, key: str, *, name: str, axes: str | None, limits: ImageLimits
) -> RegionImage | None:
    """Return what is known of a TIFF file by its headers; None if it is only read whole.

    Raises what `io.read` raises for headers that are traps.
    """
    no_whole = replace(limits, max_bytes=2**62)
    with TiffImage(_opened(files, key), name, no_whole) as tiff:
        letters = plane_letters(str(tiff.series.axes), tiff.shape, axes)
        plan = _plan(tiff, letters)
        if plan is None or letters is None:
            return None
        plan.check(name, no_whole)
        height, width = plan.size
        several = plan.channels > 1
        return RegionImage(
            key=key,
            name=name,
            axes="CYX" if several else "YX",
            shape=(plan.channels, height, width) if several else (height, width),
            dtype=plan.dtype.newbyteorder("=").name,
            mpp=tiff.mpp,
            chunk=(1, width) if plan.is_plain else plan.chunk,
            letters=letters,
        )


def open_tiff(image: RegionImage, files: Files) -> AbstractContextManager[RegionReader]:
    """Open what `look_at_tiff` has looked at; raises UnreadableImage if it is another now."""
    limits = ImageLimits(prod(image.size), 2**20, 2**62)
    tiff = TiffImage(_opened(files, image.key), image.name, limits)
    try:
        plan = _plan(tiff, image.letters)
        if plan is None or (plan.channels, *plan.size) != (image.channels, *image.size):
            raise UnreadableImage(f"{image.name} was replaced by another image; submit it again.")
        if plan.is_plain:
            return RowsReader(image, files, plan.rows(), plan)
        return ChunkReader(image, files, _TiffChunks(tiff, plan, image))
    except BaseException:
        tiff.close()
        raise


def _opened(files: Files, key: str) -> BinaryIO:
    return cast("BinaryIO", RemoteFile(files, key))  # which has all that is used of one


@dataclass(frozen=True)
class _Plan:
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


def _plan(tiff: TiffImage, letters: str | None) -> _Plan | None:
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
    plan = _Plan(tiff, max(channels, 1), along, (shape[rows], shape[columns]))
    small = prod(plan.chunk) * plan.samples * plan.dtype.itemsize <= _MOST_CHUNK_BYTES
    return plan if small or plan.is_plain else None


class _TiffChunks:
    """Strips or tiles; see ChunkSource."""

    def __init__(self, tiff: TiffImage, plan: _Plan, image: RegionImage) -> None:
        self._tiff = tiff
        self._plan = plan
        self._key = image.key
        self.chunk = plan.chunk
        self.chunk_bytes = prod(plan.chunk) * plan.samples * plan.dtype.itemsize
        self.fill = 0
        self._across = -(-plan.size[1] // self.chunk[1])
        self._down = -(-plan.size[0] // self.chunk[0])
        plan.page.init_decode()

    def key(self, cell: Cell, channel: int) -> Hashable:
        """See ChunkSource; samples of a pixel that lie together are one chunk."""
        return (*cell, self._plan.page_number(channel), self._segment(cell, channel))

    def spans(self, cells: Iterable[Cell], channel: int) -> Iterable[Span]:
        """See ChunkSource."""
        page = self._plan.page_of(channel)
        most = _MORE * self.chunk_bytes + _HEADERS
        for cell in cells:
            segment = self._segment(cell, channel)
            count = page.databytecounts[segment]
            if count > most:
                raise ValueError(f"a piece of {self.chunk_bytes} bytes takes {count}")
            yield Span(self._key, page.dataoffsets[segment], count, cell)

    def decode(self, span: Span, data: bytes | memoryview, channel: int) -> NDArray[Any]:
        """See ChunkSource."""
        content = bytes(data)
        if span.length is not None and len(content) < span.length:
            raise ValueError("it ends before its pixels do")
        page = self._plan.page_of(channel)
        keyframe = page.keyframe
        self._tiff.check_stream(keyframe, lambda: content)
        given = {}
        if keyframe.compression in (6, 7, 34892, 33007):
            given = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
        segment = self._segment(span.what, channel)
        pixels, _, shape = keyframe.decode(content, segment, **given)
        chunk: NDArray[Any] = pixels[0, : shape[1], : shape[2]]
        return chunk[..., 0] if chunk.shape[2] == 1 else chunk

    def plane(self, chunk: NDArray[Any], channel: int) -> NDArray[Any]:
        """See ChunkSource."""
        return chunk if chunk.ndim == 2 else chunk[..., self._plan.sample_of(channel)]

    def upright(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """See ChunkSource."""
        return self._plan.upright(pixels)

    def close(self) -> None:
        """See ChunkSource."""
        self._tiff.close()

    def _segment(self, cell: Cell, channel: int) -> int:
        within = cell[0] * self._across + cell[1]
        if self._plan.page.planarconfig == 1:
            return within
        return self._plan.sample_of(channel) * self._across * self._down + within
