"""The outlines of cells, along the edges of their pixels, for programs that draw polygons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.imaging._rings import Rings, rings_of, simple_rings
from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.imaging.runs import Runs, runs_of

__all__ = ["Outline", "Outlines", "Polygon", "trace"]

Polygon = tuple[NDArray[np.int32], ...]
"""Rings, (n, 2) each, (y, x): the outer one, then those of holes."""


@dataclass(frozen=True, eq=False)
class Outline:
    """All of one cell: a polygon for each of its pieces.

    Corners are whole numbers: (0, 0) is the upper left corner of pixel (0, 0), whose centre is at
    (0.5, 0.5). Pieces that touch at a corner only are two. A ring does not repeat its first corner,
    has no corner twice and none on a straight line. With x to the right and y down, outer rings
    run clockwise and holes anticlockwise; in numbers (x, y) that is GeoJSON's right-hand rule.
    """

    label: int
    polygons: tuple[Polygon, ...]


@dataclass(frozen=True, eq=False)
class Outlines:
    """The outlines of all cells, by label, in few arrays; a loop over it gives an `Outline` each.

    label: (C,). corners: (N, 2) int32, (y, x), ring after ring.
    rings: (R + 1,), the corner that each begins with. polygons: (P + 1,), the ring that each begins
    with, its outer one. cells: (C + 1,), the polygon that each begins with.
    """

    label: NDArray[np.int64]
    corners: NDArray[np.int32]
    rings: NDArray[np.int64]
    polygons: NDArray[np.int64]
    cells: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many cells there are."""
        return len(self.label)

    def __getitem__(self, number: int) -> Outline:
        """Return the outline of one cell, counted from 0."""
        first, beyond = self.cells[number : number + 2].tolist()
        bounds = self.polygons[first : beyond + 1].tolist()
        polygons = (self.rings[a : b + 1].tolist() for a, b in pairwise(bounds))
        return Outline(
            int(self.label[number]),
            tuple(tuple(self.corners[a:b] for a, b in pairwise(rings)) for rings in polygons),
        )

    def __iter__(self) -> Iterator[Outline]:
        """Yield the outline of each cell."""
        return map(self.__getitem__, range(len(self)))

    def moved(self, y: int, x: int) -> Outlines:
        """Return the outlines of a part of an image in the whole one's coordinates.

        y, x: where the part's first pixel lies.
        """
        return replace(self, corners=self.corners + np.array((y, x), np.int32))


def trace(labels: Labels, *, runs: Runs | None = None) -> Outlines:
    """Return the outline of each cell, by label.

    labels: (Y, X) integer; 0 is background. The pixels whose centres lie inside of a cell's
    polygons are exactly the cell's. runs: of these labels, where they are known already.
    Raises InvalidAxes for labels that are no plane.
    """
    rings = simple_rings(rings_of(runs_of(labels) if runs is None else runs))
    piece = _pieces(rings, labels)
    outer = rings.outer
    order = np.lexsort((~outer, piece, rings.label))
    label, sizes = rings.label[order], np.diff(rings.starts)[order]
    begins = np.concatenate([[0], np.cumsum(sizes)])
    index = np.repeat(rings.starts[:-1][order] - begins[:-1], sizes) + np.arange(begins[-1])
    polygons = np.append(np.flatnonzero(outer[order]), len(order))
    of_polygon = label[polygons[:-1]]
    cells = np.append(np.flatnonzero(np.diff(of_polygon, prepend=0)), len(of_polygon))
    return Outlines(of_polygon[cells[:-1]], rings.corners[index], begins, polygons, cells)


def _pieces(rings: Rings, labels: Labels) -> NDArray[np.int64]:
    """Return for each ring which piece of its cell it belongs to, from 0."""
    piece = np.zeros(len(rings.label), np.int64)
    number, cell = np.unique(rings.label, return_inverse=True)
    several = np.flatnonzero(np.bincount(cell[rings.outer], minlength=len(number))[cell] > 1)
    by_label = several[np.argsort(cell[several], kind="stable")]
    edges = np.flatnonzero(np.diff(cell[by_label])) + 1
    for mine in np.split(by_label, edges) if len(by_label) else ():
        if rings.outer[mine].all():
            piece[mine] = np.arange(len(mine))
            continue
        corners = [rings.corners[rings.starts[r] : rings.starts[r + 1]] for r in mine]
        low = np.min([ring.min(axis=0) for ring in corners], axis=0)
        high = np.max([ring.max(axis=0) for ring in corners], axis=0)
        inside = labels[low[0] : high[0], low[1] : high[1]] == rings.label[mine[0]]
        y, x = np.array([_pixel_at(ring) for ring in corners]).T
        piece[mine] = ndimage.label(inside)[0][y - low[0], x - low[1]]
    return piece


def _pixel_at(ring: NDArray[np.int32]) -> tuple[int, int]:
    """Return the pixel of the cell, (y, x), whose edge a ring begins with."""
    (y, x), (next_y, next_x) = ring[:2].tolist()
    back, up = next_x < x, next_y < y
    return y - (back or up), x - (back or next_y > y)
