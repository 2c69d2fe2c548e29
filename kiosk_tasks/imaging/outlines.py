"""The outlines of cells, exactly along the edges of their pixels, for programs that draw polygons.

All cells are traced at once: each side of a pixel that borders on something else is an edge with
its cell on the right hand, and each edge has one successor. Following these gives closed rings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging._rings import Rings, simple_rings
from kiosk_tasks.imaging.labels import Labels

__all__ = ["Outline", "Polygon", "trace"]

Polygon = tuple[NDArray[np.int32], ...]
"""Rings, (n, 2) each, (y, x): the outer one, then those of holes."""

_SIDES = 4  # of a pixel: upper, right, lower, left; that is how one walks around it


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


def trace(labels: Labels) -> Iterator[Outline]:
    """Yield the outline of each cell, by label.

    labels: (Y, X) integer; 0 is background. The pixels whose centres lie inside of a cell's
    polygons are exactly the cell's. Raises InvalidAxes for labels that are no plane.
    """
    if labels.ndim != 2:
        raise InvalidAxes(f"labels of shape {labels.shape} are no plane; give (Y, X).")
    padded = np.pad(labels, 1)
    rings = simple_rings(_rings(padded), width=padded.shape[1])
    piece = _pieces(rings, padded)
    order = np.lexsort((~rings.outer, piece, rings.label))
    rows = zip(rings.label[order].tolist(), piece[order].tolist(), order.tolist(), strict=True)
    corners = rings.corners - 1  # of the padded image's corners, those of the image
    bounds = rings.starts.tolist()
    for label, of_label in groupby(rows, key=lambda row: row[0]):
        polygons = (
            tuple(corners[bounds[ring] : bounds[ring + 1]] for _label, _piece, ring in of_piece)
            for _piece, of_piece in groupby(of_label, key=lambda row: row[1])
        )
        yield Outline(label, tuple(polygons))


def _rings(padded: Labels) -> Rings:
    """Walk along all edges; rings may come back to a corner."""
    width = padded.shape[1]
    pixels = _edges(padded.ravel(), width)
    base = np.cumsum([0, *map(len, pixels)])
    if not base[-1]:
        none = np.zeros(0, np.int64)
        return Rings(none, none.reshape(0, 2).astype(np.int32), np.zeros(1, np.int64), none, False)
    following, pinched = _successors(padded.ravel(), pixels, base, width)
    order, starts = _in_order(following)
    del following
    side = np.repeat(np.arange(_SIDES, dtype=np.int8), np.diff(base))[order]
    pixel = np.concatenate(pixels)[order]
    turns = side != np.roll(side, 1)
    turns[starts[:-1]] = True  # rings start with their uppermost edge's left end
    starts = np.concatenate([[0], np.cumsum(turns)])[starts]
    side, pixel = side[turns], pixel[turns]
    y, x = np.divmod(pixel, width)
    corners = np.stack([y + (side >= 2), x + ((side == 1) | (side == 2))], axis=1)
    label = padded.ravel()[pixel[starts[:-1]]].astype(np.int64)
    return Rings(label, corners.astype(np.int32), starts, pixel, pinched)


def _edges(flat: Labels, width: int) -> list[NDArray[np.int64]]:
    """Return the pixels that have an edge on each of their sides, ascending."""
    inner = flat[width:-width]
    cells = inner != 0
    beside = (flat[width + step : len(flat) - width + step] for step in (-width, 1, width, -1))
    return [np.flatnonzero((inner != other) & cells) + width for other in beside]


def _successors(
    flat: Labels, pixels: list[NDArray[np.int64]], base: NDArray[np.int64], width: int
) -> tuple[NDArray[np.int64], bool]:
    """Return the edge after each, and whether a cell touches itself at a corner anywhere.

    At such a corner one stays with the pixel: pieces that touch there are apart.
    """
    ahead, out = (1, width, -1, -width), (-width, 1, width, -1)
    following, pinched = np.empty(base[-1], np.int64), False
    for side, pixel in enumerate(pixels):
        cell = flat[pixel]
        straight = flat[pixel + ahead[side]] == cell
        diagonal = flat[pixel + ahead[side] + out[side]] == cell
        pinched = pinched or bool((diagonal & ~straight).any())
        turns = straight & diagonal
        mine = following[base[side] : base[side + 1]]
        for chosen, next_side, step in (
            (~straight, (side + 1) % _SIDES, 0),
            (straight & ~diagonal, side, ahead[side]),
            (turns, (side - 1) % _SIDES, ahead[side] + out[side]),
        ):
            target = np.searchsorted(pixels[next_side], pixel[chosen] + step)
            mine[chosen] = base[next_side] + target
    return following, pinched


def _in_order(following: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all edges ring by ring, and where each ring starts, (rings + 1,).

    following: a permutation; its cycles are the rings. Each starts with its lowest edge.
    """
    # Imported here: a worker that waits does without it.
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components, depth_first_order

    count = len(following)
    links = np.ones(count, np.int8), following, np.arange(count + 1)
    number, ring = connected_components(csr_array(links, shape=(count, count)))
    first = np.full(number, count)
    np.minimum.at(first, ring, np.arange(count))
    # One path through all rings: from the last edge of each to the first of the next.
    before = np.empty(count, np.int64)
    before[following] = np.arange(count)
    chain = following.copy()
    chain[before[first]] = np.roll(first, -1)
    links = np.ones(count, np.int8), chain, np.arange(count + 1)
    path = csr_array(links, shape=(count, count))
    order = depth_first_order(path, int(first[0]), return_predecessors=False)
    starts = np.concatenate([[0], np.cumsum(np.bincount(ring, minlength=number))])
    return order.astype(np.int64), starts


def _pieces(rings: Rings, padded: Labels) -> NDArray[np.int64]:
    """Return for each ring which piece of its cell it belongs to, from 0."""
    piece = np.zeros(len(rings.label), np.int64)
    outer = np.bincount(rings.label[rings.outer])
    several = np.flatnonzero(outer[rings.label] > 1) if len(outer) else piece
    by_label = several[np.argsort(rings.label[several], kind="stable")]
    edges = np.flatnonzero(np.diff(rings.label[by_label])) + 1
    for mine in np.split(by_label, edges) if len(by_label) else ():
        if rings.outer[mine].all():
            piece[mine] = np.arange(len(mine))
            continue
        corners = [rings.corners[rings.starts[r] : rings.starts[r + 1]] for r in mine]
        low = np.min([ring.min(axis=0) for ring in corners], axis=0)
        high = np.max([ring.max(axis=0) for ring in corners], axis=0)
        cell = padded[low[0] : high[0], low[1] : high[1]] == rings.label[mine[0]]
        y, x = np.divmod(rings.pixel[rings.starts[mine]], padded.shape[1])
        piece[mine] = ndimage.label(cell)[0][y - low[0], x - low[1]]
    return piece
