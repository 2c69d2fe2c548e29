"""Cells of an image that is too large for one piece: blocks, cut apart and put together again.

Each block is labelled with a margin around it, so that cells at its border are seen whole. Then it
keeps what lies in its core; the cores tile the image. A cell that a cut goes through has another
number on either side: where both blocks see it in the same pixels along the cut, it is one cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.blocks import Box, Grid
from kiosk_tasks.imaging.labels import Labels

__all__ = ["Cell", "Rim", "Union", "cut_core", "same_cells", "unite"]

Cell = tuple[int, int]
"""A cell before it has its final number: index of its block, number in it."""

Line = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Rim:
    """What a block sees along its four sides: all that its neighbours need of it.

    top, bottom, left, right: (2, n + 2) int32: numbers of its cells one pixel outside of its core,
        then along the core's own outermost line; n is the side's length, and both lines reach one
        pixel beyond it at either end. Outside of the image, and where the block has another cell
        that does not reach into the core, there is 0.
    """

    top: Line
    bottom: Line
    left: Line
    right: Line


def cut_core(labels: Labels, core: Box) -> tuple[Labels, Rim]:
    """Cut a block's cells at its core; number those that remain 1..n.

    labels: (Y, X) of the block with its margin. core: within them; where the image goes on, so do
        the labels, for at least a pixel.
    Returns the core's labels, and its rim.
    """
    inside = labels[core.slices]
    present = np.zeros(int(labels.max(initial=0)) + 1, np.bool_)
    present[inside] = True
    present[0] = False
    numbers = np.cumsum(present, dtype=np.int32) * present
    kept: Labels = np.take(numbers, inside)
    rows = np.arange(core.top - 1, core.bottom + 1)
    columns = np.arange(core.left - 1, core.right + 1)

    def line(at_rows: NDArray[np.intp], at_columns: NDArray[np.intp]) -> Line:
        there = (at_rows >= 0) & (at_rows < labels.shape[0])
        there &= (at_columns >= 0) & (at_columns < labels.shape[1])
        seen = labels[np.where(there, at_rows, 0), np.where(there, at_columns, 0)]
        return np.where(there, numbers[seen], 0).astype(np.int32)

    def rim(at: Sequence[int], *, down: bool) -> Line:
        along = rows if down else columns
        lines = [np.full_like(along, place) for place in at]
        return np.stack([line(along, one) if down else line(one, along) for one in lines])

    return kept, Rim(
        top=rim((core.top - 1, core.top), down=False),
        bottom=rim((core.bottom, core.bottom - 1), down=False),
        left=rim((core.left - 1, core.left), down=True),
        right=rim((core.right, core.right - 1), down=True),
    )


def same_cells(one: Line, other: Line) -> list[tuple[int, int]]:
    """Return which cells on both sides of a cut are one, (number here, number there).

    one: what the block before the cut sees along it; other: what the one behind it sees.
    They must touch at the cut, and each must be the cell that shares most pixels with the other, in
    the two lines along the cut as the two blocks see them. Neighbours that disagree so never join
    what one of them holds for two cells.
    """
    (ahead, mine), (back, theirs) = one[:, 1:-1], other[:, 1:-1]
    base = int(max(back.max(initial=0), theirs.max(initial=0))) + 1
    touching = _pairs([(mine, theirs), (mine[1:], theirs[:-1]), (mine[:-1], theirs[1:])], base)
    pairs = _pairs([(ahead, theirs), (mine, back)], base)
    number, shared = np.unique(pairs, return_counts=True)
    kept = np.isin(number, touching)
    number, shared = number[kept], shared[kept]
    here, there = np.divmod(number, base)
    best = _is_best(here, shared) & _is_best(there, shared)
    return list(zip(here[best].tolist(), there[best].tolist(), strict=True))


class Union:
    """Cells that are one, as sets that grow together; cells never named are alone."""

    def __init__(self) -> None:
        """Start with every cell alone."""
        self._parent: dict[Cell, Cell] = {}

    def join(self, one: Cell, other: Cell) -> None:
        """Make two cells, and all that they are one with, one."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parent[second] = first
        self._parent.setdefault(first, first)

    def find(self, cell: Cell) -> Cell:
        """Return the first cell, in the order of blocks and numbers, that it is one with."""
        above = self._parent.get(cell, cell)
        while above != cell:
            higher = self._parent.get(above, above)
            self._parent[cell] = higher
            cell, above = above, higher
        return cell

    def joined(self) -> Iterator[Cell]:
        """Yield all cells that are one with another."""
        return iter(list(self._parent))


def unite(grid: Grid, rims: Iterable[Rim]) -> Union:
    """Find the cells that cuts have gone through.

    rims: of the grid's blocks, in order; drawn one by one, a row of them is held.
    """
    union, above = Union(), list[Rim]()
    row: list[Rim] = []
    for index, rim in enumerate(rims):
        column = index % grid.across
        if column:
            _join(union, index - 1, index, same_cells(row[-1].right, rim.left))
        if above:
            up = index - grid.across
            _join(union, up, index, same_cells(above[column].bottom, rim.top))
            if column:
                corner = _at_corner(above[column - 1].bottom[:, -2:], rim.top[:, 1::-1])
                _join(union, up - 1, index, corner)
            if column + 1 < grid.across:
                corner = _at_corner(above[column + 1].bottom[:, 1::-1], rim.top[:, -2:])
                _join(union, up + 1, index, corner)
        row.append(rim)
        if column + 1 == grid.across:
            above, row = row, []
    return union


def _at_corner(one: Line, other: Line) -> list[tuple[int, int]]:
    """Do what `same_cells` does for two blocks that meet at one corner only.

    one, other: (2, 2): outside of the core and in it; the core's last pixel, and the one beyond.
    """
    mine, theirs = int(one[1, 0]), int(other[1, 0])
    agree = mine and theirs and one[0, 1] == mine and other[0, 1] == theirs
    return [(mine, theirs)] if agree else []


def _join(union: Union, one: int, other: int, pairs: Iterable[tuple[int, int]]) -> None:
    for mine, theirs in pairs:
        union.join((one, mine), (other, theirs))


def _pairs(lines: Iterable[tuple[Line, Line]], base: int) -> NDArray[np.int64]:
    """Return `here * base + there` of each pixel in which both lines have a cell."""
    found = [
        here[both].astype(np.int64) * base + there[both]
        for here, there in lines
        for both in [(here > 0) & (there > 0)]
    ]
    return np.concatenate(found)


def _is_best(cell: NDArray[np.int64], shared: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell which pair is, of all pairs of its cell, the one that shares most."""
    order = np.lexsort((np.arange(len(cell)), -shared, cell))
    first = np.ones(len(cell), np.bool_)
    first[1:] = np.diff(cell[order]) != 0
    best = np.zeros(len(cell), np.bool_)
    best[order] = first
    return best
