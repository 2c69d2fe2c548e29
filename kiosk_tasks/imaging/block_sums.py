"""What is known of the cells of one block, so that it can be added up over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.imaging.blocks import Box
from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.imaging.measure import CellTable

__all__ = ["Sums", "bin_sizes", "binned", "sums_of"]


@dataclass(frozen=True, eq=False)
class Sums:
    """Of each cell, (n,) each; what two blocks know of one cell is added.

    area: px. y, x: sums of rows and of columns. intensity: sum over its pixels. edge: how many of
    its pixels lie at the image's border. boxes: (n, 4) top, bottom, left, right; px of the image.
    """

    area: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    intensity: NDArray[np.float64]
    edge: NDArray[np.int64]
    boxes: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many cells there are."""
        return len(self.area)

    def taken(self, which: NDArray[Any]) -> Sums:
        """Return those cells only, in that order."""
        return Sums(
            self.area[which],
            self.y[which],
            self.x[which],
            self.intensity[which],
            self.edge[which],
            self.boxes[which],
        )

    def added_up(self, group: NDArray[np.intp], count: int) -> Sums:
        """Add the cells of each group; group: (n,) of each cell, below `count`; each has one."""

        def total(values: NDArray[Any]) -> NDArray[Any]:
            sums = np.zeros(count, values.dtype)
            np.add.at(sums, group, values)
            return sums

        boxes = np.tile(np.array([np.iinfo(np.int64).max, 0]), (count, 2))
        for side, place in enumerate((np.minimum, np.maximum, np.minimum, np.maximum)):
            place.at(boxes[:, side], group, self.boxes[:, side])
        return Sums(
            total(self.area),
            total(self.y),
            total(self.x),
            total(self.intensity),
            total(self.edge),
            boxes,
        )

    @classmethod
    def together(cls, parts: list[Sums]) -> Sums:
        """Return the cells of all parts, one after the other."""
        names = ("area", "y", "x", "intensity", "edge", "boxes")
        empty = [] if parts else [cls.nothing()]
        return cls(*(np.concatenate([getattr(p, name) for p in parts or empty]) for name in names))

    @classmethod
    def nothing(cls) -> Sums:
        """Return those of no cells."""
        none = np.zeros(0, np.int64)
        return cls(none, none, none, none.astype(np.float64), none, none.reshape(0, 4))

    def table(self, numbers: NDArray[np.int64], mpp: float | None) -> CellTable:
        """Return the rows that `measure_cells` gives for the whole image.

        numbers: of the cells. mpp: micrometres per pixel; None where nobody knows.
        """
        return CellTable(
            label=numbers,
            y=self.y / self.area,
            x=self.x / self.area,
            area_px=self.area,
            area_um2=None if mpp is None else self.area * np.float64(mpp**2),
            mean_intensity=self.intensity / self.area,
            touches_border=self.edge > 0,
        )


def sums_of(labels: Labels, pixels: NDArray[Any], core: Box, shape: tuple[int, int]) -> Sums:
    """Add up each cell of a block's core.

    labels: (Y, X), 1..n without gaps. pixels: of the same shape, any real dtype.
    core: where that is in the image; shape: the image's (Y, X).
    """
    count = int(labels.max(initial=0))
    inside = np.flatnonzero(labels)
    number = labels.ravel()[inside] - 1
    row, column = np.divmod(inside, labels.shape[1])
    row, column = row + core.top, column + core.left

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.bincount(number, values.astype(np.float64), minlength=count)
        return np.asarray(sums, np.float64)

    at_edge = (row == 0) | (row == shape[0] - 1) | (column == 0) | (column == shape[1] - 1)
    found = ndimage.find_objects(labels, count)
    boxes = [(y.start, y.stop, x.start, x.stop) for y, x in found]
    corner = np.array([core.top, core.top, core.left, core.left])
    return Sums(
        area=np.bincount(number, minlength=count),
        y=total(row).astype(np.int64),
        x=total(column).astype(np.int64),
        intensity=total(pixels.ravel()[inside]),
        edge=np.bincount(number[at_edge], minlength=count),
        boxes=np.array(boxes, np.int64).reshape(-1, 4) + corner,
    )


def binned(
    pixels: NDArray[Any], core: Box, shape: tuple[int, int], size: tuple[int, int]
) -> tuple[tuple[int, int], NDArray[np.float32]]:
    """Add up the pixels of a block by the pixels of a small picture of the whole image.

    pixels: (Y, X) of the core. shape: the image's (Y, X), size: the picture's, none larger.
    Returns the corner (y, x) in the picture, and the sums from there on.
    """
    rows = np.arange(core.top, core.bottom) * size[0] // shape[0]
    columns = np.arange(core.left, core.right) * size[1] // shape[1]
    first_rows = np.flatnonzero(np.diff(rows, prepend=-1))
    first_columns = np.flatnonzero(np.diff(columns, prepend=-1))
    by_row = np.add.reduceat(pixels, first_rows, axis=0, dtype=np.float64)
    sums = np.add.reduceat(by_row, first_columns, axis=1)
    return (int(rows[0]), int(columns[0])), sums.astype(np.float32)


def bin_sizes(length: int, size: int) -> NDArray[np.int64]:
    """Return how many pixels along an axis of an image fall into each of the picture's."""
    return np.bincount(np.arange(length) * size // length, minlength=size)
