"""From chunks, which are fetched and decoded one by one, to the region that is asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from contextlib import AbstractContextManager
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import MissingChannel
from kiosk_tasks.imaging.io import refusing_damage
from kiosk_tasks.imaging.regions.spans import Span, Spans
from kiosk_tasks.imaging.regions.values import Files, RegionImage

__all__ = ["Cell", "ChunkReader", "ChunkSource", "check_region"]

_KEPT_BYTES = 2**25  # decoded chunks: those at the border of two neighbouring regions

Cell = tuple[int, int]
"""Row and column of a chunk among the chunks of a plane."""


class ChunkSource(Protocol):
    """What is particular to a file format.

    chunk: rows and columns of a chunk. chunk_bytes: of one, decoded, with all that it holds.
    fill: what pixels are of which no chunk is there.
    """

    chunk: tuple[int, int]
    chunk_bytes: int
    fill: Any

    def key(self, cell: Cell, channel: int) -> Hashable:
        """Return what tells a chunk from others; one may hold several channels."""
        ...

    def spans(self, cells: Iterable[Cell], channel: int) -> Iterable[Span]:
        """Return where the chunks are; those that are not are left out."""
        ...

    def cell(self, span: Span) -> Cell:
        """Return which chunk a span is."""
        ...

    def decode(self, span: Span, data: bytes | memoryview, channel: int) -> NDArray[Any]:
        """Return (Y, X) or (Y, X, …) pixels of a chunk; what is past the image may be cut off."""
        ...

    def plane(self, chunk: NDArray[Any], channel: int) -> NDArray[Any]:
        """Return (Y, X) of what `decode` has returned."""
        ...

    def upright(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return pixels with dark being low."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class ChunkReader(AbstractContextManager["ChunkReader"]):
    """A RegionReader of what is stored in chunks."""

    def __init__(self, image: RegionImage, files: Files, source: ChunkSource) -> None:
        self._image = image
        self._source = source
        self._spans = Spans(files, chunk_bytes=source.chunk_bytes)
        self._kept: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._kept_bytes = 0
        self._keeping = Lock()

    def __exit__(self, *error: object) -> None:
        self._spans.close()
        self._source.close()

    def read(self, rows: slice, columns: slice, *, channel: int = 0) -> NDArray[Any]:
        """See RegionReader."""
        region = check_region(self._image, rows, columns, channel)
        out = np.full(
            [side.stop - side.start for side in region], self._source.fill, self._image.dtype
        )
        missing: list[Cell] = []
        for cell in self._cells(region):
            kept = self._take(self._source.key(cell, channel))
            if kept is None:
                missing.append(cell)
            else:
                self._paste(kept, cell, region, out, channel)

        def use(span: Span, data: bytes | memoryview | None) -> None:
            if data is not None:
                chunk, cell = self._source.decode(span, data, channel), self._source.cell(span)
                self._keep(self._source.key(cell, channel), chunk)
                self._paste(chunk, cell, region, out, channel)

        with refusing_damage(self._image.name):
            self._spans.fetch(self._source.spans(missing, channel), use)
        return self._source.upright(out)

    def _cells(self, region: tuple[slice, slice]) -> Iterable[Cell]:
        (rows, columns), (height, width) = region, self._source.chunk
        if rows.start == rows.stop or columns.start == columns.stop:
            return
        for row in range(rows.start // height, (rows.stop - 1) // height + 1):
            for column in range(columns.start // width, (columns.stop - 1) // width + 1):
                yield row, column

    def _paste(
        self,
        chunk: NDArray[Any],
        cell: Cell,
        region: tuple[slice, slice],
        out: NDArray[Any],
        channel: int,
    ) -> None:
        plane = self._source.plane(chunk, channel)
        taken, given = [], []
        for number, side, length, had in zip(
            cell, region, self._source.chunk, plane.shape, strict=True
        ):
            begin = number * length
            start, stop = max(side.start, begin), min(side.stop, begin + had)
            taken.append(slice(start - begin, stop - begin))
            given.append(slice(start - side.start, stop - side.start))
        out[tuple(given)] = plane[tuple(taken)]

    def _take(self, key: Hashable) -> NDArray[Any] | None:
        with self._keeping:
            chunk = self._kept.get(key)
            if chunk is not None:
                self._kept.move_to_end(key)
            return chunk

    def _keep(self, key: Hashable, chunk: NDArray[Any]) -> None:
        with self._keeping:
            if key in self._kept or chunk.nbytes > _KEPT_BYTES // 4:
                return
            self._kept[key] = chunk
            self._kept_bytes += chunk.nbytes
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes


def check_region(
    image: RegionImage, rows: slice, columns: slice, channel: int
) -> tuple[slice, slice]:
    """Return rows and columns with start and stop; raises MissingChannel, ValueError, IndexError.

    The latter two are for callers, not for persons: a step, and what is outside of the image.
    """
    if not 0 <= channel < image.channels:
        last = f"channels 0 to {image.channels - 1}" if image.channels > 1 else "one channel, 0"
        raise MissingChannel(f"channel {channel} was asked for, but the image has {last}.")
    sides = []
    for side, length in zip((rows, columns), image.size, strict=True):
        start = 0 if side.start is None else side.start
        stop = length if side.stop is None else side.stop
        if side.step not in (None, 1):
            raise ValueError("regions are read without a step")
        if not 0 <= start <= stop <= length:
            raise IndexError(f"{start}:{stop} is outside of 0:{length}")
        sides.append(slice(start, stop))
    return sides[0], sides[1]
