"""Cut a plane into square tiles that overlap; `stitching` puts together what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidParameter

__all__ = ["TileCutter", "TileLayout", "cut", "iter_tiles"]


@dataclass(frozen=True)
class TileLayout:
    """Where the tiles of a plane lie; it travels with them, and fits in JSON.

    shape: (Y, X) of the plane, px.
    tile: side of a tile, px.
    overlap: least number of pixels that neighbouring tiles share; tiles are spread evenly, so
        they may share more.
    Tiles are numbered row by row from the top left. A plane smaller than a tile is continued by
    reflection below and on the right.
    Raises InvalidParameter unless 0 <= overlap < tile and the plane has pixels.
    """

    shape: tuple[int, int]
    tile: int
    overlap: int

    def __post_init__(self) -> None:
        """Check the numbers; a list from JSON becomes a tuple."""
        height, width = self.shape
        object.__setattr__(self, "shape", (int(height), int(width)))
        if min(self.shape) < 1:
            raise InvalidParameter(f"a plane of {height} × {width} px has nothing to cut.")
        if not 0 <= self.overlap < self.tile:
            raise InvalidParameter(
                f"overlap {self.overlap} does not fit tiles of {self.tile} px; "
                f"give 0 to {self.tile - 1}."
            )

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """First row of each row of tiles, px."""
        return self._origins(self.shape[0])

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """First column of each column of tiles, px."""
        return self._origins(self.shape[1])

    @cached_property
    def origins(self) -> tuple[tuple[int, int], ...]:
        """(y, x) of the top left pixel of each tile, in order."""
        return tuple((y, x) for y in self.rows for x in self.columns)

    def __len__(self) -> int:
        """Return how many tiles there are."""
        return len(self.rows) * len(self.columns)

    def weights(
        self, index: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> NDArray[np.float32]:
        """Return how much each pixel of that tile counts, (tile, tile) float32, or a part of it.

        The weights of all tiles that cover a pixel of the plane sum to 1.
        """
        row, column = divmod(index, len(self.columns))
        return np.outer(self._row_weights[row, rows], self._column_weights[column, columns])

    def stretches(self, axis: int, index: int) -> tuple[tuple[slice, bool], ...]:
        """Return the stretches of a row (axis 0) or column (1) of tiles that the plane covers, px.

        Each with whether no other row or column of tiles covers it: the weight is 1 there.
        """
        origins = self.columns if axis else self.rows
        own = origins[index]
        length = min(self.tile, self.shape[axis] - own)
        first = origins[index - 1] + self.tile - own if index else 0
        last = origins[index + 1] - own if index + 1 < len(origins) else length
        if first >= last:
            return ((slice(0, length), False),)
        cuts = ((0, first, False), (first, last, True), (last, length, False))
        return tuple((slice(start, stop), alone) for start, stop, alone in cuts if start < stop)

    @cached_property
    def _row_weights(self) -> NDArray[np.float32]:
        return _blend(self.rows, self.tile)

    @cached_property
    def _column_weights(self) -> NDArray[np.float32]:
        return _blend(self.columns, self.tile)

    def _origins(self, length: int) -> tuple[int, ...]:
        spare = length - self.tile
        if spare <= 0:
            return (0,)
        steps = -(-spare // (self.tile - self.overlap))
        return tuple(spare * step // steps for step in range(steps + 1))


def cut(plane: NDArray[Any], *, tile: int, overlap: int) -> tuple[NDArray[Any], TileLayout]:
    """Cut a plane into tiles, all at once.

    plane: (Y, X, C), any dtype.
    Returns (N, tile, tile, C) of the same dtype, and the layout that `stitching` needs.
    """
    layout = TileLayout((plane.shape[0], plane.shape[1]), tile, overlap)
    (tiles,) = iter_tiles(plane, layout, batch=len(layout))
    return tiles, layout


def iter_tiles(plane: NDArray[Any], layout: TileLayout, *, batch: int) -> Iterator[NDArray[Any]]:
    """Yield the tiles of a plane in batches, cut only when they are asked for.

    plane: (Y, X, C), any dtype, of the layout's shape.
    batch: most tiles in a batch; the last one may be shorter.
    Yields (n, tile, tile, C) of the same dtype, C-contiguous.
    """
    cutter = TileCutter()
    yield from cutter.cut(plane, layout, batch=batch)
    yield from cutter.rest()


class TileCutter:
    """Cuts plane after plane into batches of tiles; neighbouring planes share a batch.

    Each pixel of a tile is copied once, from its plane into the batch.
    """

    def __init__(self) -> None:
        """Start with an empty batch."""
        self._batch: NDArray[Any] | None = None
        self._filled = 0

    def cut(self, plane: NDArray[Any], layout: TileLayout, *, batch: int) -> Iterator[NDArray[Any]]:
        """Yield the batches that the plane's tiles fill; what is left waits for the next plane.

        plane: (Y, X, C), any dtype, of the layout's shape. batch: most tiles in a batch.
        Tiles of another side, dtype or number of channels than those that wait are not put
        together with them: these are yielded first.
        """
        side, height, width = layout.tile, *layout.shape
        if reflected := min(height, width) < side:
            rows, columns = (_reflected(length, side) for length in (height, width))
        for y, x in layout.origins:
            part = plane[y : y + side, x : x + side]
            if reflected:
                part = plane[rows[y : y + side, np.newaxis], columns[x : x + side]]
            if self._batch is not None and not _alike(self._batch, part):
                yield from self.rest()
            if self._batch is None:
                self._batch = np.empty((batch, *part.shape), part.dtype)
            self._batch[self._filled] = part
            self._filled += 1
            if self._filled == len(self._batch):
                yield from self.rest()

    def rest(self) -> Iterator[NDArray[Any]]:
        """Yield the tiles that wait, if there are any."""
        if self._batch is not None:
            tiles = self._batch[: self._filled]
            self._batch, self._filled = None, 0
            yield tiles


def _blend(origins: tuple[int, ...], tile: int) -> NDArray[np.float32]:
    """Return a Hann window for each origin, scaled so that they sum to 1 at each pixel.

    The centre of a tile counts most: there a network has seen all of the surroundings.
    """
    window = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    total = np.zeros(origins[-1] + tile)
    for origin in origins:
        total[origin : origin + tile] += window
    return np.stack([window / total[o : o + tile] for o in origins]).astype(np.float32)


def _reflected(length: int, side: int) -> NDArray[np.intp]:
    """Return which row, or column, continues a plane of that length to a tile's side."""
    place, turn = np.arange(max(length, side)), max(2 * length - 2, 1)
    return np.minimum(place % turn, -place % turn) if side > length else place


def _alike(batch: NDArray[Any], tile: NDArray[Any]) -> bool:
    """Tell whether a tile may join a batch."""
    return batch.shape[1:] == tile.shape and batch.dtype == tile.dtype
