"""Pixels that lie in a file row by row, as they are in memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.io import refusing_damage
from kiosk_tasks.imaging.regions.chunks import check_region
from kiosk_tasks.imaging.regions.spans import Span, Spans
from kiosk_tasks.imaging.regions.values import Files, RegionImage

__all__ = ["Rows", "RowsReader"]


@dataclass(frozen=True)
class Rows:
    """Where they are: a start for each channel, bytes; samples of a pixel lie together."""

    starts: tuple[int, ...]
    size: tuple[int, int]
    dtype: np.dtype[Any]
    samples: int


class _Source(Protocol):
    def upright(self, pixels: NDArray[Any]) -> NDArray[Any]: ...

    def close(self) -> None: ...


class RowsReader(AbstractContextManager["RowsReader"]):
    """A RegionReader of them."""

    def __init__(self, image: RegionImage, files: Files, where: Rows, source: _Source) -> None:
        self._image = image
        self._rows = where
        self._source = source
        self._spans = Spans(files)

    def __exit__(self, *error: object) -> None:
        self._spans.close()
        self._source.close()

    def read(self, rows: slice, columns: slice, *, channel: int = 0) -> NDArray[Any]:
        """See RegionReader."""
        down, across = check_region(self._image, rows, columns, channel)
        out = np.empty((down.stop - down.start, across.stop - across.start), self._image.dtype)
        where = self._rows
        pixel_bytes = where.dtype.itemsize * where.samples
        # A sample's pixel ends before its neighbours do: there is nothing after the last one.
        wanted = max(0, out.shape[1] - 1) * pixel_bytes + where.dtype.itemsize

        def use(span: Span, data: bytes | memoryview | None) -> None:
            if data is None or len(data) < wanted:
                raise ValueError("it ends before its pixels do")
            samples = np.frombuffer(data, where.dtype)
            out[span.what] = samples[:: where.samples]

        if out.size:
            with refusing_damage(self._image.name):
                self._spans.fetch(
                    (
                        Span(
                            self._image.key,
                            where.starts[channel]
                            + (row * where.size[1] + across.start) * pixel_bytes,
                            wanted,
                            row - down.start,
                        )
                        for row in range(down.start, down.stop)
                    ),
                    use,
                )
        return self._source.upright(out)
