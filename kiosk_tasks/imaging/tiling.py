"""Cut a plane into square tiles that overlap, and blend what a model made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidParameter, ModelMismatch

__all__ = ["Stitcher", "TileLayout", "cut", "iter_tiles", "stitch"]


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

    def weights(self, index: int) -> NDArray[np.float32]:
        """Return how much each pixel of that tile counts, (tile, tile) float32.

        The weights of all tiles that cover a pixel of the plane sum to 1.
        """
        row, column = divmod(index, len(self.columns))
        return np.outer(self._row_weights[row], self._column_weights[column])

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
    Returns (N, tile, tile, C) of the same dtype, and the layout that `stitch` needs.
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
    pads = [max(layout.tile - length, 0) for length in layout.shape]
    if any(pads):
        plane = np.pad(plane, ((0, pads[0]), (0, pads[1]), (0, 0)), mode="reflect")
    origins = layout.origins
    side = layout.tile
    for start in range(0, len(origins), batch):
        part = origins[start : start + batch]
        tiles = np.empty((len(part), side, side, plane.shape[2]), plane.dtype)
        for target, (y, x) in zip(tiles, part, strict=True):
            target[...] = plane[y : y + side, x : x + side]
        yield tiles


def stitch(tiles: NDArray[Any], layout: TileLayout) -> NDArray[np.float32]:
    """Blend tiles into one plane, all at once.

    tiles: (N, tile, tile, K), in the layout's order.
    Returns (Y, X, K) float32. Raises ModelMismatch if they are not the layout's tiles.
    """
    stitcher = Stitcher(layout)
    stitcher.add(tiles)
    return stitcher.plane()


class Stitcher:
    """Blends tiles into a plane as they arrive; holds the plane, never the tiles."""

    def __init__(self, layout: TileLayout) -> None:
        """Start with no tile."""
        self._layout = layout
        self._added = 0
        self._plane: NDArray[np.float32] | None = None

    def add(self, tiles: NDArray[Any]) -> None:
        """Add the next tiles in the layout's order, (n, tile, tile, K) of any real dtype.

        Raises ModelMismatch for tiles of another shape, or more of them than the layout has.
        """
        layout, side = self._layout, self._layout.tile
        if tiles.ndim != 4 or tiles.shape[1:3] != (side, side):
            raise ModelMismatch(
                f"tiles of shape (n, {side}, {side}, k) were expected, {tiles.shape} came back."
            )
        if self._added + len(tiles) > len(layout):
            raise ModelMismatch(f"more than {len(layout)} tiles came back.")
        if self._plane is None:
            self._plane = np.zeros((*layout.shape, tiles.shape[3]), np.float32)
        if tiles.shape[3] != self._plane.shape[2]:
            raise ModelMismatch(
                f"tiles of {tiles.shape[3]} channels came back after some of "
                f"{self._plane.shape[2]}."
            )
        for index, tile in enumerate(tiles, start=self._added):
            y, x = layout.origins[index]
            target = self._plane[y : y + side, x : x + side]
            height, width = target.shape[:2]
            weights = layout.weights(index)[:height, :width, None]
            target += tile[:height, :width] * weights
        self._added += len(tiles)

    @property
    def added(self) -> int:
        """How many tiles have come so far."""
        return self._added

    def plane(self) -> NDArray[np.float32]:
        """Return the blended plane, (Y, X, K) float32; ModelMismatch if tiles are missing."""
        if self._plane is None or self._added < len(self._layout):
            raise ModelMismatch(f"{self._added} of {len(self._layout)} tiles came back.")
        return self._plane


def _blend(origins: tuple[int, ...], tile: int) -> NDArray[np.float32]:
    """Return a Hann window for each origin, scaled so that they sum to 1 at each pixel.

    The centre of a tile counts most: there a network has seen all of the surroundings.
    """
    window = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    total = np.zeros(origins[-1] + tile)
    for origin in origins:
        total[origin : origin + tile] += window
    return np.stack([window / total[o : o + tile] for o in origins]).astype(np.float32)
