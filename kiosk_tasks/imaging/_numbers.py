"""Numbers of cells: removed, closed up, and filled in; `imaging.labels` offers these."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = [
    "Labels",
    "as_labels",
    "fill_label_holes",
    "relabel",
    "remove_border",
    "remove_faint",
    "remove_small",
    "renumbered",
]

Labels = NDArray[np.int32]


def relabel(labels: NDArray[Any], *, min_area: int = 0) -> Labels:
    """Number the cells 1..n without gaps, in the order of their old numbers.

    labels: any shape, any integer dtype, none below 0; 0 stays background.
    min_area: cells of fewer pixels are removed, px².
    Returns `labels` itself where there is nothing to change.
    """
    largest = int(labels.max(initial=0))
    if largest > 16 * labels.size + 1024:
        old, compact = np.unique(labels, return_inverse=True)
        first = 0 if old[0] == 0 else 1
        labels = (compact.reshape(labels.shape) + first).astype(np.int32)
    areas = _areas(labels)
    return renumbered(labels, areas >= max(min_area, 1))


def remove_small(labels: NDArray[Any], min_area: int) -> Labels:
    """Remove cells of fewer than `min_area` pixels; the others keep their numbers.

    labels: any shape, integer, none below 0 and 1..n with few gaps (see `relabel`).
    Returns `labels` itself where there is nothing to change.
    """
    return _keep(labels, _areas(labels) >= min_area)


def remove_faint(labels: NDArray[Any], interior: NDArray[Any], least_mean: float) -> Labels:
    """Remove cells inside of which the network was not sure; the others keep their numbers.

    labels: any shape, integer, none below 0 and 1..n with few gaps (see `relabel`).
    interior: of the same shape; cells of a mean below `least_mean` go.
    Returns `labels` itself where there is nothing to change.
    """
    cells = labels > 0
    numbers = labels[cells]
    areas, sums = np.bincount(numbers, minlength=1), np.bincount(numbers, interior[cells], 1)
    return _keep(labels, sums >= least_mean * areas)


def remove_border(labels: NDArray[Any]) -> Labels:
    """Remove cells that touch the border of the image; the others keep their numbers.

    labels: (Y, X) integer, none below 0 and 1..n with few gaps (see `relabel`).
    Returns `labels` itself where there is nothing to change.
    """
    kept = np.ones(int(labels.max(initial=0)) + 1, np.bool_)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        kept[edge] = False
    return _keep(labels, kept)


def fill_label_holes(labels: NDArray[Any], max_area: int) -> Labels:
    """Fill holes of at most `max_area` pixels that lie within one cell.

    labels: (Y, X) integer. A hole is background, connected through edges, that touches one cell,
    no other and not the border of the image.
    Returns `labels` itself where there is nothing to change.
    """
    holes, count = ndimage.label(labels == 0)
    fits = np.bincount(holes.ravel(), minlength=1) <= max_area
    fits[0] = False
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        fits[edge] = False
    if not fits.any():
        return as_labels(labels)
    # No pixel of these lies at the border, so that each has four neighbours in the flat plane.
    places = np.flatnonzero(fits[holes])
    inside, flat = holes.ravel()[places], labels.ravel()
    least, most = np.full(count + 1, np.iinfo(np.int32).max), np.zeros(count + 1, np.int64)
    for step in (-labels.shape[1], -1, 1, labels.shape[1]):
        cell = flat[places + step]
        np.maximum.at(most, inside, cell)
        np.minimum.at(least, inside[cell > 0], cell[cell > 0])
    filled = labels.astype(np.int32)
    filled.ravel()[places] = np.where(least == most, most, 0)[inside]
    return filled


def _areas(labels: NDArray[Any]) -> NDArray[np.intp]:
    """Count the pixels of each number; 0 for the background."""
    return np.bincount(labels[labels > 0], minlength=1)


def renumbered(labels: NDArray[Any], kept: NDArray[np.bool_]) -> Labels:
    """Keep those cells, and number them 1..n. kept: by number; what is said of 0 is not used."""
    if kept[1:].all():
        return as_labels(labels)
    numbers = np.cumsum(kept[1:], dtype=np.int32)
    numbers[~kept[1:]] = 0
    return np.take(np.append(np.int32(0), numbers), labels)


def _keep(labels: NDArray[Any], kept: NDArray[np.bool_]) -> Labels:
    if kept[1:].all():
        return as_labels(labels)
    numbers = np.where(kept, np.arange(len(kept)), 0).astype(np.int32)
    numbers[0] = 0
    return np.take(numbers, labels)


def as_labels(labels: NDArray[Any]) -> Labels:
    """Return int32 in C order; labels that are so already are not copied."""
    return np.ascontiguousarray(labels, np.int32)
