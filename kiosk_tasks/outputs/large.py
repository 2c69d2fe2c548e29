"""The files of a segmentation that never was in memory whole: written block by block.

One pass over the blocks, row by row, feeds all files at once; each lies in the scratch folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.block_sums import Sums, bin_sizes
from kiosk_tasks.imaging.blocks import Grid
from kiosk_tasks.imaging.labels import LabelImage, Labels, relabel
from kiosk_tasks.imaging.measure import COLUMNS, to_csv
from kiosk_tasks.imaging.overlay import overlay_png
from kiosk_tasks.outputs.files import OutputFile
from kiosk_tasks.outputs.large_labels import TILE, write_tiff
from kiosk_tasks.outputs.large_shapes import Shapes
from kiosk_tasks.outputs.large_zarr import zarr_files

__all__ = ["Blocks", "large_files"]


class Blocks(Protocol):
    """A label image in blocks, and what is known of its cells.

    mpp: micrometres per pixel. picture: (Y, X) of the overlay. total: how many cells there are.
    """

    grid: Grid
    mpp: float | None
    picture: tuple[int, int]

    @property
    def total(self) -> int: ...  # noqa: D102

    def labels(self, index: int) -> Labels:
        """Return the cells of a block's core, by their final numbers."""
        ...

    def cells(self, index: int) -> tuple[NDArray[np.int64], Sums]:
        """Return numbers and sums of the cells that are counted in a block, by number."""
        ...

    def cut_cells(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of a block's cells that lie in others too, and their boxes."""
        ...

    def light(self, index: int) -> tuple[tuple[int, int], NDArray[np.float32]]:
        """Return a block's part of the overlay, see `binned`."""
        ...


def large_files(
    blocks: Blocks, name: str, folder: Path, *, labels_only: bool, as_zarr: bool
) -> Iterator[OutputFile]:
    """Yield the files of one label image, those of `output_files`, and with `as_zarr` an OME-Zarr.

    name: what their names begin with. folder: for files meanwhile.
    """
    work = _Pass(blocks, folder, labels_only=labels_only)
    if as_zarr:
        yield from zarr_files(work.bands(), blocks.grid.shape, blocks.mpp, name, folder)
    else:
        target = folder / "labels.ome.tif"
        write_tiff(target, work.bands(), blocks.grid.shape, blocks.mpp, folder)
        yield from _moved(target, f"{name}_labels.ome.tif")
    if labels_only:
        return
    yield OutputFile(f"{name}_overlay.png", work.overlay())
    work.table.close()
    yield from _moved(folder / "cells.csv", f"{name}_cells.csv")
    for path, end in work.shapes.close():
        yield from _moved(path, f"{name}_{end}")


def _moved(path: Path, name: str) -> Iterator[OutputFile]:
    """Yield a file, and remove it when it has been taken."""
    yield OutputFile(name, path)
    path.unlink()


class _Pass:
    """One pass over all blocks."""

    def __init__(self, blocks: Blocks, folder: Path, *, labels_only: bool) -> None:
        self._blocks, self._only = blocks, labels_only
        size = blocks.picture
        self._small = np.zeros(size, np.int32)
        self._light = np.zeros(size, np.float32)
        if not labels_only:
            self.table = (folder / "cells.csv").open("wb")
            self.table.write((",".join(COLUMNS) + "\n").encode())
            self.shapes = Shapes(folder, blocks.grid.shape, blocks.total)

    def bands(self) -> Iterator[Labels]:
        """Yield rows of the labels, (n, X), while all files but theirs are written."""
        grid = self._blocks.grid
        for row in range(grid.down):
            top, bottom = grid.rows[row : row + 2]
            band = np.zeros((bottom - top, grid.shape[1]), np.int32)
            for index in range(row * grid.across, (row + 1) * grid.across):
                core, labels = grid.core(index), self._blocks.labels(index)
                band[:, core.left : core.right] = labels
                if not self._only:
                    self._look_at(index, labels)
            if not self._only:
                self._shrink(band, top)
            for start in range(0, len(band), TILE):
                yield band[start : start + TILE]

    def overlay(self) -> bytes:
        """Draw the picture, from the means of the pixels and the nearest labels."""
        shape, size = self._blocks.grid.shape, self._light.shape
        high, wide = (bin_sizes(*one) for one in zip(shape, size, strict=True))
        self._light /= np.outer(high, wide).astype(np.float32)
        return overlay_png(self._light, LabelImage(relabel(self._small)))

    def _look_at(self, index: int, labels: Labels) -> None:
        blocks, core = self._blocks, self._blocks.grid.core(index)
        numbers, sums = blocks.cells(index)
        table = sums.table(numbers, blocks.mpp)
        self.table.write(to_csv(table).split(b"\n", 1)[1])
        self.shapes.add(labels, core, table, *blocks.cut_cells(index))
        (y, x), light = blocks.light(index)
        self._light[y : y + light.shape[0], x : x + light.shape[1]] += light

    def _shrink(self, band: Labels, top: int) -> None:
        """Take the picture's pixels from a band, each the nearest, as `resize_labels` does."""
        places = [
            np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(np.intp), old - 1)
            for new, old in zip(self._small.shape, self._blocks.grid.shape, strict=True)
        ]
        rows = np.flatnonzero((places[0] >= top) & (places[0] < top + len(band)))
        self._small[rows] = band[places[0][rows] - top][:, places[1]]
