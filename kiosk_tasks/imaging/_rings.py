"""Closed rings of corners, and how one that comes back to a corner becomes several."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rings", "simple_rings"]


@dataclass(frozen=True, eq=False)
class Rings:
    """Rings one after the other.

    label: (R,) of the cell. corners: (N, 2), (y, x). starts: (R + 1,), where each ring begins.
    pixel: (N,) flat index of the pixel whose edge begins at that corner.
    pinched: whether a ring may have a corner twice.
    """

    label: NDArray[np.int64]
    corners: NDArray[np.int32]
    starts: NDArray[np.int64]
    pixel: NDArray[np.int64]
    pinched: bool

    @cached_property
    def outer(self) -> NDArray[np.bool_]:
        """Which rings are the outside of something, (R,); the others are holes."""
        y, x = self.corners.T.astype(np.int64)
        following = np.arange(1, len(y) + 1)
        following[self.starts[1:] - 1] = self.starts[:-1]
        twice_area = np.add.reduceat(x * y[following] - x[following] * y, self.starts[:-1])
        return twice_area > 0


def simple_rings(rings: Rings, *, width: int) -> Rings:
    """Cut each ring at the corners it comes back to.

    width: of the image that the pixels are of, px.
    """
    if not rings.pinched:
        return rings
    key = rings.corners[:, 0].astype(np.int64) * (width + 1) + rings.corners[:, 1]
    ring = np.repeat(np.arange(len(rings.label)), np.diff(rings.starts))
    order = np.lexsort((key, ring))
    again = (np.diff(key[order]) == 0) & (np.diff(ring[order]) == 0)
    pinched = set(ring[order[1:][again]].tolist())
    pieces: list[NDArray[np.int64]] = []
    label = []
    for number in range(len(rings.label)):
        corners = np.arange(rings.starts[number], rings.starts[number + 1])
        found = _loops(corners, key) if number in pinched else [corners]
        pieces += found
        label += [rings.label[number]] * len(found)
    taken = np.concatenate(pieces)
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    return Rings(np.array(label, np.int64), rings.corners[taken], starts, rings.pixel[taken], False)


def _loops(corners: NDArray[np.int64], key: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the loops of a ring, as indices of corners."""
    path: list[int] = []
    place: dict[int, int] = {}
    found = []
    for corner, where in zip(corners.tolist(), key[corners].tolist(), strict=True):
        if where in place:
            begin = place[where]
            loop, path = path[begin:], path[:begin]
            for other in loop:
                del place[int(key[other])]
            found.append(np.array(loop, np.int64))
        place[where] = len(path)
        path.append(corner)
    return [*found, np.array(path, np.int64)]
