"""Blend what a model made of a plane's tiles into one plane again, as the tiles arrive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging.tiling import TileLayout

__all__ = ["Stitcher", "stitch"]


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
        weighted = np.empty((side, side), np.result_type(tiles, np.float32))  # used again and again
        for index, tile in enumerate(tiles, start=self._added):
            self._blend(tile, index, self._plane, weighted)
        self._added += len(tiles)

    def _blend(
        self, tile: NDArray[Any], index: int, plane: NDArray[np.float32], room: NDArray[Any]
    ) -> None:
        """Add a tile; where no other one covers the plane, it is written as it is."""
        layout = self._layout
        row, column = divmod(index, len(layout.columns))
        y, x = layout.rows[row], layout.columns[column]
        for rows, row_alone in layout.stretches(0, row):
            target_rows = slice(y + rows.start, y + rows.stop)
            for columns, column_alone in layout.stretches(1, column):
                target = plane[target_rows, x + columns.start : x + columns.stop]
                part = tile[rows, columns]
                if row_alone and column_alone:
                    np.add(part, np.float32(0), out=target, casting="same_kind")
                    continue
                weights = layout.weights(index, rows, columns)
                weighted = room[: len(weights), : weights.shape[1]]
                for channel in range(plane.shape[2]):  # weights along the last axis are slow
                    np.multiply(part[..., channel], weights, out=weighted)
                    target[..., channel] += weighted

    @property
    def added(self) -> int:
        """How many tiles have come so far."""
        return self._added

    def plane(self) -> NDArray[np.float32]:
        """Return the blended plane, (Y, X, K) float32; ModelMismatch if tiles are missing."""
        if self._plane is None or self._added < len(self._layout):
            raise ModelMismatch(f"{self._added} of {len(self._layout)} tiles came back.")
        return self._plane
