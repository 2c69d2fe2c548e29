"""Boxes and grids: how a plane that is too large for one piece is cut into blocks.

Each block has a core, and a margin around it that others work on, too; the cores tile the plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Box", "Grid", "cuts"]


@dataclass(frozen=True)
class Box:
    """Rows `top` to `bottom` and columns `left` to `right`, px; the ends are not in it."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Its (Y, X), px."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns, as an index."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def grown(self, margin: int, shape: tuple[int, int]) -> Box:
        """Return it with a margin on all sides, within a plane of that (Y, X)."""
        return Box(
            max(self.top - margin, 0),
            min(self.bottom + margin, shape[0]),
            max(self.left - margin, 0),
            min(self.right + margin, shape[1]),
        )

    def within(self, other: Box) -> Box:
        """Return it in coordinates that start at the other's corner."""
        return Box(
            self.top - other.top,
            self.bottom - other.top,
            self.left - other.left,
            self.right - other.left,
        )


@dataclass(frozen=True)
class Grid:
    """The cores of the blocks of a plane, numbered row by row.

    rows, columns: where cores begin, from 0, and the plane's length at last, px; ascending.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def down(self) -> int:
        """How many rows of blocks there are."""
        return len(self.rows) - 1

    @property
    def across(self) -> int:
        """How many blocks a row has."""
        return len(self.columns) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X) of the plane, px."""
        return self.rows[-1], self.columns[-1]

    def __len__(self) -> int:
        """Return how many blocks there are."""
        return self.down * self.across

    def core(self, index: int) -> Box:
        """Return the core of a block."""
        row, column = divmod(index, self.across)
        (top, bottom), (left, right) = self.rows[row : row + 2], self.columns[column : column + 2]
        return Box(top, bottom, left, right)


def cuts(length: int, places: Sequence[int], *, about: int) -> tuple[int, ...]:
    """Choose where cores begin: 0, some of the places, and the length.

    places: where a cut is good, ascending, px. about: how far from one to the next, px.
    """
    wanted = np.linspace(0, length, max(round(length / about), 1) + 1)[1:-1]
    inside = np.array([place for place in places if 0 < place < length])
    if not len(inside):
        return 0, length
    near = {int(inside[np.abs(inside - target).argmin()]) for target in wanted}
    return 0, *sorted(near), length
