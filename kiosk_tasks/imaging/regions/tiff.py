"""TIFF files, region by region: tiles, strips, and pixels that lie there as they are."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from math import prod
from typing import Any, BinaryIO, cast

from numpy.typing import NDArray

from kiosk_tasks.errors import UnreadableImage
from kiosk_tasks.imaging._tiff import TiffImage
from kiosk_tasks.imaging.limits import ImageLimits
from kiosk_tasks.imaging.regions.axes import plane_letters
from kiosk_tasks.imaging.regions.chunks import Cell, ChunkReader
from kiosk_tasks.imaging.regions.remote_file import RemoteFile
from kiosk_tasks.imaging.regions.rows import RowsReader
from kiosk_tasks.imaging.regions.spans import Span
from kiosk_tasks.imaging.regions.tiff_plan import TiffPlan, plan_of
from kiosk_tasks.imaging.regions.values import Files, RegionImage, RegionReader

__all__ = ["look_at_tiff", "open_tiff"]

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
        plan = plan_of(tiff, letters)
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
            dtype=plan.dtype_name,
            mpp=tiff.mpp,
            chunk=(1, width) if plan.is_plain else plan.chunk,
            letters=letters,
        )


def open_tiff(image: RegionImage, files: Files) -> AbstractContextManager[RegionReader]:
    """Open what `look_at_tiff` has looked at; raises UnreadableImage if it is another now."""
    limits = ImageLimits(prod(image.size), 2**20, 2**62)
    tiff = TiffImage(_opened(files, image.key), image.name, limits)
    try:
        plan = plan_of(tiff, image.letters)
        expected = image.channels, *image.size, image.dtype
        if plan is None or (plan.channels, *plan.size, plan.dtype_name) != expected:
            raise UnreadableImage(f"{image.name} was replaced by another image; submit it again.")
        if plan.is_plain:
            return RowsReader(image, files, plan.rows(), plan)
        return ChunkReader(image, files, _TiffChunks(tiff, plan, image))
    except BaseException:
        tiff.close()
        raise


def _opened(files: Files, key: str) -> BinaryIO:
    return cast("BinaryIO", RemoteFile(files, key))  # which has all that is used of one


class _TiffChunks:
    """Strips or tiles; see ChunkSource."""

    def __init__(self, tiff: TiffImage, plan: TiffPlan, image: RegionImage) -> None:
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

    def cell(self, span: Span) -> Cell:
        """See ChunkSource."""
        cell: Cell = span.what
        return cell

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
