"""The older ways from a pixelwise network to cells, written from their published descriptions.

Each takes probabilities: the interior of cells, and their edges where the network tells them from
the background. Van Valen et al. 2016, PLoS Computational Biology 12:e1005177 (pixelwise classes,
cells grown to their edges); Bannon et al. 2021, Nature Methods 18:43 (DeepCell Kiosk); Keren et al.
2018, Cell 174:1373 (multiplexed ion beam imaging, MIBI).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.imaging._watershed import watershed
from kiosk_tasks.imaging.labels import Labels, relabel

__all__ = ["distance_watershed", "grown_interiors", "split_interiors"]

INTERIOR = 0.5  # more probable than all other classes together
MIBI_INTERIOR = 0.25  # of the published description, as is the next
MIBI_EDGE = 0.25
MIN_DISTANCE = 10  # px between the middles of two cells
SMALLEST_CORE = 10  # px²; chosen: smaller parts of an interior are no cell of their own

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.bool_)


def distance_watershed(
    interior: NDArray[Any], *, threshold: float = INTERIOR, min_distance: int = MIN_DISTANCE
) -> Labels:
    """Split the interior at its waists: a watershed of the distance to the background.

    interior: (Y, X) float, probability. threshold: cells are where it is above.
    min_distance: peaks of the distance that are nearer count as one, px; each connected part has
        one at least.
    Returns (Y, X) int32; 0 is background, cells are 1..n.
    """
    cells = interior > threshold
    parts, count = ndimage.label(cells)
    if not count:
        return np.zeros(interior.shape, np.int32)
    depth = ndimage.distance_transform_edt(np.pad(cells, 1))[1:-1, 1:-1]
    # Imported here: a worker that waits does without it.
    from skimage.feature import peak_local_max

    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        depth, min_distance=min_distance, labels=parts, exclude_border=False
    )
    markers = np.zeros(interior.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-depth, markers, mask=cells)
    return relabel(labels)


def grown_interiors(
    interior: NDArray[Any], edge: NDArray[Any], *, threshold: float = INTERIOR
) -> Labels:
    """Number the connected parts of the interior, and grow them over their edges.

    interior, edge: (Y, X) float, probabilities; an edge of 0 everywhere lets nothing grow.
    threshold: a cell begins where its interior is above; it ends where interior and edge together
        are not.
    Returns (Y, X) int32; 0 is background, cells are 1..n in raster order.
    """
    parts, _ = ndimage.label(interior > threshold)
    return _grow(parts, interior + edge > threshold)


def split_interiors(
    interior: NDArray[Any],
    edge: NDArray[Any],
    *,
    interior_threshold: float = MIBI_INTERIOR,
    edge_threshold: float = MIBI_EDGE,
    smallest: int = SMALLEST_CORE,
) -> Labels:
    """Erode interiors until they fall apart, then grow the parts back to the borders of the cells.

    interior, edge: (Y, X) float, probabilities.
    interior_threshold, edge_threshold: sure of a cell is where the interior is above the one and
        the edge not above the other; cells grow back to where the interior is above.
    smallest: parts of fewer pixels count as noise, and do not split a cell, px².
    Returns (Y, X) int32; 0 is background, cells are 1..n.
    """
    inside = interior > interior_threshold
    cores = _cores(inside & (edge <= edge_threshold), smallest)
    return _grow(cores, inside)


def _cores(sure: NDArray[np.bool_], smallest: int) -> Labels:
    """Return the parts into which erosion splits each connected part, each as large as it gets."""
    parts, _ = ndimage.label(sure)
    cores = np.zeros(sure.shape, np.int32)
    count = 0
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        part = parts[box] == number
        if np.count_nonzero(part) < smallest:
            continue
        pieces = _split(part, smallest)
        cores[box] = np.where(pieces > 0, pieces + count, cores[box])
        count += int(pieces.max())
    return cores


def _split(part: NDArray[np.bool_], smallest: int) -> Labels:
    """Do what `_cores` does, for one connected part alone."""
    depth = ndimage.distance_transform_cdt(np.pad(part, 1), "taxicab")[1:-1, 1:-1]
    kept = part.astype(np.int32)
    for level in range(1, int(depth.max())):
        pieces, count = ndimage.label(depth > level, _CROSS)
        large = np.bincount(pieces.ravel(), minlength=count + 1) >= smallest
        large[0] = False
        if not large.any():
            break
        owner = np.zeros(count + 1, np.intp)
        owner[pieces] = kept  # a piece lies in one part only
        owner[~large] = 0
        split = np.bincount(owner, minlength=int(kept.max()) + 1) > 1
        split[0] = False
        if split.any():
            numbers = np.where(split[owner], int(kept.max()) + np.cumsum(large), 0)
            kept = np.where(split[kept], numbers[pieces], kept)
    return relabel(kept)


def _grow(cores: NDArray[Any], within: NDArray[np.bool_]) -> Labels:
    """Grow numbered cores, all by one pixel at a time, to where they may be."""
    even = np.zeros(cores.shape, np.uint8)
    grown = watershed(even, cores, mask=within | (cores > 0))
    return relabel(grown)
